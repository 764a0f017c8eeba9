"""The console's languages: both say everything, and nothing that people read stands outside of them."""

from __future__ import annotations

import re
import string
from importlib.resources import files
from pathlib import Path

import pytest

import forebay_agent.policy
from forebay_collector.alerts.settings import CHANNELS
from forebay_collector.completeness.judgement import Reason
from forebay_collector.console.language import DEFAULT, LANGUAGES, preferred, words_of
from forebay_collector.console.pages import agent as agent_page
from forebay_collector.console.pages import fleet, streams
from forebay_collector.errors import CollectorError, LedgerUnavailable, NotPossible
from forebay_collector.ledger import BatchState
from forebay_collector.ledger.maintenance import Scope
from forebay_collector.ledger.notifications import FAILED, SENDING, SENT, WAITING
from forebay_collector.ledger.proposals import State
from forebay_collector.ledger.repairs import RepairState
from forebay_collector.ledger.verifications import VerificationState
from forebay_collector.load.policy import remedy_of_hold
from forebay_collector.policy import POLICIES
from forebay_collector.service.actor import Role
from forebay_collector.service.alerts import WindowState
from forebay_collector.service.batches import Archived
from forebay_collector.service.fleet import Colour
from forebay_collector.service.notifications import UNTRIED

CONSOLE = Path(str(files("forebay_collector.console")))
TEMPLATES = sorted((CONSOLE / "templates").glob("*.html"))
SOURCES = sorted(CONSOLE.rglob("*.py"))
KEY = r"[A-Za-z_][\w]*(?:\.[\w-]+)+"
# what stands outside of the catalogues on purpose: a name of a thing, not a text
NAMES = {"OIDC", "NULL", "ms", "TOML"}


@pytest.mark.parametrize("language", [language for language in LANGUAGES if language != DEFAULT])
def test_every_language_has_the_same_keys_with_the_same_values_to_put_in(language: str) -> None:
    default, other = words_of(DEFAULT).texts, words_of(language).texts
    assert default.keys() == other.keys()
    assert {key: _fields(text) for key, text in default.items()} == {key: _fields(text) for key, text in other.items()}
    assert all(text.strip() for text in (*default.values(), *other.values()))


def test_everything_that_a_template_or_a_page_says_is_in_the_catalogues() -> None:
    texts = words_of(DEFAULT).texts
    counted = {key.rsplit(".", 1)[0] for key in texts if key.endswith(".one")}
    groups = {key.rsplit(".", 1)[0] for key in texts}
    lacking = []
    for path in (*TEMPLATES, *SOURCES):
        source = path.read_text("utf-8")
        for key in re.findall(rf"""\bt\(["']({KEY})["'][,)]""", source):
            lacking += [] if key in texts else [(path.name, key)]
        for key in re.findall(rf"""\b(?:t|words)\.count\(["']({KEY})["']""", source):
            lacking += [] if key in counted else [(path.name, key)]
        for group in re.findall(r"""\bt\.named\(["'](\w+)["']""", source):
            lacking += [] if group in groups else [(path.name, group)]
        for key in re.findall(rf"""\bwords\(["']({KEY})["']""", source):
            lacking += [] if key in texts else [(path.name, key)]
        for key in re.findall(rf"""visit\.done\([^"']*["']({KEY})["']""", source):
            lacking += [] if key in texts else [(path.name, key)]
    assert lacking == []


def test_every_text_of_the_catalogues_is_used() -> None:
    sources = "\n".join(path.read_text("utf-8") for path in (*TEMPLATES, *SOURCES))
    unused = []
    for key in words_of(DEFAULT).texts:
        group, _, name = key.rpartition(".")
        whole = group if name in ("one", "other") else key
        put_together = re.search(
            rf"""["']{re.escape(group)}[._]["'] ~|f["']{re.escape(group)}\.|named\(["']{re.escape(group)}["']""",
            sources,
        )
        stem = re.search(rf"""["']{re.escape(group)}\.{re.escape(name.partition("_")[0])}_["'] ~""", sources)
        if not (f'"{whole}"' in sources or f"'{whole}'" in sources or put_together or stem):
            unused.append(key)
    assert unused == []


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_a_template_says_nothing_by_itself(path: Path) -> None:
    source = path.read_text("utf-8")
    source = re.sub(r"{#.*?#}|{%.*?%}", " ", source, flags=re.DOTALL)
    # values, but not what stands in an attribute that people read
    source = re.sub(r"{{.*?}}", " ", source, flags=re.DOTALL)
    said = re.findall(r"""(?:placeholder|title|aria-label)="([^"]*[^\W\d_][^"]*)\"""", source)
    text = re.sub(r"<[^>]*>", " ", source)
    words = set(re.findall(r"[^\W\d_]{2,}", re.sub(r"&\w+;", " ", text))) - NAMES
    assert (words, [one for one in said if "=" not in one]) == (set(), [])


@pytest.mark.parametrize("language", LANGUAGES)
def test_names_out_of_programs_have_texts(language: str) -> None:
    texts = words_of(language).texts
    wanted = [f"state.{one}" for one in Colour] + [f"letter.{one}" for one in Colour]
    wanted += [f"batch_state.{one}" for one in BatchState] + [f"approval_state.{one}" for one in State]
    wanted += [f"run_state.{one}" for one in VerificationState]
    wanted += [f"repair_state.{one}" for one in RepairState]
    wanted += [f"role.{one}" for one in Role] + [f"role_what.{one}" for one in Role]
    wanted += [f"proof.archive_{one}" for one in Archived]
    wanted += [f"command.{one}" for one in agent_page.KINDS] + [f"command_what.{one}" for one in agent_page.KINDS]
    wanted += [f"incomplete.{one}" for one in Reason]
    wanted += [f"window_state.{one}" for one in WindowState] + [f"window_scope.{one}" for one in Scope]
    wanted += [f"channel.{one}" for one in CHANNELS]
    wanted += [f"channel_state.{one}" for one in (UNTRIED, WAITING, SENDING, SENT, FAILED)]
    wanted += [f"range.{one}" for one in (*agent_page.RANGES, *streams.RANGES)]
    wanted += [f"fleet.sort_{one}" for one in fleet._SORTS] + [f"streams.sort_{one}" for one in streams._SORTS]
    assert [key for key in wanted if key not in texts] == []


def test_every_kind_of_trouble_has_a_remedy_in_chinese() -> None:
    known = words_of("zh-CN").troubles
    here = {kind.code: policy.remedy for kind, policy in POLICIES.items()}
    agents = {kind.code: policy.remedy for kind, policy in forebay_agent.policy.POLICIES.items()}
    assert sorted({*here, *agents} - known.keys()) == []
    assert [code for code, told in known.items() if not told["what"] or not told["remedy"]] == []
    # the English that each one translates: a changed remedy must be translated anew
    stale = [
        (code, remedy)
        for table in (here, agents)
        for code, remedy in table.items()
        if remedy not in known[code]["english"]
    ]
    assert stale == []


def test_a_hold_of_the_platform_is_told_in_chinese_without_repeating_the_english() -> None:
    words = words_of("zh-CN")
    code = "FB-PLATFORM-TYPE"
    told = words.trouble(code, "column a: text cannot become a number", remedy_of_hold(code))
    assert told.what == "列的类型不能变成新类型"
    assert told.remedy.startswith("消除平台拒绝的原因")
    assert told.english == ""


def test_a_remedy_that_is_this_very_cases_is_shown_beside_the_translated_one() -> None:
    error = NotPossible("stream a/b/c is held by 1/2, not by seq 3", remedy="Name the batch that is held: --seq 2.")
    told = words_of("zh-CN").of_error(error)
    assert (told.remedy, told.english) == ("请先查看数据流或批次的当前状态。", "Name the batch that is held: --seq 2.")
    assert words_of("zh-CN").of_error(LedgerUnavailable()).english == ""
    assert words_of("en").of_error(error).remedy == "Name the batch that is held: --seq 2."


def test_a_code_that_nobody_translated_is_told_in_english() -> None:
    told = words_of("zh-CN").trouble("FB-NEW", "why", "Do this.")
    assert (told.what, told.remedy, told.english) == ("", "Do this.", "")


def test_every_kind_of_trouble_is_one_sentence_in_english() -> None:
    words = words_of("en")
    kinds: list[type[CollectorError]] = [CollectorError, *_kinds(CollectorError)]
    for kind in kinds:
        assert words.trouble(kind.code).what.endswith("."), kind


@pytest.mark.parametrize(
    ("wanted", "accepted", "language"),
    [
        ("", "", "zh-CN"),
        ("", "en-US,en;q=0.9", "en"),
        ("", "de-DE,en;q=0.8,zh;q=0.5", "en"),
        ("", "zh-TW,en;q=0.8", "zh-CN"),
        ("", "de", "zh-CN"),
        ("en", "zh-CN", "en"),
        ("xx", "en", "en"),
    ],
)
def test_the_chosen_language_comes_first_and_then_what_the_browser_accepts(
    wanted: str, accepted: str, language: str
) -> None:
    assert preferred(wanted, accepted) == language


def _fields(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


def _kinds(kind: type[CollectorError]) -> list[type[CollectorError]]:
    return [one for below in kind.__subclasses__() for one in (below, *_kinds(below))]
