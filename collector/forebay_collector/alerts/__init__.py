"""Alerts: what is the matter with the fleet, watched by the collector itself, and told to people where they are.

`kinds.py` lists what is watched; `conditions.py` finds what is so, purely, from what `reading.py` read of the ledger;
`watch.py` opens and closes alerts; `telling.py` decides which messages that makes; `channels/` sends them. Nothing of it is
needed for anything else to work: a ledger that cannot be read now is read again a moment later.
"""
