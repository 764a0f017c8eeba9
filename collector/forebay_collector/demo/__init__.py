"""`forebay-collector demo`: three departments, their agents, a collector, a writer, two `kill -9` — and a comparison.

Read `run.py` first. The comparison (`compare.py`) uses none of Forebay's own code: its own SQL at the source, plain
pyiceberg at the platform, and its own few lines for the masks.
"""
