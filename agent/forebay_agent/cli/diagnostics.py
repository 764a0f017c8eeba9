"""`forebay-agent diagnostics`: one redacted file to carry out on a disk."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from forebay_agent.cli import doctor, service

SUMMARY: Final = "make one redacted file to carry out on a disk"
DESCRIPTION: Final = """\
Puts into one file what those who help from elsewhere ask for: what `doctor` finds, the agent's status, the configuration,
what waits in the outbox (counts alone), the unit's properties and the newest lines of its journal, versions, disks and
memory. No passwords, keys, tokens or rows are in it; names of hosts, users, tables and columns are. Changes nothing. The
running agent gives the centre the like by itself (`forebay-collector command`)."""
EXAMPLES: Final = """\
examples:
  forebay-agent diagnostics                     into this folder
  forebay-agent diagnostics --out /mnt/usb/agent.tar.zst
  tar --zstd -tf agent.tar.zst                  what is in it

exit codes: 0 the file is written, 1 it cannot be
"""
_LINES: Final = 5_000
"""of the journal"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, metavar="FILE", help="default: forebay-agent-HOST-TIME.tar.zst here")


def run(options: argparse.Namespace) -> int:
    from forebay_agent.control.diagnostics import archived
    from forebay_agent.redaction import redacted, secrets_of

    name = f"forebay-agent-{platform.node() or 'appliance'}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.tar.zst"
    out: Path = options.out or Path(name)
    try:
        # before root's rights are given up: the disk is often root's alone
        descriptor = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            secrets = secrets_of(options.config, os.environ)
            texts = {name: redacted(text, secrets) for name, text in _texts(options.config).items()}
            stream.write(archived(texts))
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        sys.stderr.write(f"error: {out} cannot be written: {error.strerror}\n  remedy: name another place with --out\n")
        return 1
    print(f"{out}: {', '.join(texts)}")
    print("names of hosts, users, tables and columns are in it; passwords, keys, tokens and rows are not")
    return 0


def _texts(folder: Path) -> dict[str, str]:
    """What root alone may see first: `doctor` gives its rights up."""
    from forebay_agent.control.diagnostics import QUOTING, WITHHELD, versions
    from forebay_agent.redaction import withheld

    texts = {"versions.json": _json(versions()), "machine.json": _json(_machine())}
    texts |= _configuration(folder)
    if service.is_there():
        texts["unit.txt"] = service.described()
        texts["journal.txt"] = withheld(service.journal(_LINES), QUOTING, WITHHELD)
    found = []
    for checked in doctor.everything(folder):
        row = checked.as_row()
        found.append(row | {"message": WITHHELD, "remedy": WITHHELD} if checked.code in QUOTING else row)
    texts["doctor.json"] = _json(found)
    return texts | _state(folder)


def _configuration(folder: Path) -> dict[str, str]:
    """As in force; where it is refused, the files themselves."""
    from forebay_agent.config.kept_offer import load_effective
    from forebay_agent.config.shown import shown
    from forebay_agent.errors import AgentError
    from forebay_agent.redaction import settings

    try:
        return {"configuration.json": _json(shown(load_effective(folder).config))}
    except AgentError:
        return {f"configuration/{file.relative_to(folder)}": text for file, text in settings(folder)}


def _state(folder: Path) -> dict[str, str]:
    """The status that the agent wrote down, and what waits."""
    from contextlib import closing

    from forebay_agent.config.load import load_agent
    from forebay_agent.control.diagnostics import streams_waiting, without_values
    from forebay_agent.errors import AgentError
    from forebay_agent.outbox import OutboxReader
    from forebay_agent.report import STATUS_FILE

    texts: dict[str, str] = {}
    try:
        state = load_agent(folder).state
        if (state / STATUS_FILE).exists():
            texts["status.json"] = _json(without_values(json.loads((state / STATUS_FILE).read_bytes())))
        with closing(OutboxReader(state)) as reader:
            texts["outbox.json"] = _json(streams_waiting(reader))
    except (AgentError, OSError, ValueError, KeyError) as error:
        texts["state.txt"] = f"{type(error).__name__}: {error}\n"
    return texts


def _machine() -> dict[str, Any]:
    import psutil

    memory = psutil.virtual_memory()
    disks = []
    for disk in psutil.disk_partitions():
        try:
            usage = psutil.disk_usage(disk.mountpoint)
        except OSError:
            continue
        disks.append({"at": disk.mountpoint, "kind": disk.fstype, "total": usage.total, "free": usage.free})
    return {
        "machine": platform.machine(),
        "libc": " ".join(platform.libc_ver()),
        "up_seconds": int(time.time() - psutil.boot_time()),
        "memory_total": memory.total,
        "memory_available": memory.available,
        "disks": disks,
    }


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=1, default=str) + "\n"
