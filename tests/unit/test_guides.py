"""The guides say what is so: both languages the same, every command and file taken by the programs, every link leads somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from forebay_agent import stream_state
from forebay_agent.cli.main import command_line as agent_line
from forebay_agent.config.load import load, load_agent
from forebay_agent.outbox.file import FORMAT
from forebay_collector.alerts import kinds, texts
from forebay_collector.cli.main import command_line as collector_line
from forebay_collector.console.language import words_of
from forebay_collector.ledger import BatchState
from forebay_collector.ledger.migrate import migrations
from forebay_collector.service.actor import Role
from forebay_collector.service.stream_standing import Colour
from forebay_collector.settings import load_settings
from tests.handbook import errors, guides
from tests.handbook.guides import FOLDER, LANGUAGES, ROOT, Block
from tests.handbook.reference import PAGES

READMES = [ROOT / "README.md", ROOT / "README.zh-CN.md"]
GUIDES = sorted(FOLDER.rglob("*.md"))
TEXTS = sorted([*READMES, ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])
INFOS = {
    "sh appliance",
    "sh centre",
    *(
        f"sql {database}{mode}"
        for database in ("mariadb", "postgresql")
        for mode in ("", " log", " cursor", " trigger")
    ),
    "toml agent.toml",
    "toml collector.toml",
    "toml sources.d",
    "text",
}


def named(file: Path) -> str:
    return str(file.relative_to(ROOT))


def every(kind: str, *files: Path) -> list[Block]:
    return [block for file in files for block in guides.blocks(file) if block.kind == kind]


def test_both_languages_have_the_same_guides_in_the_same_order() -> None:
    one, other = ([file.name for file in sorted((FOLDER / language).iterdir())] for language in LANGUAGES)
    assert one == other
    orders = [[file.name for file in guides.path(language)] for language in LANGUAGES]
    assert orders[0] == orders[1]
    assert sorted([*orders[0], guides.INDEX]) == one


@pytest.mark.parametrize("name", [file.name for file in sorted((FOLDER / LANGUAGES[0]).iterdir())])
def test_both_languages_have_the_same_blocks_and_headings(name: str) -> None:
    one, other = (FOLDER / language / name for language in LANGUAGES)
    assert guides.headings(one) == guides.headings(other)
    said = [[(block.info, block.without_comments) for block in guides.blocks(file)] for file in (one, other)]
    assert said[0] == said[1]


@pytest.mark.parametrize("file", GUIDES, ids=named)
def test_every_block_says_where_it_runs(file: Path) -> None:
    assert {block.info for block in guides.blocks(file)} <= INFOS


@pytest.mark.parametrize("file", [*GUIDES, *READMES], ids=named)
def test_every_command_is_one_that_the_programs_take(file: Path) -> None:
    wrong = []
    for block in guides.blocks(file):
        for program, *arguments in guides.commands(block):
            parser = agent_line() if program == "forebay-agent" else collector_line(arguments)[0]
            try:
                parser.parse_args(arguments)
            except SystemExit as ended:
                wrong += [(block.line, arguments)] if ended.code else []
    assert wrong == []


def test_a_command_that_the_programs_do_not_take_would_be_found() -> None:
    block = Block(
        "x.md", 1, "sh centre", 'until forebay-collector verify "a b" --al; do sleep 1; done\nforebay-agent chekc\n'
    )
    assert list(guides.commands(block)) == [["forebay-collector", "verify", "a b", "--al"], ["forebay-agent", "chekc"]]
    with pytest.raises(SystemExit):
        agent_line().parse_args(["chekc"])


def test_commands_are_found_wherever_a_shell_would_run_them() -> None:
    text = "systemctl stop forebay-agent\nrm -r /etc/forebay-agent; forebay-agent outbox | grep x > y  # forebay-agent no\n"
    assert list(guides.commands(Block("x.md", 1, "text", text))) == [["forebay-agent", "outbox"]]


@pytest.mark.parametrize("file", [*GUIDES, *READMES], ids=named)
def test_every_file_that_is_shown_is_one_that_the_programs_take(file: Path, tmp_path: Path) -> None:
    for number, block in enumerate(every("toml", file)):
        folder = tmp_path / str(number)
        (folder / "sources.d").mkdir(parents=True)
        (folder / "secrets").mkdir()
        for secret in ("civil", "registry"):
            for place in (folder / "secrets" / secret, folder / f"{secret}.password"):
                place.write_text("secret\n")
                place.chmod(0o600)
        text = block.text.replace("/etc/forebay-agent", str(folder))
        (folder / "agent.toml").write_text('[agent]\nstate = "state"\n')
        if block.where == "collector.toml":
            whole = (
                "" if "addresses" in text else 'addresses = ["collector.city.example:7443"]\nlisten = "0.0.0.0:7443"\n'
            )
            (folder / "collector.toml").write_text(whole + text)
            load_settings(folder)
        elif "[agent]" in text:
            (folder / "agent.toml").write_text(text)
            load_agent(folder)
        else:
            (folder / "sources.d" / "civil.toml").write_text(text)
            assert load(folder).sources[0].tables, block


@pytest.mark.parametrize("file", TEXTS, ids=named)
def test_every_link_leads_somewhere(file: Path) -> None:
    assert [target for target in guides.links(file) if not (file.parent / target).exists()] == []


@pytest.mark.parametrize("file", PAGES, ids=named)
def test_the_reference_is_what_the_programs_say(file: Path) -> None:
    assert file.read_text("utf-8") == PAGES[file](), "write it anew: make reference"


def test_every_code_has_a_meaning_and_a_remedy_in_both_languages() -> None:
    assert len(errors.codes()) > 100
    assert [code for code in errors.codes() for language in LANGUAGES if not all(errors.told(code, language))] == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_alert_stands_in_operate_with_its_code(language: str) -> None:
    rows = re.findall(r"^\| `(\w+)`[^|]* \| `([A-Z-]+)` \| [^|]+\|$", _guide(language, "operate"), re.MULTILINE)
    assert rows == [(kind.name, kind.code) for kind in kinds.KINDS.values()]
    assert all(texts.name(kind, language) for kind in kinds.KINDS)


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_state_that_anybody_is_shown_stands_in_operate(language: str) -> None:
    groups = {key.partition(".")[0] for key in words_of(language).texts if re.match(r"\w+_state\.", key)}
    shown = {name.partition(".")[2] for name in words_of(language).texts if name.partition(".")[0] in groups}
    shown |= {*Colour, *BatchState, stream_state.STARTING, stream_state.SNAPSHOT, stream_state.STREAMING}
    shown |= {stream_state.WAITING, stream_state.HELD}
    told = set(re.findall(r"\w+", _guide(language, "operate")))
    assert sorted(shown - told) == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_roles_and_forms_of_the_state_are_those_that_there_are(language: str) -> None:
    told = re.findall(r"^\| (\w+)(?: \S+)? \| ", _guide(language, "security"), re.MULTILINE)
    assert {*Role} <= set(told)
    forms = re.findall(r"^\| \S+ \| (\d+) \| ", _guide(language, "upgrade"), re.MULTILINE)
    assert forms == [str(FORMAT), str(migrations()[-1].number)]


def _guide(language: str, name: str) -> str:
    return (FOLDER / language / f"{name}.md").read_text("utf-8")
