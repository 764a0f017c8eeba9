"""Private database servers on loopback, for tests, demo and bench: each on a free port, in a folder of its own."""
