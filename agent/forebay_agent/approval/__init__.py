"""What may leave: the agent proposes, the centre approves column by column, and capture and uplink hold to it.

approvals.py   what the centre approved, kept over restarts
proposals.py   what would be shared, table by table
gate.py        one source: describes its tables, proposes them, and says which columns of which may be captured
exchange.py    one connection to the centre: proposals up, approvals down
"""
