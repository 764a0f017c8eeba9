"""Recovery: copies of what a collector cannot do without, and making a collector of them again.

`backup.py` copies ledger, identity, settings and catalogue while all goes on; `manifest.py` is what says that a copy is whole;
`restore.py` puts it back; `rebuild.py` brings an old ledger up to what archive and platform hold. the guide `recover` is the procedure.
"""
