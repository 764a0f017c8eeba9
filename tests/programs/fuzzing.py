"""The API against its own description: schemathesis makes requests of it, right and wrong ones, at a collector with
something of every noun in it.

    python -m tests.programs.fuzzing --examples 200 --seed 7

Every answer must be what the description says: status, media type, headers, schema; nothing may break (5xx); what does
not fit the description must be refused, and what fits must not be. Requests name what there is about as often as not.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

from forebay_collector.api.admission import Admission
from forebay_collector.api.problems import ROOT
from tests.consoling.console import Served
from tests.loading.stage import AGENT
from tests.programs.office import HELD, OTHER, OTHERS_AGENT, PROPOSED, SLASHED, Office
from tests.programs.program import token_of
from tests.receiving.batches import DEPARTMENT, STREAM

BIN = Path(sys.executable).parent
ROOT_FOLDER = Path(__file__).parents[2]
EVERYTHING = ("operator", "approver", "auditor", "administrator")
_OFTEN, _MOSTLY = 0.6, 0.85
_ANY = (1e6, 10**6)


@dataclass(frozen=True, slots=True)
class Run:
    """What came of it. answers: (operation, status) -> how often."""

    exit_code: int
    told: str
    answers: Counter[tuple[str, int]]
    still_good: bool

    @property
    def fine(self) -> set[str]:
        """The operations that did what they are for at least once."""
        return {operation for (operation, status) in self.answers if 200 <= status < 300}


def fuzz(folder: Path, *, examples: int, seed: int, more: Sequence[str] = ()) -> Run:
    """more: further arguments of `schemathesis run`."""
    office = Office(folder / "collector")
    try:
        for name in ("spare", "other"):
            token_of(office.ledger, name, ["viewer"])
        token = token_of(office.ledger, "fuzzer", EVERYTHING)
        config, report = folder / "schemathesis.toml", folder / "report.ndjson"
        config.write_text(_config(office), "utf-8")
        with Served(office.stage, admission=lambda ledger: Admission(ledger, calls=_ANY, guesses=_ANY)) as served:
            base = served.address + ROOT
            command = [str(BIN / "schemathesis"), "--config-file", str(config), "run", f"{base}/openapi.json"]
            command += [
                "--header",
                f"Authorization: Bearer {token}",
                "--max-examples",
                str(examples),
                "--seed",
                str(seed),
            ]
            command += ["--generation-with-security-parameters", "false"]
            command += ["--generation-database", "none", "--report", "ndjson", "--report-ndjson-path", str(report)]
            ran = subprocess.run(
                [*command, *more], capture_output=True, text=True, cwd=folder, env={**os.environ, "NO_COLOR": "1"}
            )
            me = httpx.get(f"{base}/me", headers={"authorization": f"Bearer {token}"})
        return Run(ran.returncode, ran.stdout + ran.stderr, _answers(report), me.status_code == 200)
    finally:
        office.close()


def _config(office: Office) -> str:
    """What schemathesis is told of what there is. Its own token is not among those that it may revoke."""
    streams = (STREAM, HELD, SLASHED, OTHER, PROPOSED)
    values: dict[str, Sequence[str | int]] = {
        "agents": [AGENT, OTHERS_AGENT],
        "departments": [DEPARTMENT],
        "sources": [HELD.source],
        "tables": [HELD.table, SLASHED.table, PROPOSED.table],
        "streams": [str(stream) for stream in streams],
        "commands": [office.command],
        "numbers": [1, 2, 3],
        "spare_tokens": [1, 2],
        "users": ["spare", "other", "fuzzer"],
        "kinds": ["FB-NOT-KNOWN", "FB-PACE"],
        "roles": ["viewer"],
    }
    bound = {
        "path.agent": "agents",
        "path.epoch": "numbers",
        "path.seq": "numbers",
        "path.command": "commands",
        "path.rollout": "numbers",
        "path.verification": "numbers",
        "path.alert": "numbers",
        "path.window": "numbers",
        "path.user": "users",
        "path.code": "kinds",
        "query.agent": "agents",
        "query.department": "departments",
        "query.stream": "streams",
        "body.agents[*]": "agents",
        "body.stream": "streams",
        "body.streams[*]": "streams",
        "body.batches[*].stream": "streams",
        "body.batches[*].epoch": "numbers",
        "body.batches[*].seq": "numbers",
        "body.roles[*]": "roles",
        "body.departments[*]": "departments",
        "body.department": "departments",
    }
    # what no schema shows: too long a body, a password that is too easy to guess, one's own old one wrong too often
    refused = [400, 401, 403, 404, 405, 406, 409, 413, 415, 422, 429]
    lines = ["[checks]", f"negative_data_rejection.expected-statuses = {refused}"]
    lines += ['positive_data_acceptance.expected-statuses = ["2xx", 403, 404, 409, 413, 422, 429]', ""]
    for name, known in values.items():
        lines += [f"[dictionaries.{name}]", f"values = {json.dumps(list(known), ensure_ascii=False)}", ""]
    lines.append("[parameters]")
    lines += [f'"{key}" = {{ dictionary = "{name}", probability = {_OFTEN} }}' for key, name in bound.items()]
    lines += [
        f'"path.{part}" = {{ dictionary = "{part}s", probability = {_MOSTLY} }}'
        for part in ("department", "source", "table")
    ]
    lines.append('"path.token" = { dictionary = "spare_tokens", probability = 1.0 }')
    return "\n".join(lines) + "\n"


def _answers(report: Path) -> Counter[tuple[str, int]]:
    """Of the report's scenarios: which operation was asked for, and what it answered."""
    found: Counter[tuple[str, int]] = Counter()
    for line in report.read_text("utf-8").splitlines() if report.exists() else ():
        recorder = json.loads(line).get("ScenarioFinished", {}).get("recorder", {})
        for number, interaction in recorder.get("interactions", {}).items():
            case = recorder["cases"][number]["value"]
            if answer := interaction.get("response"):
                found[f"{case['method']} {case['path']}", answer["status_code"]] += 1
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=200, help="requests of each kind and operation at most")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="forebay-api-") as folder:
        run = fuzz(Path(folder), examples=arguments.examples, seed=arguments.seed)
    print(run.told)
    for (operation, status), count in sorted(run.answers.items()):
        print(f"{count:7} {status} {operation}")
    return run.exit_code if run.still_good else 1


if __name__ == "__main__":
    sys.exit(main())
