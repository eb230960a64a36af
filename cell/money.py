"""Exact amounts: integers inside, decimal strings on the wire, no floats anywhere.

Money is micro-dollars, quantities are micro-shares. A JSON string and a plain JSON number are read alike, from their
own text, so `0.1` is one tenth. What is no decimal at all is unparsable; what is a decimal we do not take (an exponent,
too many places, zero, a sign, too large) is refused with the rule it breaks.
"""

import re
from typing import Annotated, Final

import msgspec

MICROS: Final = 1_000_000
"""Of a dollar and of a share: the smallest amount that is kept."""

QTY_MAX_MICROS: Final = 1_000_000_000 * MICROS
"""A billion shares: with the price bound, every product stays far inside numeric, every balance inside 64 bits."""
PRICE_MAX_MICROS: Final = 1_000_000 * MICROS
"""A million dollars a share."""
AMOUNT_MAX_MICROS: Final = 10_000_000_000 * MICROS
"""Ten billion dollars in one deposit."""

Amount = Annotated[str, msgspec.Meta(pattern=r"^-?[0-9]+\.[0-9]{6}$")]
"""Dollars or shares as an answer shows them."""

_DECIMAL = re.compile(rb'("?)(-?)(\d+)(?:\.(\d+))?\1')
_EXPONENT = re.compile(rb'("?)-?\d+(?:\.\d+)?[eE][+-]?\d+\1')
_WHOLE_DIGITS_MAX: Final = 20  # more digits than any limit has, fewer than cost time to convert


class NotADecimal(Exception):
    """The text is no decimal number."""


class AmountRefused(Exception):
    """A decimal number that this field does not take; the message says why, `limit` what would do."""

    def __init__(self, detail: str, *, limit: str | None = None) -> None:
        super().__init__(detail)
        self.limit = limit


def parse_micros(token: bytes, *, limit_micros: int, places_max: int = 6, zero_allowed: bool = False) -> int:
    """Micros of a JSON token (`b'12.5'` or `b'"12.5"'`). Raises NotADecimal, AmountRefused."""
    match = _DECIMAL.fullmatch(token)
    if match is None:
        if _EXPONENT.fullmatch(token):
            raise AmountRefused("exponents are not taken; write the number out")
        raise NotADecimal("not a decimal number")
    _, sign, whole, fraction = match.groups(b"")
    significant = fraction.rstrip(b"0")
    if len(significant) > places_max:
        raise AmountRefused(f"at most {places_max} decimals are taken", limit=str(places_max))
    whole = whole.lstrip(b"0")[: _WHOLE_DIGITS_MAX + 1]  # cut off what exceeds every limit anyway
    micros = int(whole or 0) * MICROS + int(significant.ljust(6, b"0") or 0)
    if sign and micros:
        raise AmountRefused("must not be negative", limit="0")
    if not micros and not zero_allowed:
        raise AmountRefused("must be greater than zero", limit="0")
    if micros > limit_micros:
        raise AmountRefused(f"at most {format_micros(limit_micros)}", limit=format_micros(limit_micros))
    return micros


def parse_price(token: bytes) -> int:
    """A price in micro-dollars: two decimals from $1, four below. Raises AmountRefused, NotADecimal."""
    micros = parse_micros(token, limit_micros=PRICE_MAX_MICROS)
    places, step = (2, 10_000) if micros >= MICROS else (4, 100)
    if micros % step:
        raise AmountRefused(
            f"a price {'of $1 or more' if places == 2 else 'below $1'} has at most {places} decimals", limit=str(places)
        )
    return micros


def format_micros(micros: int) -> str:
    """`585680000` -> `585.680000`."""
    whole, rest = divmod(abs(micros), MICROS)
    return f"{'-' if micros < 0 else ''}{whole}.{rest:06d}"


def average_micros(total_micros: int, qty_micros: int) -> int | None:
    """Micro-dollars per share, half to even; None of nothing."""
    if not qty_micros:
        return None
    return _half_even(total_micros * MICROS, qty_micros)


def average_price_micros(cost_exact: int, qty_micros: int) -> int | None:
    """Micro-dollars per share of an exact cost in 1e-12 dollars, half to even; None of nothing.

    Not of the posted cost: its own rounding is most of it when the quantity is dust.
    """
    return _half_even(cost_exact, qty_micros) if qty_micros else None


def value_micros(qty_micros: int, price_micros: int) -> int:
    """Micro-dollars that a quantity is worth, half to even."""
    return rounded_micros(qty_micros * price_micros)


def rounded_micros(exact: int) -> int:
    """Micro-dollars of an exact amount in 1e-12 dollars, half to even."""
    return _half_even(exact, MICROS)


def _half_even(numerator: int, denominator: int) -> int:
    # Whole numbers only: a decimal's product is rounded to its context's digits, and then no longer exact.
    if denominator < 0:
        numerator, denominator = -numerator, -denominator
    quotient, rest = divmod(numerator, denominator)
    return quotient + (2 * rest > denominator or (2 * rest == denominator and quotient % 2))
