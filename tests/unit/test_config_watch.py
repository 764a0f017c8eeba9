"""Live reload: a whole valid configuration takes force, anything else is reported and changes nothing."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from forebay_agent.config.load import load
from forebay_agent.config.model import AgentConfig
from forebay_agent.config.watch import ConfigurationWatcher
from forebay_agent.errors import ConfigurationError

AGENT = '[agent]\nstate = "state"\n[collector]\naddresses = ["localhost:7443"]\n'
SOURCE = 'kind = "sqlite"\npath = "x.db"\n[[table]]\nname = "people"\nmode = "snapshot"\n'


class Seen:
    """What the watcher reported, and a watcher that was told of it."""

    def __init__(self, folder: Path) -> None:
        self.applied: list[AgentConfig] = []
        self.refused: list[ConfigurationError] = []
        self.watcher = ConfigurationWatcher(
            folder, self.applied.append, self.refused.append, known=load(folder).hash, quiet=0.05, look=3600
        )

    def until(self, done: Callable[[], bool]) -> None:
        """Steps until something is true; the test's own time limit ends a wait in vain."""
        for _ in range(100):
            if done():
                return
            self.watcher.step(0.2)
        raise AssertionError("the watcher did not see the change")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "sources.d").mkdir()
    (tmp_path / "agent.toml").write_text(AGENT)
    (tmp_path / "sources.d" / "civil.toml").write_text(SOURCE)
    return tmp_path


@pytest.fixture
def seen(folder: Path) -> Iterator[Seen]:
    seen = Seen(folder)
    with seen.watcher:
        yield seen


def test_a_changed_file_takes_force(folder: Path, seen: Seen) -> None:
    (folder / "agent.toml").write_text(AGENT + '[log]\nlevel = "debug"\n')
    seen.until(lambda: bool(seen.applied))
    assert seen.applied[-1].log_level == "debug"
    assert not seen.refused


def test_an_editor_that_writes_beside_and_renames_is_followed(folder: Path, seen: Seen) -> None:
    draft = folder / "sources.d" / ".civil.toml.swp"
    draft.write_text("half wri")
    draft.write_text(SOURCE.replace("people", "houses"))
    draft.rename(folder / "sources.d" / "civil.toml")
    seen.until(lambda: bool(seen.applied))
    assert seen.applied[-1].sources[0].tables[0].name == "houses"
    assert not seen.refused


def test_a_wrong_file_is_reported_once_and_the_next_good_one_takes_force(folder: Path, seen: Seen) -> None:
    (folder / "sources.d" / "civil.toml").write_text(SOURCE + "moed = 1\n")
    seen.until(lambda: bool(seen.refused))
    assert "moed" in str(seen.refused[0])
    assert not seen.applied
    for _ in range(3):
        seen.watcher.step(0.05)
    assert len(seen.refused) == 1
    (folder / "sources.d" / "civil.toml").write_text(SOURCE)
    seen.until(lambda: bool(seen.applied))
    assert seen.applied[-1].sources[0].name == "civil"


def test_a_removed_source_and_a_new_sources_folder_are_seen(folder: Path, seen: Seen) -> None:
    (folder / "sources.d" / "civil.toml").unlink()
    (folder / "sources.d").rmdir()
    seen.until(lambda: bool(seen.applied))
    assert not seen.applied[-1].sources
    (folder / "sources.d").mkdir()
    seen.watcher.step(0.5)
    (folder / "sources.d" / "tax.toml").write_text(SOURCE)
    seen.until(lambda: len(seen.applied) > 1)
    assert seen.applied[-1].sources[0].name == "tax"


def test_a_file_touched_but_not_changed_takes_no_effect(folder: Path, seen: Seen) -> None:
    os.utime(folder / "agent.toml")
    (folder / "agent.toml").write_text(AGENT)
    (folder / "agent.toml~").write_text("not ours")
    assert not any(seen.watcher.step(0.2) for _ in range(4))
    assert not seen.applied
    assert not seen.refused


def test_a_change_without_any_file_event_is_found_by_the_slow_look(folder: Path) -> None:
    now = [0.0]
    applied: list[AgentConfig] = []
    refused: list[ConfigurationError] = []
    watcher = ConfigurationWatcher(
        folder, applied.append, refused.append, known=load(folder).hash, look=10, monotonic=lambda: now[0]
    )
    (folder / "agent.toml").write_text(AGENT + '[seal]\ndigest = "sha256"\n')
    assert not watcher.step()
    now[0] = 10.0
    assert watcher.step()
    assert applied[0].digest == "sha256"


def test_a_refusal_whose_cause_lies_outside_the_folder_ends_when_the_cause_does(folder: Path, tmp_path: Path) -> None:
    now = [0.0]
    applied: list[AgentConfig] = []
    refused: list[ConfigurationError] = []
    known = load(folder).hash
    secret = tmp_path / "secret"
    (folder / "sources.d" / "tax.toml").write_text(
        f'kind = "mysql"\nuser = "forebay"\ndatabase = "tax"\npassword = {{ file = "{secret}" }}\n'
        '[[table]]\nname = "payer"\nmode = "snapshot"\n'
    )
    watcher = ConfigurationWatcher(
        folder, applied.append, refused.append, known=known, look=10, monotonic=lambda: now[0]
    )
    now[0] = 10.0
    assert watcher.step()
    assert "secret file" in str(refused[0])
    now[0] = 20.0
    assert not watcher.step()
    secret.touch(mode=0o600)
    secret.write_text("s3cret")
    now[0] = 30.0
    assert watcher.step()
    assert len(applied[0].sources) == 2


def test_what_the_taker_refuses_is_reported_like_any_refusal(folder: Path) -> None:
    refused: list[ConfigurationError] = []

    def apply(config: AgentConfig) -> None:
        raise ConfigurationError("the state folder cannot change while the agent runs", key="agent.state")

    watcher = ConfigurationWatcher(folder, apply, refused.append)
    assert watcher.step()
    assert refused[0].key == "agent.state"


def test_stopping_ends_every_thread_that_was_started(folder: Path) -> None:
    before = threading.active_count()
    with Seen(folder).watcher:
        assert threading.active_count() > before
    assert threading.active_count() == before
