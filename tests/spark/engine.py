"""Gets a real Spark with Iceberg ready from what PyPI and Debian offer.

The Iceberg runtime jar inside PyPI's `snowpark-connect-deps-iceberg` lacks its shaded Jackson. Debian's jarjar makes it
from the Jackson jars that pyspark brings along (their multi-release parts, which jarjar does not know, left out). With
`ICEBERG_SPARK_RUNTIME` set to a complete `iceberg-spark-runtime` jar, that one is used instead.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
FOLDER: Final = ROOT / "build" / "spark"
_REQUIREMENTS: Final = ("pyspark==3.5.7", "snowpark-connect-deps-iceberg==1.0.3")
_JARJAR: Final = Path("/usr/share/java/jarjar.jar")
_SQLITE_JDBC: Final = Path("/usr/share/java/sqlite-jdbc.jar")
_RULE: Final = "rule com.fasterxml.jackson.** org.apache.iceberg.shaded.com.fasterxml.jackson.@1\n"
_JACKSON: Final = ("core", "annotations", "databind")


class NotReady(Exception):
    """Something is missing that this cannot install."""


@dataclass(frozen=True)
class Spark:
    """A Spark that can be started."""

    python: Path
    class_path: str
    native: Path

    @classmethod
    def ready(cls) -> Spark:
        """Installs what is missing below `build/spark/`. Raises NotReady."""
        for needed in (_JARJAR, _SQLITE_JDBC):
            if not needed.exists():
                raise NotReady(f"{needed} is missing: run packaging/setup.sh spark as root")
        native = next(Path("/usr/lib").glob("*/jni/libsqlitejdbc.so"), None)
        if native is None:
            raise NotReady("libsqlitejdbc.so is missing: run packaging/setup.sh spark as root")
        FOLDER.mkdir(parents=True, exist_ok=True)
        environment = FOLDER / "venv"
        python = environment / "bin" / "python"
        stamp = environment / "ready"
        if not stamp.exists():
            subprocess.run([sys.executable, "-m", "venv", environment], check=True)
            subprocess.run([python, "-m", "pip", "install", "-q", *_REQUIREMENTS], check=True)
            stamp.touch()
        packages = next(environment.glob("lib/python*/site-packages"))
        jars = [_runtime(packages), *_shaded_jackson(packages), _SQLITE_JDBC]
        return cls(python, ":".join(map(str, jars)), native.parent)

    def rows(self, platform: Path, tables: Sequence[Sequence[str]], out: Path) -> list[list[str]]:
        """The rows of each table (an identifier), one line per row, as Spark reads them now."""
        out.mkdir(parents=True)
        command: list[str | Path] = [self.python, "-m", "tests.spark.read"]
        command += [platform / "catalog.db", platform / "warehouse", out, self.class_path, self.native]
        named = [json.dumps(list(table), ensure_ascii=False) for table in tables]
        environment = {**os.environ, "TZ": "UTC", "PYTHONPATH": str(ROOT), "SPARK_LOCAL_IP": "127.0.0.1"}
        done = subprocess.run([*command, *named], cwd=ROOT, env=environment, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"Spark ended with {done.returncode}:\n{done.stderr[-4000:]}")
        return [(out / f"{number}.txt").read_text(encoding="utf-8").splitlines() for number in range(len(tables))]


def _runtime(packages: Path) -> Path:
    given = os.environ.get("ICEBERG_SPARK_RUNTIME")
    if given:
        return Path(given)
    folder = packages / "snowpark_connect_deps_iceberg" / "jars"
    return next(folder.glob("iceberg-spark-runtime-3.5_2.12-*.jar"))


def _shaded_jackson(packages: Path) -> list[Path]:
    if "ICEBERG_SPARK_RUNTIME" in os.environ:
        return []
    rules = FOLDER / "jackson.rules"
    rules.write_text(_RULE)
    made = []
    for part in _JACKSON:
        shaded = FOLDER / f"iceberg-shaded-jackson-{part}.jar"
        if not shaded.exists():
            plain = FOLDER / f"jackson-{part}.jar"
            _without_versions(next((packages / "pyspark" / "jars").glob(f"jackson-{part}-2.*.jar")), plain)
            scratch = shaded.with_suffix(".part")
            subprocess.run(["java", "-jar", _JARJAR, "process", rules, plain, scratch], check=True)
            scratch.rename(shaded)
        made.append(shaded)
    return made


def _without_versions(jar: Path, plain: Path) -> None:
    with zipfile.ZipFile(jar) as source, zipfile.ZipFile(plain, "w", zipfile.ZIP_DEFLATED) as target:
        for entry in source.infolist():
            if not entry.filename.startswith("META-INF/versions/") and entry.filename != "module-info.class":
                target.writestr(entry, source.read(entry))
