"""Floating-point numbers as MySQL and MariaDB print them: the shortest digits that stand for the number, with an exponent
only beyond 15 places to either side of the point, unless there are digits behind it (`my_gcvt` in strings/dtoa.c)."""

from __future__ import annotations

from typing import Final

_PLACES: Final = 15


def real_text(value: float) -> str:
    """A finite number's text."""
    sign, digits, exponent = _parts(value)
    point = len(digits) + exponent
    if digits == "0":
        return sign + "0"
    if point <= -_PLACES or point > max(_PLACES, len(digits) - 1):
        rest = digits[1:]
        return f"{sign}{digits[0]}{'.' + rest if rest else ''}e{point - 1}"
    if point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    if point >= len(digits):
        return sign + digits + "0" * (point - len(digits))
    return f"{sign}{digits[:point]}.{digits[point:]}"


def _parts(value: float) -> tuple[str, str, int]:
    """Sign, digits without zeros at either end, and the power of ten of the last one."""
    text = repr(value)
    sign = "-" if text.startswith("-") else ""
    mantissa, _, power = text.lstrip("-").partition("e")
    whole, _, fraction = mantissa.partition(".")
    exponent = int(power or 0) - len(fraction)
    digits = (whole + fraction).lstrip("0")
    stripped = digits.rstrip("0")
    if not stripped:
        return sign, "0", 0
    return sign, stripped, exponent + len(digits) - len(stripped)
