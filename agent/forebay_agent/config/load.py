"""Reads `agent.toml` and `sources.d/*.toml` into one `AgentConfig`: the configuration is valid as a whole or refused.

Every problem of one load is collected; the ConfigurationError raised carries them all in `problems`, each with file,
key (`table[2].cursor`: the second `[[table]]`), reason and remedy.
"""

from __future__ import annotations

import hashlib
import ipaddress
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from forebay_agent.config import model, values
from forebay_agent.config.section import Problems, Section
from forebay_agent.config.source_file import read_source

AGENT_FILE = "agent.toml"
SOURCES_FOLDER = "sources.d"


def load(folder_or_file: Path) -> model.AgentConfig:
    """The configuration in a folder, or the one whose `agent.toml` is named.

    Raises ConfigurationError; its `problems` are all that is wrong.
    """
    main = agent_file(folder_or_file)
    problems = Problems()
    agent = _read_agent(main, problems)
    files = source_files(main.parent)
    sources = []
    for file in files:
        content = _parse(file, problems)
        if content is not None:
            source = read_source(Section(content, file, "", problems, model.meanings(model.SourceConfig)))
            if source is not None:
                sources.append(source)
    _refuse_duplicates(sources, problems)
    problems.raise_if_any()
    return model.AgentConfig(
        folder=main.parent,
        state=agent.state,
        collector=agent.collector,
        outbox=agent.outbox,
        digest=agent.digest,
        log_level=agent.log_level,
        maintenance=agent.maintenance,
        metrics=agent.metrics,
        sources=tuple(sources),
        hash=hash_of([main, *files], main.parent),
    )


def load_agent(folder_or_file: Path) -> model.AgentConfig:
    """Only what `agent.toml` says: `sources` is empty and no secret is looked at.

    For commands that work on the state folder alone. Raises ConfigurationError as `load`.
    """
    main = agent_file(folder_or_file)
    problems = Problems()
    agent = _read_agent(main, problems)
    problems.raise_if_any()
    return model.AgentConfig(
        folder=main.parent,
        state=agent.state,
        collector=agent.collector,
        outbox=agent.outbox,
        digest=agent.digest,
        log_level=agent.log_level,
        maintenance=agent.maintenance,
        metrics=agent.metrics,
    )


def agent_file(folder_or_file: Path) -> Path:
    """The absolute path of `agent.toml`."""
    path = folder_or_file.absolute()
    return path / AGENT_FILE if path.is_dir() or path.suffix != ".toml" else path


def source_files(folder: Path) -> list[Path]:
    """The sources' files in order of name; editors' hidden files are none."""
    return sorted(file for file in (folder / SOURCES_FOLDER).glob("*.toml") if not file.name.startswith("."))


def hash_of(files: Sequence[Path], folder: Path) -> str:
    """SM3 over names and contents, hexadecimal. A file that cannot be read counts by its name alone."""
    state = hashlib.new("sm3")
    for file in files:
        try:
            content = file.read_bytes()
        except OSError:
            content = b""
        name = str(file.relative_to(folder)).encode("utf-8", "surrogateescape")
        for part in (name, content):
            state.update(len(part).to_bytes(8, "big"))
            state.update(part)
    return state.hexdigest()


@dataclass(frozen=True, slots=True)
class Agent:
    """`agent.toml` by itself."""

    state: Path
    collector: model.CollectorConfig
    outbox: model.OutboxConfig
    digest: str
    log_level: str
    maintenance: tuple[model.DailyWindow, ...]
    metrics: model.MetricsConfig


def _read_agent(main: Path, problems: Problems) -> Agent:
    content = _parse(main, problems)
    if content is None:
        problems.raise_if_any()
    return read_agent(Section(content or {}, main, "", problems))


def read_agent(top: Section) -> Agent:
    """What `agent.toml` says. Problems go to the section's collection."""
    own = model.meanings(model.AgentConfig)
    agent = top.section("agent", own)
    collector = top.section("collector", model.meanings(model.CollectorConfig))
    outbox = top.section("outbox", model.meanings(model.OutboxConfig))
    seal, log = top.section("seal", own), top.section("log", {"level": own["log_level"]})
    metrics = top.section("metrics", model.meanings(model.MetricsConfig))
    room = model.OutboxConfig()
    read = Agent(
        state=agent.path("state", required=True) or top.file.parent,
        collector=_read_collector(collector),
        outbox=model.OutboxConfig(
            cap=outbox.size("cap", room.cap, least=1 << 20),
            free_disk=outbox.size("free_disk", room.free_disk),
        ),
        digest=seal.text("digest", "sm3", choices=model.DIGESTS),
        log_level=log.text("level", "info", choices=model.LOG_LEVELS),
        maintenance=agent.windows("maintenance"),
        metrics=_read_metrics(metrics),
    )
    for section in (agent, collector, outbox, log, seal, metrics, top):
        section.finish()
    return read


def _read_collector(section: Section) -> model.CollectorConfig:
    default = model.CollectorConfig()
    addresses = section.texts("addresses")
    for address in addresses:
        try:
            values.address(address)
        except ValueError as error:
            section.refuse("addresses", f"{address!r}: {error}", 'Write `addresses = ["collector.example:7443"]`.')
    first = section.duration("backoff_first", default.backoff_first, least=timedelta(milliseconds=10))
    most = section.duration("backoff_most", default.backoff_most, least=timedelta(milliseconds=10))
    if most < first:
        section.refuse("backoff_most", "is shorter than `backoff_first`", "Make it at least as long.")
    return model.CollectorConfig(
        line=section.flag("line", default.line),
        addresses=addresses,
        bandwidth=section.bandwidth("bandwidth", default.bandwidth),
        window=section.size("window", default.window, least=1 << 20),
        windows=section.windows("windows"),
        heartbeat=section.duration("heartbeat", default.heartbeat, least=timedelta(milliseconds=100)),
        backoff_first=first,
        backoff_most=most,
    )


def _read_metrics(section: Section) -> model.MetricsConfig:
    listen = section.text("listen")
    if not listen:
        return model.MetricsConfig()
    try:
        host, _ = values.address(listen)
    except ValueError as error:
        section.refuse("listen", f"{listen!r}: {error}", 'Write `listen = "127.0.0.1:9464"`.')
        return model.MetricsConfig()
    if not _is_loopback(host):
        section.refuse(
            "listen",
            f"{listen} is reached from other machines, and the metrics name the department's tables",
            "Listen on 127.0.0.1. The centre has these figures from heartbeats; who must read them from another machine "
            "puts a proxy in front that speaks TLS and asks who it is.",
        )
    return model.MetricsConfig(listen)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _refuse_duplicates(sources: Sequence[model.SourceConfig], problems: Problems) -> None:
    first: dict[str, str] = {}
    for source in sources:
        if source.name in first:
            problems.add(
                Path(source.file),
                "name",
                f"source {source.name!r} is also the name of {first[source.name]}",
                "Give one of them another `name`: a source's name is part of its streams' names.",
            )
        first.setdefault(source.name, source.file)


def _parse(file: Path, problems: Problems) -> dict[str, object] | None:
    try:
        return tomllib.loads(file.read_text("utf-8"))
    except OSError as error:
        problems.add(file, "", f"cannot be read: {error.strerror}", "Create the file, or let the agent's user read it.")
    except UnicodeDecodeError as error:
        problems.add(
            file, "", f"is not UTF-8 (byte {error.start})", "Save the file as UTF-8 without a byte order mark."
        )
    except tomllib.TOMLDecodeError as error:
        problems.add(
            file,
            "",
            f"is not valid TOML: {error}",
            "Correct the line named; texts, and names other than plain a-z, 0-9, _ and -, stand in double quotes.",
        )
    return None
