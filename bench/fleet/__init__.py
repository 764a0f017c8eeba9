"""`make bench-fleet`: a thousand simulated agents on one collector.

run.py        the story: found, enrol, connect, approve, measure, judge, write build/fleet.json
centre.py     the collector: a real `forebay-collector serve`, what it uses, and the console's page
simulator.py  the agents' process: told what to do on stdin, says what happened on stdout
agent.py      one simulated agent: real gRPC and TLS by its own certificate, real batches, no database
tables.py     what they send
judge.py      whether everything that was acknowledged is there
figures.py    what was measured
"""
