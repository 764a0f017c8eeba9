"""Ferry: what agents without a line sent on a disk (ferry.proto), and the answer that goes back on it.

    `forebay-collector import` ── copies files in ──> <data>/ferry ── `receive/ferries.py` ──> as any upload
                               <── the answer, sealed ── `answer.py` ── the ledger's marks

Files are read by the process that receives, through the same checks, lanes and committer as a line's batches, so that it
does not matter which way one came, or whether it came both ways.
"""
