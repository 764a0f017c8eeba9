"""Receive: sealed batches in, durable acks out.

In the order of the data: `upload.py` (one connection), `assembly.py` (messages into batches, within the limits),
`approved.py` (what may come in), `check.py` (digests), `lanes.py` (which batch is the next of its stream), `commit.py`
(archive and ledger, for all agents at once), `answers.py` (what goes back). `ferries.py` reads uploads that came on a disk. `loaded.py` carries the loader's news to the
connections.
"""
