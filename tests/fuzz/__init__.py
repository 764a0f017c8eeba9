"""Fuzzing of the compiled decoders: `python -m tests.fuzz.<decoder> --seconds N --seed S`.

Each decoder has a module with `one(data)`: feeds it bytes, and checks what comes out against what must hold; only the
errors that the decoder documents may come. `driver.main` runs it: with atheris (PyPI) where that is installed and `--atheris`
is given, guided by coverage; else as a plain seeded loop of random mutations of the corpus in `corpus/<decoder>/`, which CI
runs for a bounded time. A failing input is written to `build/fuzz/` and named; `--replay FILE` runs it again.
"""
