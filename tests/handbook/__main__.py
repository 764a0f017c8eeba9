"""`make reference`: writes docs/reference anew from the programs."""

from __future__ import annotations

from tests.handbook.reference import PAGES

for file, text in PAGES.items():
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text(), "utf-8")
