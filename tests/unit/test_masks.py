"""Masks: what a value of a kind becomes, and that no other value gets through whole."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forebay_agent.config.model import MASK_KINDS
from forebay_agent.transform.masks import COMPOUND_SURNAMES, MASKS


def masked(kind: str, *values: str | None) -> list[str | None]:
    result: list[str | None] = MASKS[kind](pa.array(values, pa.string())).to_pylist()
    return result


def test_every_kind_that_can_be_configured_has_a_mask() -> None:
    assert set(MASKS) == set(MASK_KINDS)


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("citizen_id", "11010519491231002X", "110105********002X"),
        ("citizen_id", "440524188001010014", "440524********0014"),
        ("citizen_id", "11010519491231002x", "110105********002X"),
        ("citizen_id", " １１０１０５１９４９１２３１００２ｘ　", "110105********002X"),
        ("citizen_id", "452502500101123", "452502******123"),
        ("citizen_id_open", "11010519491231002X", "11" + "*" * 16),
        ("citizen_id_open", "452502500101123", "45" + "*" * 13),
        ("name", "张三", "张*"),
        ("name", "李四光", "李*"),
        ("name", " 王\u3000五 ", "王*"),
        ("name", "欧阳修", "欧阳*"),
        ("name", "司马相如", "司马*"),
        ("name", "歐陽鋒", "歐陽*"),
        ("name", "欧阳", "欧*"),
        ("name", "阿卜杜拉·买买提", "阿*"),
        ("name", "欧阳·阿里", "欧*"),
        ("name", "𠮷田", "𠮷*"),
        ("name", "㐀二", "㐀*"),
        ("name", "John Smith", "J*"),
        ("name", "张", "*"),
        ("mobile", "13812345678", "138****5678"),
        ("mobile", "１３８１２３４５６７８", "138****5678"),
        ("mobile", "+86 138-1234-5678", "138****5678"),
        ("mobile", "008613812345678", "138****5678"),
        ("landline", "0775-4567890", "0775-*****90"),
        ("landline", "(010)12345678", "010-*****78"),
        ("landline", "02112345678", "021-*****78"),
        ("landline", "4567890", "*****90"),
        ("bank_card", "6222021234567890123", "622202*0123"),
        ("bank_card", "6222021234567890", "622202*7890"),
        ("email", "zhang.san@gggov.example", "z***@gggov.example"),
        ("email", "z@gggov.example", "***@gggov.example"),
        ("address", "广西贵港市港北区贵城街道建设路1号", "广西贵港市港北区贵城街道***"),
        ("address", "桂平市金田镇新圩村3组", "桂平市金田镇***"),
        ("address", "镇江市京口区大市口街道8号", "镇江市京口区大市口街道***"),
    ],
)
def test_a_value_of_its_kind_keeps_just_what_is_meant(kind: str, value: str, expected: str) -> None:
    assert masked(kind, value) == [expected]


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("citizen_id", "1101051949123100", "1***"),
        ("citizen_id", "G12345678", "G***"),
        ("citizen_id", "11010519491231002X 张三", "1***"),
        ("citizen_id", "11010519491231002X\n", "110105********002X"),
        ("citizen_id", "备注\n11010519491231002X", "备***"),
        ("citizen_id_open", "身份证", "身***"),
        ("mobile", "1381234567", "1***"),
        ("mobile", "13812345678/13912345678", "1***"),
        ("mobile", "7", "***"),
        ("landline", "12", "1***"),
        ("bank_card", "62220212345", "6***"),
        ("email", "not an address", "n***"),
        ("address", "桂平市人民路1号", "桂***"),
        ("address", "家", "***"),
    ],
)
def test_a_value_that_is_not_of_its_kind_shows_at_most_its_first_character(
    kind: str, value: str, expected: str
) -> None:
    assert masked(kind, value) == [expected]


@pytest.mark.parametrize("kind", MASK_KINDS)
def test_null_stays_null_and_empty_stays_empty(kind: str) -> None:
    assert masked(kind, None, "", " \u3000\ufeff", None) == [None, "", "", None]
    assert masked(kind) == []


@pytest.mark.parametrize("kind", MASK_KINDS)
def test_a_column_of_many_kinds_of_values_is_masked_value_by_value(kind: str) -> None:
    values = [None, "", "欧阳修", "11010519491231002X", "452502500101123", "13812345678", "a@b.cn", "备注\n", "张"]
    assert masked(kind, *values) == [masked(kind, value)[0] for value in values]


@settings(max_examples=300, deadline=None)
@given(kind=st.sampled_from(MASK_KINDS), value=st.text(min_size=1, max_size=24), neighbour=st.text(max_size=8))
def test_nothing_gets_through_whole_whatever_it_is_and_whatever_stands_beside_it(
    kind: str, value: str, neighbour: str
) -> None:
    result = masked(kind, value, neighbour)[0]
    assert result is not None
    assert result == "" or "*" in result
    assert result == masked(kind, value)[0]
    if "*" not in value:
        assert result != value


@settings(max_examples=200, deadline=None)
@given(digits=st.from_regex(r"[1-9][0-9]{16}[0-9X]", fullmatch=True))
def test_eight_digits_of_a_citizen_id_are_always_gone(digits: str) -> None:
    assert masked("citizen_id", digits) == [f"{digits[:6]}********{digits[14:]}"]


def test_compound_surnames_are_pairs_and_none_stands_twice() -> None:
    surnames = COMPOUND_SURNAMES.to_pylist()
    assert all(len(surname) == 2 for surname in surnames)
    assert len(set(surnames)) == len(surnames)


@pytest.mark.parametrize("length", [2, 3, 4])
def test_a_slice_of_a_column_is_masked_as_the_column_is(length: int) -> None:
    column = pa.array(["x", "欧阳修", "张三", None, "李四光", "y"])
    assert MASKS["name"](column.slice(1, length)).to_pylist() == MASKS["name"](column).to_pylist()[1 : 1 + length]
