"""Custody: that every batch is what its agent sealed, in its place, and what became of it, from the source to the platform.

`verify.py` goes over all streams, `walk.py` over one, `batch.py` judges one batch, `marks.py` the marks beside them.
"""
