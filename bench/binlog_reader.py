"""`mysql-replication` decoding a binlog, as a process of its own: prints one JSON object, rows and seconds."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

from pymysqlreplication import BinLogStreamReader  # type: ignore[import-untyped]
from pymysqlreplication.row_event import WriteRowsEvent  # type: ignore[import-untyped]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("dialect", "user", "database", "password-file", "table", "file"):
        parser.add_argument(f"--{name}", required=True)
    for name in ("port", "position", "rows"):
        parser.add_argument(f"--{name}", type=int, required=True)
    asked = parser.parse_args()
    stream = BinLogStreamReader(
        connection_settings={
            "host": "127.0.0.1",
            "port": asked.port,
            "user": asked.user,
            "password": Path(asked.password_file).read_text("utf-8"),
            "ssl_disabled": True,
        },
        server_id=4711,
        log_file=asked.file,
        log_pos=asked.position,
        resume_stream=True,
        only_events=[WriteRowsEvent],
        only_schemas=[asked.database],
        only_tables=[asked.table],
    )
    rows = 0
    began = time.perf_counter()
    for event in stream:
        rows += len(event.rows)
        if rows >= asked.rows:
            break
    print(json.dumps({"rows": rows, "seconds": time.perf_counter() - began}))
    stream.close()


if __name__ == "__main__":
    main()
