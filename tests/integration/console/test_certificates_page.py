"""The page of certificates over HTTP: issuing, a page to print in both languages, the signed file, to whom they are shown."""

from __future__ import annotations

import pytest

from forebay_collector.completeness import document
from forebay_collector.completeness.days import Day
from forebay_collector.console.language import LANGUAGES
from forebay_collector.ledger import now_us
from tests.consoling.console import Served
from tests.consoling.people import Person
from tests.integration.console.conftest import OTHER
from tests.loading.stage import Stage
from tests.receiving.batches import DEPARTMENT, chained

TODAY = Day.at(now_us(), "+08:00").name


@pytest.mark.parametrize("language", LANGUAGES)
def test_one_is_issued_read_and_its_file_is_what_was_signed(stage: Stage, served: Served, language: str) -> None:
    with Person(served.address, language) as ops:
        ops.enter(stage.ledger, "ops")
        ops.get("/certificates")
        answer = ops.post("/certificates", {"department": DEPARTMENT, "day": TODAY})
        assert answer.status_code == 303, answer.text
        page = ops.get(answer.headers["location"]).text
        assert chained(3)[-1].chain.hex()[:8] in page
        assert {"zh-CN": "不能认定完整", "en": "cannot be called complete"}[language] in page
        assert {"zh-CN": "近期未比对", "en": "not compared of late"}[language] in page
        assert TODAY in ops.get("/certificates").text
        file = ops.get(f"{answer.headers['location']}/file")
        authority = (stage.settings.data.identity / "authority.pem").read_bytes()
        assert document.verify(file.content, authority).statement["department"] == DEPARTMENT


def test_another_departments_are_not_there_and_a_viewer_issues_none(stage: Stage, served: Served) -> None:
    with Person(served.address) as ops:
        ops.enter(stage.ledger, "ops")
        ops.get("/certificates")
        made = ops.post("/certificates", {"department": DEPARTMENT, "day": TODAY}).headers["location"]
    with Person(served.address) as mz:
        mz.enter(stage.ledger, "mz")
        assert DEPARTMENT not in mz.get("/certificates").text
        assert mz.get(made).status_code == 404
        assert mz.get(f"{made}/file").status_code == 404
        mz.get("/certificates")
        assert (
            mz.post("/certificates", {"department": OTHER.department, "day": TODAY}).headers["location"]
            != "/certificates"
        )
    with Person(served.address) as seer:
        seer.enter(stage.ledger, "seer")
        assert 'action="/certificates"' not in seer.get("/certificates").text
        seer.post("/certificates", {"department": DEPARTMENT, "day": TODAY})
        assert len(stage.ledger.completeness.listing(department=DEPARTMENT)) == 1
