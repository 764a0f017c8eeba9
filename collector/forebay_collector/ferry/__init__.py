"""Ferry: what agents without a line sent on a disk (ferry.proto), and the answer that goes back on it.

    `forebay-collector import` ── batches: copies files in ──> <data>/ferry ── `receive/ferries.py` ──> as any upload
                               ── all else ── `requests.py` ──> by the very functions that a line's services call
                               <── the answer, sealed ── `answer.py` ── the ledger's marks, approvals, certificates

Batches are read by the process that receives, through the same checks, lanes and committer as a line's, so that it does
not matter which way one came, or whether it came both ways. All else has its home in the ledger alone: the command itself
takes it, beside whichever process runs.
"""
