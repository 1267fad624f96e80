"""A border between two numbers that reveals little of them."""

from __future__ import annotations

from decimal import ROUND_FLOOR, Decimal


def simplest_between(low: float, high: float) -> float:
    """The multiple of the largest power of ten that is above ``low`` and at most ``high``. It reveals
    only that the two are on different sides of it."""
    below, above = Decimal(repr(float(low))), Decimal(repr(float(high)))
    exponent = max(0, *(n.adjusted() + 1 for n in (below, above) if n))
    while True:
        step = Decimal(1).scaleb(exponent)
        # More digits than any float has: the division stays exact.
        found = (above / step).to_integral_value(ROUND_FLOOR) * step
        if found > below:
            # Rounding may give the lower number, but nothing below it.
            return float(found) if float(found) > low else float(high)
        exponent -= 1
