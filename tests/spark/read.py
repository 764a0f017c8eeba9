"""Runs in Spark's environment: reads tables of a catalogue and writes their rows down.

    read.py CATALOG_DB WAREHOUSE OUT_FOLDER CLASS_PATH NATIVE_FOLDER TABLE…

A table is its identifier as JSON list; its rows go to OUT_FOLDER/<number>.txt, one line per row.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from pyspark.sql import SparkSession

from tests.spark.values import lines


def main() -> None:
    database, warehouse, out, class_path, native, *tables = sys.argv[1:]
    catalogue = "spark.sql.catalog.forebay"
    builder = SparkSession.builder.master("local[2]")
    for name, value in {
        "spark.driver.extraClassPath": class_path,
        "spark.driver.extraJavaOptions": f"-Djava.library.path={native} -Duser.timezone=UTC",
        "spark.ui.enabled": "false",
        "spark.sql.session.timeZone": "UTC",
        catalogue: "org.apache.iceberg.spark.SparkCatalog",
        f"{catalogue}.type": "jdbc",
        f"{catalogue}.uri": f"jdbc:sqlite:{database}",
        f"{catalogue}.jdbc.schema-version": "V1",
        f"{catalogue}.warehouse": warehouse,
    }.items():
        builder = builder.config(name, value)
    session = builder.getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    for number, table in enumerate(tables):
        name = ".".join(f"`{part}`" for part in ("forebay", *json.loads(table)))
        rows = (row.asDict() for row in session.table(name).toLocalIterator())
        (Path(out) / f"{number}.txt").write_text("\n".join(lines(rows)), encoding="utf-8")
    session.stop()


main()
