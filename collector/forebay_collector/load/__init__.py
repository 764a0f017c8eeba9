"""Loading: durable batches into the platform, exactly once, in order, each stream by itself.

`loader.py` is the step, `group.py` what one step takes, `open.py` how batches become rows, `policy.py` what a failure
means, `schedule.py` whose turn it is, `pool.py` the threads, `quarantine.py` what a person decides.
"""
