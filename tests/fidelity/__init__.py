"""The database is the oracle: what it says it holds is what comes out of the sealed batch."""
