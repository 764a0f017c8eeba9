"""Verify: whether source and platform are equal, and if not, which keys differ. Start at `compare.py`."""
