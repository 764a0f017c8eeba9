"""Masks, applied at the edge before a value touches outbox, log or message.

Every mask is a pure function of one value (so that source and platform can be compared row by row), worked column-wise
by Arrow. It first normalises: full width to half width (NFKC), white space and invisible characters around it trimmed,
`x` to `X` in ids.

| kind | a value of that kind becomes | anything else |
|---|---|---|
| `citizen_id` | first 6, 8 stars, last 4; of a 15-digit id first 6, 6 stars, last 3 | first character and `***` |
| `citizen_id_open` | first 2, 16 stars; of a 15-digit id first 2, 13 stars | first character and `***` |
| `name` | surname and `*`, compound surnames whole; of a name with `·` the first character and `*` | one character: `*` |
| `mobile` | first 3, `****`, last 4 of the national number | first character and `***` |
| `landline` | area code, `*****`, last 2 | first character and `***` |
| `bank_card` | first 6, `*`, last 4 (of 12 to 19 digits) | first character and `***` |
| `email` | first character, `***@`, domain | first character and `***` |
| `address` | down to the township, then `***` | first character and `***` |

A value that does not look like its kind therefore never gets through whole: a single character becomes `***`. The empty
text stays empty and NULL stays NULL.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

Mask = Callable[[pa.StringArray], pa.StringArray]

COMPOUND_SURNAMES: Final = pa.array(
    # pairs of characters, simplified and then the traditional forms that differ
    re.findall(
        "..",
        "欧阳太史端木上官司马东方独孤南宫万俟闻人夏侯诸葛尉迟公羊赫连澹台皇甫宗政濮阳公冶太叔申屠公孙慕容仲孙钟离长孙宇文司徒鲜于"
        "司空闾丘子车亓官司寇巫马公西颛孙壤驷公良漆雕乐正宰父谷梁拓跋夹谷轩辕令狐段干百里呼延东郭南门羊舌微生梁丘左丘东门西门南荣"
        "第五完颜耶律纳兰叶赫"
        "歐陽東方司馬南宮萬俟聞人諸葛尉遲赫連澹臺濮陽鍾離長孫鮮于閭丘",
    )
)

_DOTS: Final = "[·•・‧∙⋅.]"  # what people type between the parts of a name
_AROUND: Final = "\x00\t\n\v\f\r \x85\u1680\u2028\u2029\u200b\u200c\u200d\u200e\u200f\u2060\ufeff"

_Rewrites = tuple[tuple[str, str], ...]  # pattern of the whole value -> what it becomes, first match wins

_HIDDEN: Final = ((r"(?s)^(.).+$", r"\1***"), (r"(?s)^.$", "***"))
_CITIZEN_ID: Final = (
    (r"^(\d{6})\d{8}(\d{3}[\dX])$", r"\1********\2"),
    (r"^(\d{6})\d{6}(\d{3})$", r"\1******\2"),
)
_CITIZEN_ID_OPEN: Final = (
    (r"^(\d{2})\d{15}[\dX]$", r"\1" + "*" * 16),
    (r"^(\d{2})\d{13}$", r"\1" + "*" * 13),
)
_MOBILE: Final = ((r"^(?:(?:\+|00)?86[- ]?)?(1\d{2})[- ]?\d{4}[- ]?(\d{4})$", r"\1****\2"),)
_LANDLINE: Final = (
    (r"^\(?(010|02\d|0[3-9]\d{2})\)?[- ]?\d{5,6}(\d{2})(?:[-转#* ]+\d{1,6})?$", r"\1-*****\2"),
    (r"^\d{5,6}(\d{2})$", r"*****\1"),
)
_BANK_CARD: Final = ((r"^(\d{6})\d{2,9}(\d{4})$", r"\1*\2"),)
_EMAIL: Final = ((r"^([^@\s])[^@\s]+@([^@\s]+)$", r"\1***@\2"), (r"^[^@\s]@([^@\s]+)$", r"***@\1"))
_ADDRESS: Final = ((r"(?s)^(.{2,}?(?:街道|[镇鎮乡鄉]|苏木|农场|林场)).*$", r"\1***"),)


def normalise(values: pa.StringArray) -> pa.StringArray:
    """Half width and trimmed."""
    return pc.utf8_trim(pc.utf8_normalize(values, form="NFKC"), characters=_AROUND)


def _rewritten(values: pa.StringArray, rewrites: _Rewrites) -> pa.StringArray:
    """Each value by the first pattern that matches it.

    A pattern that matches changes its value, but for values that are masked already: so nearly always one pass is all.
    """
    result: pa.StringArray | None = None
    remaining: pa.BooleanArray | None = None
    for pattern, becomes in rewrites:
        replaced = pc.replace_substring_regex(values, pattern, becomes)
        result = replaced if result is None else pc.if_else(remaining, replaced, result)
        if not pc.any(pc.equal(result, values)).as_py():
            return result
        unmatched = pc.invert(pc.match_substring_regex(values, pattern))
        remaining = unmatched if remaining is None else pc.and_(remaining, unmatched)
        if not pc.any(remaining).as_py():
            return result
    return result


def _mask_names(values: pa.StringArray) -> pa.StringArray:
    names = normalise(values)
    two = pc.utf8_slice_codeunits(names, 0, 2)
    length = pc.utf8_length(names)
    compound = pc.and_(pc.is_in(two, value_set=COMPOUND_SURNAMES), pc.greater(length, 2))
    if pc.any(compound).as_py():
        compound = pc.and_not(compound, pc.match_substring_regex(names, _DOTS))
    surnames = pc.if_else(compound, two, pc.utf8_slice_codeunits(names, 0, 1))
    # one character alone would be the whole value
    surnames = pc.if_else(pc.greater(length, 1), surnames, "")
    stars = pc.if_else(pc.greater(length, 0), "*", "")
    return pc.binary_join_element_wise(surnames, stars, "")


def _kind(rewrites: _Rewrites, *, upper: bool = False) -> Mask:
    every = rewrites + _HIDDEN

    def mask(values: pa.StringArray) -> pa.StringArray:
        clean = normalise(values)
        return _rewritten(pc.ascii_upper(clean) if upper else clean, every)

    return mask


MASKS: Final[dict[str, Mask]] = {
    "citizen_id": _kind(_CITIZEN_ID, upper=True),
    "citizen_id_open": _kind(_CITIZEN_ID_OPEN, upper=True),
    "name": _mask_names,
    "mobile": _kind(_MOBILE),
    "landline": _kind(_LANDLINE),
    "bank_card": _kind(_BANK_CARD),
    "email": _kind(_EMAIL),
    "address": _kind(_ADDRESS),
}
"""By the kind's name in configuration: `forebay_agent.config.model.MASK_KINDS`."""
