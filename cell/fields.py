"""Fields that bodies of several rooms have: amounts, symbols, a word out of a few. Each is refused by name.

400 says that a field is missing or unparsable, 422 that it was understood and is not taken. Pure.
"""

import re
from typing import Final

from msgspec import UNSET, UnsetType

from cell import errors
from cell.money import QTY_MAX_MICROS, AmountRefused, NotADecimal, parse_micros, parse_price

_SYMBOL: Final = re.compile(r"[A-Z][A-Z0-9.]{0,11}")


def parse_amount(
    field: str, token: bytes, *, price: bool, limit_micros: int = QTY_MAX_MICROS, zero_allowed: bool = False
) -> int:
    """Micros of a field. Raises Problem: 400 what is no decimal, 422 another type, or a decimal that is not taken."""
    if token.startswith((b"{", b"[", b"t", b"f", b"n")):
        raise errors.invalid_field(422, field, "a decimal, as a string or a plain number")
    try:
        if price:
            return parse_price(token)
        return parse_micros(token, limit_micros=limit_micros, zero_allowed=zero_allowed)
    except NotADecimal as error:
        raise errors.invalid_field(400, field, str(error)) from error
    except AmountRefused as error:
        figures = {} if error.limit is None else {"limit": error.limit}
        raise errors.invalid_field(422, field, str(error), **figures) from error


def is_symbol(value: str) -> bool:
    """Could a symbol be called that?"""
    return _SYMBOL.fullmatch(value) is not None


def parse_symbol(value: str | UnsetType) -> str:
    """The symbol as it was sent, if one may be called so. Raises Problem."""
    if value is UNSET:
        raise errors.invalid_field(400, "symbol", "missing")
    if not is_symbol(value):
        raise errors.invalid_field(422, "symbol", "1 to 12 capital letters, digits or dots, a letter first")
    return value


def parse_choice(field: str, value: str | UnsetType, allowed: frozenset[str]) -> str:
    """The value, if it is one of those allowed. Raises Problem."""
    if value is UNSET:
        raise errors.invalid_field(400, field, "missing")
    if value not in allowed:
        raise errors.invalid_field(422, field, f"one of {', '.join(sorted(allowed))}", allowed=sorted(allowed))
    return value
