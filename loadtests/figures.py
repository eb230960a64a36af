"""Money and quantities as a customer handles them: integers in micros inside, decimal strings on the wire.

Never floats: the reconciliation of a replay compares to the last micro.
"""

import re

MICROS = 1_000_000

_DECIMAL = re.compile(r"(-?)([0-9]{1,18})(?:\.([0-9]{1,6}))?")


def to_wire(amount_micros: int) -> str:
    """12_500_000 -> "12.5"; whole numbers carry no point."""
    sign = "-" if amount_micros < 0 else ""
    whole, fraction = divmod(abs(amount_micros), MICROS)
    if fraction == 0:
        return f"{sign}{whole}"
    return f"{sign}{whole}.{fraction:06d}".rstrip("0")


def from_wire(text: object) -> int:
    """Exact micros of a decimal string; anything else is an error of the server and raises ValueError."""
    if not isinstance(text, str) or (match := _DECIMAL.fullmatch(text)) is None:
        raise ValueError(f"not a decimal string with at most 6 decimals: {text!r}")
    sign, whole, fraction = match.groups()
    micros = int(whole) * MICROS + int((fraction or "").ljust(6, "0"))
    return -micros if sign else micros


def dollars(amount_micros: int) -> str:
    """For people: 1234567890 -> "1,234.57"."""
    cents = (abs(amount_micros) + 5_000) // 10_000
    return f"{'-' if amount_micros < 0 else ''}{cents // 100:,}.{cents % 100:02d}"


def shares(qty_micros: int) -> str:
    """For people: thousands separated, no trailing zeros."""
    whole, _, fraction = to_wire(abs(qty_micros)).partition(".")
    return f"{'-' if qty_micros < 0 else ''}{int(whole):,}{'.' + fraction if fraction else ''}"
