"""One row of the audit chain, and its hash, computed from what was exported and not by asking the database. Pure.

Form 1, as `control.chain_audit_row` makes it: SHA-256 of the fields in their order, each as `<octets>:<UTF-8>,` or, if
null, `-,`. A length before each field: no two rows have the same bytes.
"""

import hashlib
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final

import msgspec

FORM: Final = "audit/1"
GENESIS_HASH: Final = "00" * 32
"""The previous hash of the first row."""


class RowMalformed(Exception):
    """A line that is no row of the chain."""


@dataclass(frozen=True, slots=True)
class AuditRow:
    """As it stands in the table and in an export, field by field. An attempt has no `ends`; a row with it says how that
    attempt ended, and nothing else."""

    number: int
    at: str
    """UTC with six digits of a second and `Z`: the very text that is hashed."""
    ends: int | None
    subject: str | None
    role: str | None
    way: str | None
    """How it was known who it is: `socket`, `oidc`, `command` (the machine's own user), `schedule`."""
    act: str | None
    target: str | None
    arguments: str | None
    """A JSON object, as text: its very bytes are hashed."""
    reason: str | None
    outcome: str | None
    detail: str | None
    previous_hash: str
    """Hexadecimal, as `hash`."""
    hash: str

    @property
    def moment(self) -> datetime:
        """Raises ValueError for a text that is no time."""
        return datetime.fromisoformat(self.at)

    def own_hash(self) -> str:
        """What `hash` must be."""
        fields = (
            FORM,
            str(self.number),
            self.previous_hash,
            self.at,
            None if self.ends is None else str(self.ends),
            self.subject,
            self.role,
            self.way,
            self.act,
            self.target,
            self.arguments,
            self.reason,
            self.outcome,
            self.detail,
        )
        return hashlib.sha256(b"".join(_framed(field) for field in fields)).hexdigest()


def encode_row(row: AuditRow) -> bytes:
    """One line of an export, without its end."""
    return msgspec.json.encode(asdict(row))


def decode_row(line: bytes) -> AuditRow:
    """Raises RowMalformed."""
    try:
        return _decoder.decode(line)
    except (msgspec.DecodeError, UnicodeError) as error:
        raise RowMalformed(str(error)) from error


def row_of(document: dict[str, Any]) -> AuditRow:
    """A row as the service answers it. Raises RowMalformed."""
    try:
        return msgspec.convert(document, AuditRow)
    except msgspec.ValidationError as error:
        raise RowMalformed(str(error)) from error


def _framed(field: str | None) -> bytes:
    if field is None:
        return b"-,"
    octets = field.encode()
    return b"%d:%b," % (len(octets), octets)


_decoder: Final = msgspec.json.Decoder(AuditRow)
