"""Synthetic people, companies and addresses: realistic in form, nobody's in fact. Same seed, same rows."""

from __future__ import annotations

import random
from datetime import date, timedelta
from typing import Final

SURNAMES: Final = [*"覃韦黄梁李陈莫蒙杨陆甘潘卢罗周谭农石", "欧阳", "上官", "司徒"]
GIVEN: Final = "伟芳秀英敏静丽强磊军洋勇艳杰娟涛明超霞平刚桂𠮷㐀媛睿泽宇欣怡"
TOWNS: Final = ("港北区贵城街道", "港南区桥圩镇", "覃塘区石卡镇", "平南县大安镇", "桂平市木圭镇", "桂平市西山镇")
TRADES: Final = ("粮油贸易", "建筑劳务", "农机服务", "羽绒制品", "物流运输", "电子商务", "茶业", "糖业")
# registered before the city was formed in 1996, and after
DIVISIONS: Final = ("452501", "452523", "450802", "450803", "450804", "450821", "450881")
USCC_ALPHABET: Final = "0123456789ABCDEFGHJKLMNPQRTUWXY"


class People:
    """Draws synthetic values from one seeded generator."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)  # noqa: S311 - demo rows, nothing secret

    def name(self) -> str:
        given = "".join(self.random.choices(GIVEN, k=self.random.choice((1, 2, 2))))
        return f"{self.random.choice(SURNAMES)}{given}"

    def mobile(self) -> str:
        return f"1{self.random.choice('3578')}{self.random.randrange(10**9):09d}"

    def citizen_id(self) -> str:
        """A number that passes GB 11643, born 1940 to 2015."""
        born = date(1940, 1, 1) + timedelta(days=self.random.randrange(27_000))
        body = f"{self.random.choice(DIVISIONS)}{born:%Y%m%d}{self.random.randrange(1000):03d}"
        weights = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
        total = sum(int(digit) * weight for digit, weight in zip(body, weights, strict=True))
        return body + "10X98765432"[total % 11]

    def uscc(self) -> str:
        """A unified social credit code that passes GB 32100; one in ten a village collective (N)."""
        kind = "N2" if self.random.random() < 0.1 else "91"
        body = kind + "450800" + "".join(self.random.choices(USCC_ALPHABET, k=9))
        total = sum(USCC_ALPHABET.index(character) * pow(3, place, 31) for place, character in enumerate(body))
        return body + USCC_ALPHABET[(31 - total % 31) % 31]

    def company(self) -> str:
        return f"贵港市{self.random.choice(GIVEN)}{self.random.choice(GIVEN)}{self.random.choice(TRADES)}有限公司"

    def address(self) -> str:
        return f"贵港市{self.random.choice(TOWNS)}{self.random.randrange(1, 300)}号"

    def amount(self, most: int) -> str:
        """A decimal with two places, as text."""
        return f"{self.random.randrange(most)}.{self.random.randrange(100):02d}"

    def day(self, first: date, days: int) -> date:
        return first + timedelta(days=self.random.randrange(days))
