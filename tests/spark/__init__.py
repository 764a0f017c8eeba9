"""A real Spark reads what Forebay wrote: `make test-spark`, or `python -m tests.spark.run`. Not part of the test suite.

run     loads tables, lets Spark, plain pyiceberg and DuckDB read them before and after compaction, compares row by row
engine  gets Spark 3.5 and the Iceberg runtime ready below `build/spark/` (once; needs Java 17 and Debian's jarjar and
        SQLite JDBC driver, which `packaging/setup.sh spark` installs)
read    the part that runs inside Spark's own environment
values  how a value is written down for comparison; shared by both sides, so it needs nothing but Python
"""
