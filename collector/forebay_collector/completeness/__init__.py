"""Certificates of completeness: what a department's tables came to on a day, signed, and checked without the centre.

`statement.py` gathers the figures from the ledger, `judgement.py` says what they amount to, `document.py` is the file: its
canonical form, its signature, and how it is verified. `signer.py` holds the key. `daily.py` issues them day by day.
"""
