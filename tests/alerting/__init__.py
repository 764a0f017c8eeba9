"""Alerts in tests: a ledger with agents that say how they are, under a clock of its own, and servers that take messages."""
