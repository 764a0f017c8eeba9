"""Identity: who may call, and as whom.

`authority.py` signs certificates; `names.py` says what stands in them; `token.py` is the one-time token that an agent
enrols with; `enroll.py` turns it into the agent's certificate; `admission.py` turns a call into the agent that makes it.
"""
