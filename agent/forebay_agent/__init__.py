"""Forebay's agent: captures committed changes of a department's tables and hands them over. Start at `pipeline.py`."""

import os

# measured: with jemalloc Arrow holds a third less than with its default; it must be chosen before Arrow is loaded. Wheels for
# other machines have none: there it is the system's own, which `memory.py` keeps small
os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "jemalloc" if os.uname().machine == "x86_64" else "system")

__version__ = "0.1.0"
