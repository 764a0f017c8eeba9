"""GB 18030 as its mandatory edition of 2022 has it, for every dialect that decodes such text itself.

Python's codec follows the 2000 edition, which keeps 18 characters in the private use area; the 2022 edition gave them
code points of their own. The tables are for `str.translate`.
"""

from __future__ import annotations

from typing import Final

EDITION_2022: Final = dict(
    zip(
        (*range(0xE78D, 0xE797), 0xE81E, 0xE826, 0xE82B, 0xE82C, 0xE832, 0xE843, 0xE854, 0xE864),
        (0xFE10, 0xFE12, 0xFE11, *range(0xFE13, 0xFE1A), *range(0x9FB4, 0x9FBC)),
        strict=True,
    )
)
"""what Python's codec decodes to -> what the character is"""

EDITION_2000: Final = {new: old for old, new in EDITION_2022.items()}
"""back, before Python's codec encodes"""
