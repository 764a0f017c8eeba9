"""What the centre offers only tunes or tightens: everything else is refused with key, reason and remedy."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forebay_agent.config import tightening, windows
from forebay_agent.config.kept_offer import APPLIED, FAILED, FILE_NAME, KeptOffer, load_effective
from forebay_agent.config.model import (
    MASK_KINDS,
    AgentConfig,
    CollectorConfig,
    DailyWindow,
    MaskConfig,
    SourceConfig,
    TableConfig,
)
from forebay_agent.config.offer import Offer, effective_hash, laid_over, parts_of
from forebay_agent.config.tightening import Unfit
from forebay_agent.errors import OfferRefused, StateFolderUnusable

NIGHT = (DailyWindow(dt.time(22), dt.time(6)),)
PEOPLE = TableConfig(
    "public.people",
    mode="cursor",
    key=("id",),
    cursor="changed",
    columns=("id", "name", "id_no", "mobile", "changed"),
    masks=(MaskConfig("name", "name"),),
    as_text=frozenset({"mobile"}),
)
HOUSES = TableConfig("houses", mode="log", exclude=("photo",))
FILES = AgentConfig(
    Path("/etc/forebay-agent"),
    Path("/var/lib/forebay-agent"),
    CollectorConfig(bandwidth=2 << 20, windows=NIGHT),
    maintenance=(DailyWindow(dt.time(2), dt.time(3)),),
    sources=(
        SourceConfig("civil", "postgresql", "civil.toml", tables=(PEOPLE, HOUSES)),
        SourceConfig(
            "market",
            "mysql",
            "market.toml",
            max_rows_per_second=1_000,
            snapshot_windows=NIGHT,
            paused=True,
            tables=(TableConfig("m.firm", mode="log"),),
        ),
    ),
    hash="f" * 64,
)
PEOPLES = 'source.civil.table."public.people".'


def source(config: AgentConfig, name: str = "civil") -> SourceConfig:
    return next(each for each in config.sources if each.name == name)


def table(config: AgentConfig, name: str = "public.people") -> TableConfig:
    return next(each for each in source(config).tables if each.name == name)


def test_everything_that_the_centre_may_set_takes_force() -> None:
    config = laid_over(
        FILES,
        Offer(
            1,
            {
                "log.level": "debug",
                "agent.maintenance": ["12:00-12:30"],
                "collector.heartbeat": "30s",
                "collector.bandwidth": "1MiB/s",
                "collector.windows": ["23:00-05:00"],
                "source.civil.poll_interval": "5s",
                "source.civil.linger": "1s",
                "source.civil.batch_rows": 1_000,
                "source.civil.chunk_time": "500ms",
                "source.civil.max_rows_per_second": 500,
                "source.civil.snapshot_windows": ["01:00-02:00"],
                "source.civil.paused": True,
                PEOPLES + "priority": 1,
                PEOPLES + "paused": True,
                PEOPLES + "masks.id_no": "citizen_id",
                PEOPLES + "exclude": ["mobile"],
                "source.civil.table.houses.masks.姓名": "name",
                "source.civil.table.houses.exclude": ["video"],
            },
        ),
    )
    assert (config.log_level, config.collector.heartbeat) == ("debug", timedelta(seconds=30))
    assert config.collector.bandwidth == 1 << 20
    assert [str(each) for each in config.collector.windows] == ["23:00-05:00"]
    assert [str(each) for each in config.maintenance] == ["02:00-03:00", "12:00-12:30"]
    civil = source(config)
    assert (civil.poll_interval, civil.linger) == (timedelta(seconds=5), timedelta(seconds=1))
    assert (civil.batch_rows, civil.chunk_time) == (1_000, timedelta(milliseconds=500))
    assert (civil.max_rows_per_second, civil.paused) == (500, True)
    assert [str(each) for each in civil.snapshot_windows] == ["01:00-02:00"]
    people, houses = table(config), table(config, "houses")
    assert (people.priority, people.paused) == (1, True)
    assert people.columns == ("id", "name", "id_no", "changed")
    assert people.masks == (MaskConfig("name", "name"), MaskConfig("id_no", "citizen_id"))
    assert (people.exclude, people.as_text) == ((), frozenset())
    assert (houses.exclude, houses.masks) == (("photo", "video"), (MaskConfig("姓名", "name"),))
    assert source(config, "market") == source(FILES, "market")
    assert (config.state, config.outbox, config.hash) == (FILES.state, FILES.outbox, FILES.hash)


REFUSED = [
    # widening
    ("collector.bandwidth", "4MiB/s", "would raise the department's own ceiling"),
    ("collector.bandwidth", "0B/s", "would raise the department's own ceiling"),
    ("collector.windows", ["21:00-23:00"], "not in the department's own windows"),
    ("collector.windows", [], "not in the department's own windows"),
    ("source.market.max_rows_per_second", 2_000, "would raise the department's own ceiling"),
    ("source.market.max_rows_per_second", 0, "would raise the department's own ceiling"),
    ("source.market.snapshot_windows", ["12:00-13:00"], "not in the department's own windows"),
    ("source.market.paused", False, "is paused by the department itself"),
    (PEOPLES + "masks.name", "mobile", "masks name as name already"),
    (PEOPLES + "masks.name", "", "is not known"),
    (PEOPLES + "columns", ["id", "name", "secret"], "not the centre's to set"),
    ("source.civil.table.houses.columns", [], "not the centre's to set"),
    ("source.civil.table.secrets.paused", True, "name no table 'secrets'"),
    ("source.tax.paused", True, "name no source 'tax'"),
    # the department's
    ("collector.addresses", ["evil:1"], "not the centre's to set"),
    ("agent.state", "/tmp", "not the centre's to set"),
    ("outbox.cap", "1GiB", "not the centre's to set"),
    ("seal.digest", "sha256", "not the centre's to set"),
    ("source.civil.host", "evil", "not the centre's to set"),
    ("source.civil.password", {"file": "/etc/shadow"}, "not the centre's to set"),
    ("source.civil.kind", "mysql", "not the centre's to set"),
    ("source.civil.name", "x", "not the centre's to set"),
    (PEOPLES + "mode", "log", "not the centre's to set"),
    (PEOPLES + "key", ["name"], "not the centre's to set"),
    (PEOPLES + "cursor", "id", "not the centre's to set"),
    (PEOPLES + "as_text", [], "not the centre's to set"),
    (PEOPLES + "approved", ["secret"], "not the centre's to set"),
    (PEOPLES + "masks", {}, "not the centre's to set"),
    # cannot be used
    (PEOPLES + "masks.id", "mobile", "is in the key"),
    (PEOPLES + "masks.changed", "mobile", "is the cursor"),
    (PEOPLES + "masks.secret", "mobile", "is not read at all"),
    ("source.civil.table.houses.masks.photo", "name", "is not read at all"),
    (PEOPLES + "masks.id_no", "citizen", "is not known"),
    (PEOPLES + "exclude", ["id"], "is in the key"),
    (PEOPLES + "exclude", ["changed"], "is the cursor"),
    (PEOPLES + "exclude", "mobile", "is not a list of columns"),
    (PEOPLES + "exclude", [1], "is not a list of columns"),
    (PEOPLES + "priority", 0, "is out of range"),
    (PEOPLES + "priority", "1", "is not a whole number"),
    (PEOPLES + "priority", True, "is not a whole number"),
    (PEOPLES + "priority", 1.5, "is not a whole number"),
    (PEOPLES + "paused", "yes", "is not `true` or `false`"),
    ("log.level", "loud", "is not known"),
    ("collector.heartbeat", "1h", "is out of range"),
    ("collector.heartbeat", 15, "cannot be read"),
    ("collector.bandwidth", "1B/s", "is too low"),
    ("collector.windows", ["8-9"], "cannot be read"),
    ("collector.windows", "08:00-09:00", "is not a list of daily windows"),
    ("source.civil.poll_interval", "soon", "cannot be read"),
    ("source.civil.poll_interval", None, "cannot be read"),
    ("source.civil.batch_rows", 10**12, "is out of range"),
    ("source.civil.poll_intervall", "5s", "did you mean `poll_interval`"),
    ("source.civil", {}, "is not a setting's path"),
    ("source.civil.table.houses", {}, "is not a setting's path"),
    ("source..civil", 1, "is not a setting's path"),
    ("", 1, "is not a setting's path"),
    ("log.level = 1\nseal.digest", 1, "is not a setting's path"),
]


@pytest.mark.parametrize(("path", "value", "says"), REFUSED, ids=lambda value: str(value)[:40])
def test_what_widens_or_cannot_be_used_is_refused_with_key_reason_and_remedy(
    path: str, value: object, says: str
) -> None:
    with pytest.raises(OfferRefused) as caught:
        laid_over(FILES, Offer(1, {"log.level": "info", path: value}))
    (line,) = str(caught.value).splitlines()
    assert line.startswith("".join(each if each.isprintable() else "?" for each in path))
    assert says in line
    assert line.endswith(".")
    assert line.count(". ") >= 1, "there is no remedy"


def test_an_offer_is_refused_as_a_whole_with_a_line_for_every_setting_at_fault() -> None:
    with pytest.raises(OfferRefused) as caught:
        laid_over(FILES, Offer(1, {path: value for path, value, _ in REFUSED[:7]}))
    assert len(str(caught.value).splitlines()) == len({path for path, _, _ in REFUSED[:7]})


def test_the_last_column_of_a_list_cannot_be_left_out_since_an_empty_list_is_all_columns() -> None:
    files = replace(
        FILES, sources=(SourceConfig("s", "sqlite", "s", tables=(TableConfig("t", mode="log", columns=("a", "b")),)),)
    )
    with pytest.raises(OfferRefused, match="leaves no column"):
        laid_over(files, Offer(1, {"source.s.table.t.exclude": ["b", "a"]}))


def test_one_setting_written_in_two_ways_is_refused() -> None:
    with pytest.raises(OfferRefused, match="is set twice"):
        laid_over(FILES, Offer(1, {"source.civil.paused": True, 'source."civil".paused': True}))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[1]", "not a JSON object"),
        ('"x"', "not a JSON object"),
        ("{", "is not JSON"),
        ('{"a": NaN}', "is not JSON"),
        ('{"log.level": "info", "log.level": "debug"}', "twice"),
        ("[" * 100_000, "nested|not JSON"),
        ('{"a": "' + "x" * (1 << 20) + '"}', "too long"),
        (json.dumps({f"a{number}": 1 for number in range(10_001)}), "10001 settings"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_what_is_no_offer_is_refused(text: str, says: str) -> None:
    with pytest.raises(OfferRefused, match=says):
        Offer.of(1, text)


def test_a_revision_counts_from_one() -> None:
    with pytest.raises(OfferRefused, match="revision"):
        Offer.of(0, "{}")
    assert Offer.of(1, "").settings == {}


@pytest.mark.parametrize(
    ("path", "parts"),
    [
        ("a.b", ("a", "b")),
        ('source."a.b".table."c d".masks."e\\"f"', ("source", "a.b", "table", "c d", "masks", 'e"f')),
        ("source.民政.table.人口.masks.姓名", ("source", "民政", "table", "人口", "masks", "姓名")),
    ],
)
def test_a_path_holds_names_as_the_files_do(path: str, parts: tuple[str, ...]) -> None:
    assert parts_of(path) == parts


@pytest.mark.parametrize("path", ["a.", ".a", "a..b", 'a."b', "a b", "a=1", "a.#", "a\n", 'a."\n"'])
def test_what_is_no_path_is_refused(path: str) -> None:
    with pytest.raises(Unfit):
        parts_of(path)


def test_the_hash_is_that_of_files_and_settings() -> None:
    none, one, other = Offer(1, {}), Offer(2, {"log.level": "debug"}), Offer(3, {"log.level": "info"})
    hashes = [effective_hash(FILES, offer) for offer in (None, none, one, other)]
    assert hashes[0] == hashes[1] == FILES.hash
    assert len({*hashes}) == 3
    assert effective_hash(FILES, Offer(9, {"log.level": "debug"})) == hashes[2]
    assert effective_hash(replace(FILES, hash="0" * 64), one) != hashes[2]


COLUMNS = ("id", "name", "id_no", "mobile", "changed", "secret", "photo", "video")
DAILY = st.lists(st.sampled_from(["23:00-01:00", "00:00-05:00", "08:00-09:00", "21:00-07:00"]), max_size=2)
NUMBERS = st.sampled_from([0, 1, 5, 100, 900, 1_000, 5_000])
PLACES = st.sampled_from(["civil.poll_interval", "civil.linger", "market.chunk_time", "tax.linger"])
TABLES = st.sampled_from(
    ['civil.table."public.people"', "civil.table.houses", 'market.table."m.firm"', "civil.table.secrets"]
)


def pair(path: str, where: st.SearchStrategy[str], value: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[str, Any]]:
    return st.tuples(st.builds(path.format, where), value)


SOURCES = st.sampled_from(["civil", "market"])
SETTINGS = st.one_of(
    st.builds(
        lambda table, column, kind: (f"source.{table}.masks.{column}", kind),
        TABLES,
        st.sampled_from(COLUMNS),
        st.sampled_from(MASK_KINDS),
    ),
    pair("source.{}.exclude", TABLES, st.lists(st.sampled_from(COLUMNS), max_size=4)),
    pair("source.{}.paused", st.one_of(TABLES, SOURCES), st.booleans()),
    pair("source.{}.priority", TABLES, NUMBERS),
    pair("source.{}", PLACES, st.sampled_from(["0s", "1s", "90s", "9h"])),
    pair("source.{}.max_rows_per_second", SOURCES, NUMBERS),
    pair("source.{}.snapshot_windows", SOURCES, DAILY),
    pair("collector.{}", st.just("windows"), DAILY),
    pair("collector.{}", st.just("bandwidth"), st.sampled_from(["0B/s", "1MiB/s", "2MiB/s", "9MiB/s"])),
    pair("agent.{}", st.just("maintenance"), DAILY),
    pair("source.{}", st.sampled_from(["civil.host", "civil.table.houses.columns", "civil.tables"]), st.just([])),
)


def leaves(config: AgentConfig) -> dict[tuple[str, str, str], str]:
    """(source, table, column) of every column that may leave the appliance -> its mask; nothing of what is paused."""
    return {
        (each.name, one.name, column): next((mask.kind for mask in one.masks if mask.column == column), "")
        for each in config.sources
        for one in each.tables
        for column in (one.columns or COLUMNS)
        if column not in one.exclude and not each.paused and not one.paused
    }


def ceiling(value: int) -> float:
    return value or float("inf")


@settings(max_examples=400, deadline=None)
@given(st.lists(st.lists(SETTINGS, min_size=1, max_size=3).map(dict), max_size=6))
def test_no_sequence_of_offers_ever_widens(
    tmp_path_factory: pytest.TempPathFactory, offers: list[dict[str, Any]]
) -> None:
    held = KeptOffer(tmp_path_factory.mktemp("state"))
    for revision, settings_ in enumerate(offers, start=1):
        offer = Offer(revision, settings_)
        try:
            laid_over(FILES, offer)
            held.accept(offer, 1)
        except OfferRefused as error:
            held.refuse(offer, str(error), 1)
    config, own = held.over(FILES), leaves(FILES)
    for place, mask in leaves(config).items():
        assert place in own
        assert not own[place] or own[place] == mask, "the department's mask is gone"
    assert ceiling(config.collector.bandwidth) <= ceiling(FILES.collector.bandwidth)
    assert windows.inside(config.collector.windows, FILES.collector.windows)
    assert windows.minutes(config.maintenance) >= windows.minutes(FILES.maintenance)
    for now, before in zip(config.sources, FILES.sources, strict=True):
        assert ceiling(now.max_rows_per_second) <= ceiling(before.max_rows_per_second)
        assert windows.inside(now.snapshot_windows, before.snapshot_windows)
        assert now.paused >= before.paused
        free = {name: getattr(before, name) for name in (*tightening.OF_SOURCE, "tables")}
        assert replace(now, **free) == before, "something else was set"
        for one, other in zip(now.tables, before.tables, strict=True):
            own_free = {name: getattr(other, name) for name in (*tightening.OF_TABLE, "masks", "exclude", "columns")}
            assert replace(one, **own_free, as_text=other.as_text) == other, "something else was set"


def test_what_is_in_force_and_what_was_refused_are_kept(tmp_path: Path) -> None:
    first = KeptOffer(tmp_path)
    assert (first.in_force, first.newest.outcome) == (None, "")
    first.accept(Offer(1, {"log.level": "debug"}), 10)
    first.refuse(Offer(2, {"agent.state": 1}), "agent.state: is not the centre's. No.", 20)
    again = KeptOffer(tmp_path)
    assert again.in_force == Offer(1, {"log.level": "debug"})
    assert (again.newest.revision, again.newest.outcome, again.newest.decided_at_us) == (2, FAILED, 20)
    assert "agent.state" in again.newest.reason
    undo = again.accept(Offer(3, {}), 30)
    undo()
    assert KeptOffer(tmp_path).in_force == Offer(1, {"log.level": "debug"})
    again.drop("does not fit", 40)
    last = KeptOffer(tmp_path)
    assert (last.in_force, last.newest.revision, last.newest.outcome) == (None, 1, FAILED)


@pytest.mark.parametrize("damage", ["cut", "changed", "empty", "other"])
def test_a_damaged_offer_stops_the_agent_and_is_never_no_offer(tmp_path: Path, damage: str) -> None:
    KeptOffer(tmp_path).accept(Offer(1, {PEOPLES + "masks.id_no": "citizen_id"}), 10)
    file = tmp_path / FILE_NAME
    text = file.read_text()
    file.write_text({"cut": text[:-9], "changed": text.replace("id_no", "id_nr"), "empty": "", "other": "[]"}[damage])
    with pytest.raises(StateFolderUnusable) as caught:
        KeptOffer(tmp_path)
    assert "damaged" in str(caught.value)
    assert "masks included" in caught.value.remedy


def test_commands_show_the_files_with_the_offer_over_them_and_the_files_win(tmp_path: Path) -> None:
    (tmp_path / "sources.d").mkdir()
    (tmp_path / "agent.toml").write_text('[agent]\nstate = "state"\n[collector]\nbandwidth = "2MiB/s"\n')
    (tmp_path / "state").mkdir()
    assert load_effective(tmp_path).offer is None
    KeptOffer(tmp_path / "state").accept(Offer(4, {"collector.bandwidth": "1MiB/s"}), 10)
    effective = load_effective(tmp_path)
    assert (effective.config.collector.bandwidth, effective.offer and effective.offer.revision) == (1 << 20, 4)
    (tmp_path / "agent.toml").write_text('[agent]\nstate = "state"\n[collector]\nbandwidth = "512KiB/s"\n')
    effective = load_effective(tmp_path)
    assert (effective.config.collector.bandwidth, effective.offer) == (512 << 10, None)
    assert "ceiling" in effective.refusal
    assert KeptOffer(tmp_path / "state").newest.outcome == APPLIED, "a command changes nothing"
