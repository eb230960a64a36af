"""Only what we signed, for this purpose, in time, is believed."""

import base64
import hashlib
import hmac
import json
import stat
import uuid
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from infra.security.customer_token import (
    AUDIENCE,
    CustomerTokenExpired,
    CustomerTokenInvalid,
    CustomerTokenSigner,
    CustomerTokenVerifier,
)
from infra.security.email_hash import EmailHasher
from infra.security.keys import (
    CUSTOMER_SIGNING_FILE,
    CUSTOMER_VERIFY_FILE,
    KeyFileInvalid,
    KeyRing,
    SigningRing,
    generate_key_files,
    load_key_ring,
    load_signing_ring,
    load_verify_ring,
    new_key_ring,
    new_signing_ring,
)
from infra.security.operator_token import OperatorTokenInvalid, sign_operator_token, verify_operator_token
from infra.security.request_name import request_name
from infra.security.roles import Role
from infra.security.route_token import RouteTokenExpired, RouteTokenInvalid, RouteTokenSigner, RouteTokenVerifier
from infra.security.signed_claims import ISSUER, sign_claims
from infra.security.why import WHY_MAX

NOW = 1_800_000_000
USER = uuid.UUID("00000000-0000-4000-8000-000000000001")
RING = new_key_ring()
SIGNING = new_signing_ring()
ROUTE_TOKEN = RouteTokenSigner(RING).sign(user_id=USER, cell_id="cell-1", epoch=9, expires_at_s=NOW + 60)
CUSTOMER_TOKEN = CustomerTokenSigner(SIGNING).sign(USER, NOW)
VERIFIER = CustomerTokenVerifier(SIGNING.public())


def b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def forged(header: dict[str, Any], claims: dict[str, Any], signature: bytes = b"") -> str:
    return ".".join((b64(json.dumps(header).encode()), b64(json.dumps(claims).encode()), b64(signature)))


def claims(**changes: Any) -> dict[str, Any]:
    return {"iss": ISSUER, "aud": AUDIENCE, "sub": str(USER), "iat": NOW, "exp": NOW + 900, **changes}


def test_a_customer_token_says_who_and_until_when() -> None:
    found = VERIFIER.verify(CUSTOMER_TOKEN, NOW + 899)
    assert (found.user_id, found.expires_at_s) == (USER, NOW + 900)
    with pytest.raises(CustomerTokenExpired):
        VERIFIER.verify(CUSTOMER_TOKEN, NOW + 900)


def test_the_algorithm_is_ours_and_not_the_tokens() -> None:
    kid = SIGNING.active
    public = SIGNING.keys[kid].public_key().public_bytes_raw()
    signing_input = forged({"alg": "HS256", "typ": "JWT", "kid": kid}, claims()).rsplit(".", 1)[0]
    confused = f"{signing_input}.{b64(hmac.digest(public, signing_input.encode(), hashlib.sha256))}"
    for token in (
        forged({"alg": "none", "kid": kid}, claims()),
        forged({"alg": "None", "kid": kid}, claims()),
        confused,
        forged({"alg": "EdDSA", "kid": kid}, claims(), b"\0" * 64),
        forged({"alg": "EdDSA", "kid": kid}, claims()),
        forged({"alg": "EdDSA", "kid": kid, "jwk": {"kty": "OKP", "crv": "Ed25519", "x": b64(public)}}, claims()),
        forged({"alg": "EdDSA", "kid": kid, "crit": ["b64"], "b64": False}, claims()),
        forged({"alg": "EdDSA", "kid": ["x"]}, claims()),
    ):
        with pytest.raises(CustomerTokenInvalid):
            VERIFIER.verify(token, NOW)


def test_unknown_keys_foreign_issuers_and_missing_claims_are_refused() -> None:
    own, foreign = SIGNING.keys[SIGNING.active], Ed25519PrivateKey.generate()
    without_exp = {name: value for name, value in claims().items() if name != "exp"}
    for body, key, kid in (
        (claims(), foreign, SIGNING.active),
        (claims(), foreign, "unknown"),
        (claims(iss="somebody"), own, SIGNING.active),
        (claims(aud="somewhere"), own, SIGNING.active),
        (claims(sub="root"), own, SIGNING.active),
        (claims(exp="never"), own, SIGNING.active),
        (claims(iat=NOW + 3600, exp=NOW + 4500), own, SIGNING.active),
        (without_exp, own, SIGNING.active),
    ):
        with pytest.raises(CustomerTokenInvalid):
            VERIFIER.verify(jwt.encode(body, key, algorithm="EdDSA", headers={"kid": kid}), NOW)
    with pytest.raises(CustomerTokenInvalid):
        VERIFIER.verify(jwt.encode(claims(), own, algorithm="EdDSA"), NOW)  # no key id


@pytest.mark.parametrize(
    "header",
    [
        pytest.param(b"[" * 1_500, id="nested lists"),
        pytest.param(b'{"a":' * 290, id="nested objects"),
        pytest.param(b'{"alg":"EdDSA","kid":1e999}', id="infinite"),
        pytest.param(b'{"alg":"EdDSA","kid":NaN}', id="no number"),
        pytest.param(b'{"alg":"EdDSA","kid":' + b"9" * 1_400 + b"}", id="many digits"),
        pytest.param(b'{"alg":"EdDSA","kid":"\\ud800"}', id="half a character"),
        pytest.param(b'{"alg":"none","alg":"EdDSA","kid":"%b"}' % SIGNING.active.encode(), id="two algorithms"),
        pytest.param(b'{"alg":"EdDSA","kid":"../../etc/passwd"}', id="a path"),
        pytest.param(b'{"alg":"EdDSA","kid":"\' or 1=1 --"}', id="a statement"),
        pytest.param('{"alg":"EdDSA"}'.encode("utf-16"), id="utf-16"),
        pytest.param(b'"EdDSA"', id="a string"),
        pytest.param(b"null", id="null"),
        pytest.param(b"", id="nothing"),
    ],
)
def test_a_header_may_say_anything_and_gains_nothing(header: bytes) -> None:
    """Also not a crash: what nests deeper than a parser can follow is refused like the rest."""
    signature = b64(b"\0" * 64)
    with pytest.raises(CustomerTokenInvalid):
        VERIFIER.verify(f"{b64(header)}.{b64(json.dumps(claims()).encode())}.{signature}", NOW)


def test_signed_claims_of_no_sense_are_refused() -> None:
    """Whoever holds our key makes no such token; a verifier that trusted it for that would be the next mistake."""
    key = SIGNING.keys[SIGNING.active]
    for body in (
        claims(exp=True),
        claims(exp=float("inf")),
        claims(exp=[NOW + 900]),
        claims(iat="soon"),
        claims(iat=float("nan")),
        claims(sub=None),
        claims(sub=[str(USER)]),
        claims(sub=f"{USER}\0"),
        claims(aud=[AUDIENCE + "x"]),
    ):
        with pytest.raises(CustomerTokenInvalid):
            VERIFIER.verify(jwt.encode(body, key, algorithm="EdDSA", headers={"kid": SIGNING.active}), NOW)


@given(st.text(max_size=300))
def test_noise_is_no_customer_token(noise: str) -> None:
    with pytest.raises(CustomerTokenInvalid):
        VERIFIER.verify(noise, NOW)


@given(st.integers(0, len(CUSTOMER_TOKEN.rsplit(".", 1)[0]) - 1), st.sampled_from("Ax_"))
def test_a_changed_customer_token_is_refused(position: int, letter: str) -> None:
    changed = CUSTOMER_TOKEN[:position] + letter + CUSTOMER_TOKEN[position + 1 :]
    if changed != CUSTOMER_TOKEN:
        with pytest.raises(CustomerTokenInvalid):
            VERIFIER.verify(changed, NOW)


def test_a_token_is_spelled_in_one_way() -> None:
    """A signature is bytes; whatever decodes to the same bytes would otherwise be the same token under another name."""
    last = "AQgw".index(CUSTOMER_TOKEN[-1])
    neighbour = chr(ord("AQgw"[last]) + 1)  # differs only in bits beyond the last byte
    signed, _, signature = CUSTOMER_TOKEN.rpartition(".")
    order = 2**252 + 27742317777372353535851937790883648493
    raw = base64.urlsafe_b64decode(signature + "==")
    beyond = (int.from_bytes(raw[32:], "little") + order).to_bytes(32, "little")
    for other in (
        CUSTOMER_TOKEN + "=", CUSTOMER_TOKEN + "==", CUSTOMER_TOKEN[:-1] + neighbour, CUSTOMER_TOKEN[:-5] + "!" +
        CUSTOMER_TOKEN[-5:], f"{signed}.\n{signature}", f"{signed}. {signature}", f" {CUSTOMER_TOKEN}",
        f"{signed}.{b64(raw[:32] + beyond)}",
    ):  # fmt: skip
        with pytest.raises(CustomerTokenInvalid):
            VERIFIER.verify(other, NOW)


def test_rotation_logs_nobody_out() -> None:
    newer = new_signing_ring()
    both = SigningRing(newer.active, {**SIGNING.keys, **newer.keys})
    verifier = CustomerTokenVerifier(both.public())
    assert verifier.verify(CUSTOMER_TOKEN, NOW).user_id == USER
    assert verifier.verify(CustomerTokenSigner(both).sign(USER, NOW), NOW).user_id == USER
    with pytest.raises(CustomerTokenInvalid):
        CustomerTokenVerifier(newer.public()).verify(CUSTOMER_TOKEN, NOW)


def test_a_route_token_is_for_one_cell_and_one_while() -> None:
    found = RouteTokenVerifier(RING, cell_id="cell-1").verify(ROUTE_TOKEN, NOW)
    assert (found.user_id, found.cell_id, found.epoch, found.expires_at_s) == (USER, "cell-1", 9, NOW + 60)
    with pytest.raises(RouteTokenInvalid):
        RouteTokenVerifier(RING, cell_id="cell-2").verify(ROUTE_TOKEN, NOW)
    with pytest.raises(RouteTokenExpired):
        RouteTokenVerifier(RING, cell_id="cell-1").verify(ROUTE_TOKEN, NOW + 60)
    with pytest.raises(RouteTokenInvalid):
        RouteTokenVerifier(new_key_ring(), cell_id="cell-1").verify(ROUTE_TOKEN, NOW)
    renamed = KeyRing(RING.active, {RING.active: b"k" * 32})
    with pytest.raises(RouteTokenInvalid):
        RouteTokenVerifier(renamed, cell_id="cell-1").verify(ROUTE_TOKEN, NOW)


@given(st.text(max_size=200) | st.text("abc.-_=", max_size=60))
def test_noise_is_no_route_token(noise: str) -> None:
    with pytest.raises(RouteTokenInvalid):
        RouteTokenVerifier(RING, cell_id="cell-1").verify(noise, NOW)


@given(st.integers(0, len(ROUTE_TOKEN) - 2), st.sampled_from("Ax_."))
def test_a_changed_route_token_is_refused(position: int, letter: str) -> None:
    changed = ROUTE_TOKEN[:position] + letter + ROUTE_TOKEN[position + 1 :]
    if changed != ROUTE_TOKEN:
        with pytest.raises(RouteTokenInvalid):
            RouteTokenVerifier(RING, cell_id="cell-1").verify(changed, NOW)


OPERATORS = new_signing_ring()


def operator(**changes: Any) -> str:
    """An operator's token with other claims than the signer would give it."""
    return sign_claims(
        OPERATORS,
        "cell-brokerage/operators",
        {"sub": "ann", "role": "operator", "iat": NOW, "exp": NOW + 60, "jti": "x", **changes},
    )


def test_tokens_of_one_kind_are_never_another_kind_under_the_same_key() -> None:
    signed = operator()
    with pytest.raises(RouteTokenInvalid):
        RouteTokenVerifier(RING, cell_id="cell-1").verify(signed, NOW)
    with pytest.raises(CustomerTokenInvalid):
        CustomerTokenVerifier(OPERATORS.public()).verify(signed, NOW)
    customer = CustomerTokenSigner(OPERATORS).sign(USER, NOW)
    for other in (ROUTE_TOKEN, customer):
        with pytest.raises(OperatorTokenInvalid):
            verify_operator_token(OPERATORS.public(), other, NOW)


def test_an_operator_token_says_who_what_and_why() -> None:
    token = sign_operator_token(OPERATORS, subject="ann", role=Role.AUDITOR, now_s=NOW, lives_s=60, why="asked by law")
    found = verify_operator_token(OPERATORS.public(), token, NOW)
    assert (found.subject, found.role, found.why, found.fence) == ("ann", Role.AUDITOR, "asked by law", None)
    again = sign_operator_token(OPERATORS, subject="ann", role=Role.AUDITOR, now_s=NOW, lives_s=60, fence=7)
    other = verify_operator_token(OPERATORS.public(), again, NOW)
    assert (other.why, other.fence) == (None, 7)
    assert other.token_id != found.token_id
    with pytest.raises(OperatorTokenInvalid, match="expired"):
        verify_operator_token(OPERATORS.public(), token, NOW + 60)
    with pytest.raises(OperatorTokenInvalid, match="not an operator token"):
        verify_operator_token(new_signing_ring().public(), token, NOW)


@pytest.mark.parametrize(
    "changes",
    [
        {"role": "root"}, {"role": ["admin"]}, {"role": None}, {"sub": ""}, {"jti": 5}, {"fence": 0}, {"fence": "7"},
        {"fence": True}, {"fence": 2**63}, {"why": ""}, {"why": " "}, {"why": "a\u202eb"}, {"why": "x" * 501},
        {"why": 5}, {"iat": None}, {"iat": NOW + 31}, {"exp": NOW + 3_601}, {"exp": "soon"}, {"nbf": NOW + 31},
        {"aud": "cell-brokerage/v1"}, {"iss": "elsewhere"}, {"request": ""}, {"request": 5}, {"request": "x" * 301},
    ],
)  # fmt: skip
def test_what_no_signer_of_ours_would_say_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(OperatorTokenInvalid):
        verify_operator_token(OPERATORS.public(), operator(**changes), NOW)


def test_the_longest_reason_fits() -> None:
    why = "\N{GRINNING FACE}" * WHY_MAX
    request = request_name("c" * 40, "DELETE", f"/{'p' * 250}?query")
    token = sign_operator_token(
        OPERATORS, subject="a" * 200, role=Role.ADMIN, now_s=NOW, lives_s=60, why=why, request=request
    )
    found = verify_operator_token(OPERATORS.public(), token, NOW)
    assert (found.why, found.request) == (why, f"{'c' * 40} DELETE /{'p' * 250}")


def test_a_verifier_of_operators_takes_no_other_algorithm() -> None:
    """None, HMAC with the public key, another key under the same name."""
    given = {"iss": "cell-brokerage", "aud": "cell-brokerage/operators", "sub": "ann", "role": "admin", "iat": NOW}
    full, public = {**given, "exp": NOW + 60, "jti": "x"}, OPERATORS.public().keys[OPERATORS.active]
    header = {"kid": OPERATORS.active}
    raw = public.public_bytes_raw()
    unsigned = jwt.encode(full, "", algorithm="none", headers=header)
    head, body, _ = jwt.encode(full, b"x" * 32, algorithm="HS256", headers=header).split(".")
    mac = base64.urlsafe_b64encode(hmac.digest(raw, f"{head}.{body}".encode(), hashlib.sha256)).rstrip(b"=").decode()
    other = jwt.encode(full, Ed25519PrivateKey.generate(), algorithm="EdDSA", headers=header)
    for forged in (unsigned, f"{head}.{body}.{mac}", other, operator() + "A", operator()[:-1]):
        with pytest.raises(OperatorTokenInvalid):
            verify_operator_token(OPERATORS.public(), forged, NOW)


def test_the_secret_of_older_releases_goes(tmp_path: Path) -> None:
    """With it every process could make operators' tokens."""
    (tmp_path / "operator.json").write_text('{"active": "a", "keys": {"a": "secret"}}')
    generate_key_files(tmp_path)
    assert not (tmp_path / "operator.json").exists()
    assert load_verify_ring(tmp_path / "operator-verify.json").keys.keys() == {
        load_signing_ring(tmp_path / "operator-signing.json").active
    }


def test_key_files_are_made_once_and_are_private(tmp_path: Path) -> None:
    generate_key_files(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    generate_key_files(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert len(before) == 8
    for path in tmp_path.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    signing = load_signing_ring(tmp_path / CUSTOMER_SIGNING_FILE)
    verifier = CustomerTokenVerifier(load_verify_ring(tmp_path / CUSTOMER_VERIFY_FILE))
    assert verifier.verify(CustomerTokenSigner(signing).sign(USER, NOW), NOW).user_id == USER


def test_damaged_key_files_stop_the_process(tmp_path: Path) -> None:
    path = tmp_path / "ring.json"
    for text in (
        "",
        "{}",
        "[]",
        '{"active": "a", "keys": {}}',
        '{"active": "a", "keys": {"a": "c2hvcnQ"}}',
        "nonsense",
    ):
        path.write_text(text)
        for load in (load_key_ring, load_signing_ring):
            with pytest.raises(KeyFileInvalid):
                load(path)
    path.write_text('{"keys": [{"kty": "RSA", "crv": "x", "kid": "a", "x": ""}]}')
    with pytest.raises(KeyFileInvalid):
        load_verify_ring(path)
    with pytest.raises(KeyFileInvalid):
        load_key_ring(tmp_path / "absent.json")


def test_rings_do_not_show_their_keys() -> None:
    assert RING.active_key.hex() not in repr(RING)
    assert str(RING.active_key) not in repr(RING)


def test_an_email_hash_ignores_case_blanks_and_composition_and_needs_the_pepper() -> None:
    hasher = EmailHasher(RING)
    assert hasher.hash(" Zo\u00eb@Example.com ") == hasher.hash("zoe\u0308@example.COM")
    assert hasher.hash("a@b.c") != hasher.hash("a@b.d")
    assert hasher.hash("a@b.c") != EmailHasher(new_key_ring()).hash("a@b.c")
