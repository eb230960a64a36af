"""A cell's word that a user has left it: what the target of a move activates by, and what outlives both cells.

Only the cell that let the user go can sign one (`from_cell` is the signer), and it names one move, one target and one
ownership epoch. It says what the user's books were at that moment, so the target compares it with its own copy before
it takes the user over. It never expires: a move may be finished whenever its target is back.
"""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from infra.security.keys import KeySource, SigningRing
from infra.security.signed_document import (
    DocumentForeign,
    DocumentOfAnotherForm,
    PublicKeys,
    sign_document,
    verify_document,
)
from infra.topology.identifiers import CellId, Epoch, UserId, parse_cell_id, parse_uuid

FORM: Final = "move-certificate-v1"
"""Another claim, or another meaning of one, is another form: a reader that does not know a claim must not activate."""
_NUMBER_MAX: Final = 2**63 - 1
"""What a database's bigint holds."""
_CHAIN_HEAD: Final = re.compile(r"[0-9a-f]{64}")
"""SHA-256 of the last entry, and of the empty chain 64 zeros."""
_TABLE: Final = re.compile(r"[a-z][a-z0-9_]{0,62}")
"""As PostgreSQL names one without quotes."""
_DIGEST: Final = re.compile(r"[0-9a-f]{1,128}")
"""At most 512 bits: sums of digests are a little wider than a digest."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """Raises ValueError for what no departure can be."""

    move_id: UUID
    user_id: UserId
    from_cell: CellId
    to_cell: CellId
    ownership_epoch: Epoch
    """The target's; every epoch at which the source owned the user is lower."""
    write_seq: int
    """The user's last write."""
    entry_seq: int
    """The last journal entry of the user, and its number in the stream of ledger events; 0: none."""
    order_event_seq: int
    """The last number in the user's stream of order events; 0: none."""
    chain_head: str
    """Hash of the last journal entry, as 64 hexadecimal digits."""
    digests: Mapping[str, str]
    """Table to the digest of the user's rows in it, in hexadecimal digits."""
    departed_at: datetime
    """By the clock of the source's database; UTC, in microseconds."""

    def __post_init__(self) -> None:
        for cell_id in (self.from_cell, self.to_cell):
            parse_cell_id(cell_id)
        if self.from_cell == self.to_cell:
            raise ValueError(f"nobody leaves {self.from_cell} for itself")
        _check_number("ownership_epoch", self.ownership_epoch, at_least=1)
        for name in ("write_seq", "entry_seq", "order_event_seq"):
            _check_number(name, getattr(self, name), at_least=0)
        if not _CHAIN_HEAD.fullmatch(self.chain_head):
            raise ValueError("chain_head is not 64 hexadecimal digits")
        if not all(_TABLE.fullmatch(table) and _DIGEST.fullmatch(digest) for table, digest in self.digests.items()):
            raise ValueError("digests are not names of tables with hexadecimal digits")
        if self.departed_at.utcoffset() != timedelta(0):
            raise ValueError("departed_at is not in UTC")


class CertificateSigner:
    """A cell's own: `cell_id` is who signs, and who everybody certified has left."""

    def __init__(self, ring: KeySource[SigningRing], cell_id: str) -> None:
        self._ring = ring
        self._cell_id = cell_id

    def sign(self, claims: Certificate) -> str:
        """The same text for the same claims under the same key. Raises ValueError for another cell's departure."""
        if claims.from_cell != self._cell_id:
            raise ValueError(f"{self._cell_id} cannot certify that somebody left {claims.from_cell}")
        return sign_document(self._ring, FORM, self._cell_id, _to_claims(claims))


class CertificateVerifier:
    """By the public keys of all cells, as they are when it is asked."""

    def __init__(self, keys: KeySource[PublicKeys]) -> None:
        self._keys = keys

    def verify(self, text: str) -> Certificate:
        """What the certificate says; whether it is about this move and this copy, the caller compares. Raises
        `DocumentOfAnotherForm`, `DocumentForeign` or `DocumentForged` (`signed_document.py`)."""
        signer, claims = verify_document(self._keys, FORM, text)
        try:
            certificate = _from_claims(claims)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DocumentOfAnotherForm(f"not the claims of a certificate: {error}") from error
        if certificate.from_cell != signer:
            raise DocumentForeign(f"{signer} certified that somebody left {certificate.from_cell}")
        return certificate


def _to_claims(certificate: Certificate) -> dict[str, Any]:
    return {
        **asdict(certificate),
        "move_id": str(certificate.move_id),
        "user_id": str(certificate.user_id),
        "digests": dict(certificate.digests),
        "departed_at": certificate.departed_at.isoformat(timespec="microseconds"),
    }


def _from_claims(claims: dict[str, Any]) -> Certificate:
    """Raises ValueError, KeyError, TypeError, AttributeError; also for claims that are spelled otherwise."""
    certificate = Certificate(
        move_id=parse_uuid(claims["move_id"]),
        user_id=UserId(parse_uuid(claims["user_id"])),
        from_cell=CellId(claims["from_cell"]),
        to_cell=CellId(claims["to_cell"]),
        ownership_epoch=Epoch(claims["ownership_epoch"]),
        write_seq=claims["write_seq"],
        entry_seq=claims["entry_seq"],
        order_event_seq=claims["order_event_seq"],
        chain_head=claims["chain_head"],
        digests=dict(claims["digests"]),
        departed_at=datetime.fromisoformat(claims["departed_at"]).astimezone(UTC),
    )
    if _to_claims(certificate) != claims:
        raise ValueError("claims that this form does not have, or another spelling of one")
    return certificate


def _check_number(name: str, value: int, *, at_least: int) -> None:
    if type(value) is not int or not at_least <= value <= _NUMBER_MAX:
        raise ValueError(f"{name} is not a whole number from {at_least} to {_NUMBER_MAX}")
