"""The platform embedded: Apache Iceberg (format 2) with a SQLite catalogue and a local warehouse.

names, catalogue            what tables are called, where they are, how they are opened and created
fields, evolution           schemas and field ids; what a new epoch does to the history's columns
load, checks, loadrows      one load: history first, then mirror, each commit with its own mark (`marks`)
hold, standing              when the mirror may be shown, and the branch that gathers what may not be shown yet
fold, keys, mirror, ranges  one final change per key; which live rows leave; the files of the mirror's commit
datafile, deletes, reading  Parquet: data files, position deletes, rows with deletes applied
head, snapshot              what a table holds; one commit of files, deletes, properties and schema
maintain, compact, expire   upkeep between loads, bounded by `upkeep`; `leases` hold what is being read
query                       `sql`, by DuckDB
durable_io, recent, trouble fsynced files; a bounded cache; what errors mean
"""

from forebay_collector.platform.iceberg.platform import IcebergPlatform
from forebay_collector.platform.iceberg.upkeep import Upkeep

__all__ = ["IcebergPlatform", "Upkeep"]
