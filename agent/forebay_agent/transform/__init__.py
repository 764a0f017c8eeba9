"""Transform: pure functions over record batches, between capture and sealed batch.

`Transform(shape, table)` is made of what the database says of a table and of the table's entry in the configuration.
Which columns are read at all is decided before it, in `capture.plan.describe`: an excluded column is not even selected.
"""

from forebay_agent.transform.transform import Transform

__all__ = ["Transform"]
