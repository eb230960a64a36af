"""Documents that outlive whoever signed them: a cell's certificates, the control service's receipts.

A document is a JWS (RFC 7515, compact, EdDSA), so it is verified with any JOSE library and public keys alone. Its form
stands in the header's `typ` and is signed, so a document of one form is never valid as another; its signer is the claim
`iss`. It has one spelling: JSON with sorted names and no blanks, base 64 without padding. No document ever expires.

Whoever refuses one says which of three things it is, because each has another cause: another form (a release that does
not know it, or damage), a foreign signer (a key that our directory does not hold), or a forged text.
"""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from infra.security.keys import KeySource, SigningRing
from infra.topology.cells import Cell

DOCUMENT_BYTES_MAX: Final = 65_536
"""A user has some forty tables, and a digest and its name are a hundred bytes; longer texts are not looked at."""
_SIGNER: Final = "iss"
_ALGORITHM: Final = "EdDSA"


class DocumentRefused(Exception):
    """Nobody may go by this document. The subclass says why."""


class DocumentOfAnotherForm(DocumentRefused):
    """Not a text of this form, spelled as we spell it, with the claims of this form."""


class DocumentForeign(DocumentRefused):
    """Signed by whom we do not know, or under a key of theirs that we do not know."""


class DocumentForged(DocumentRefused):
    """The signature is not that of these claims under the key that it names."""


@dataclass(frozen=True, slots=True)
class PublicKeys:
    """By signer and key id. Keys are added and never taken away: what one of them has signed is valid for ever."""

    keys: Mapping[tuple[str, str], Ed25519PublicKey]

    def current(self) -> Self:
        return self


def public_keys_of(cells: Iterable[Cell]) -> PublicKeys:
    """All keys with which these cells sign or ever signed. Raises ValueError for one that is none."""
    return PublicKeys(
        {
            (cell.cell_id, key_id): Ed25519PublicKey.from_public_bytes(_unb64(public_key))
            for cell in cells
            for key_id, public_key in cell.signing_keys
        }
    )


def sign_document(source: KeySource[SigningRing], form: str, signer: str, claims: Mapping[str, Any]) -> str:
    """Claims are what JSON can say without fractions: texts, whole numbers, lists and objects of them."""
    ring = source.current()
    header = {"alg": _ALGORITHM, "kid": ring.active, "typ": form}
    signed = f"{_b64(_canonical(header))}.{_b64(_canonical({_SIGNER: signer, **claims}))}"
    return f"{signed}.{_b64(ring.keys[ring.active].sign(signed.encode()))}"


def verify_document(source: KeySource[PublicKeys], form: str, text: str) -> tuple[str, dict[str, Any]]:
    """Signer and claims. Raises a `DocumentRefused`."""
    key_id, claims, signed, signature = _read(form, text)
    signer = claims.pop(_SIGNER, None)
    if type(signer) is not str:
        raise DocumentOfAnotherForm("the document does not say who signed it")
    key = source.current().keys.get((signer, key_id))
    if key is None:
        raise DocumentForeign(f"there is no key {key_id[:40]!r} of {signer[:40]!r} in the directory of keys")
    try:
        key.verify(signature, signed.encode())
    except InvalidSignature as error:
        raise DocumentForged(f"the signature is not that of {signer} under its key {key_id}") from error
    return signer, claims


def _read(form: str, text: str) -> tuple[str, dict[str, Any], str, bytes]:
    """Key id, claims, what is signed, and the signature; nothing of it is to be believed yet."""
    if len(text) > DOCUMENT_BYTES_MAX:
        raise DocumentOfAnotherForm(f"the document is longer than {DOCUMENT_BYTES_MAX} bytes")
    signed, _, signature_text = text.rpartition(".")
    header_text, _, claims_text = signed.partition(".")
    try:
        signature = _unb64(signature_text)
        header, claims = json.loads(_unb64(header_text)), json.loads(_unb64(claims_text))
        if type(header) is not dict or type(claims) is not dict:
            raise DocumentOfAnotherForm("the document holds no claims")
        spelled = ".".join((_b64(_canonical(header)), _b64(_canonical(claims)), _b64(signature)))
    except (ValueError, TypeError, RecursionError) as error:
        raise DocumentOfAnotherForm("the document cannot be read") from error
    key_id = header.get("kid")
    if header != {"alg": _ALGORITHM, "kid": key_id, "typ": form} or type(key_id) is not str:
        raise DocumentOfAnotherForm(f"not a document of the form {form}")
    if spelled != text:
        raise DocumentOfAnotherForm("the document is spelled in another way than ours are")
    return key_id, claims, signed, signature


def _canonical(document: Mapping[str, Any]) -> bytes:
    """Raises ValueError for NaN, TypeError for what JSON cannot say."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")


def _b64(raw: bytes) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


def _unb64(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))
