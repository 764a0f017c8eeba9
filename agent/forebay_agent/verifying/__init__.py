"""Verification at the source: a table is read in a session of its own, beside its capture, through the same transform."""
