"""`make test-workloads`: real work that no one here wrote, and changes of columns under load, captured in mode log.

Read `__main__` first. What is compared is read without Forebay's own code: the source through its driver, the platform
through plain pyiceberg (`evidence.py`).
"""
