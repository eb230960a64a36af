"""Keys change under running processes: nobody is logged out, and what was cut off is taken up again."""

import json
import stat
import uuid
from pathlib import Path

import pytest

from infra.security.customer_token import CustomerTokenInvalid, CustomerTokenSigner, CustomerTokenVerifier
from infra.security.keys import (
    CUSTOMER_SIGNING_FILE,
    CUSTOMER_VERIFY_FILE,
    OPERATOR_SIGNING_FILE,
    OPERATOR_VERIFY_FILE,
    ROUTE_FILE,
    FollowedRing,
    generate_key_files,
    load_key_ring,
    load_signing_ring,
    load_verify_ring,
)
from infra.security.operator_token import OperatorTokenInvalid, sign_operator_token, verify_operator_token
from infra.security.roles import Role
from infra.security.rotation import KEPT_S, Rotated, activate_key, add_key, drop_old_keys, list_keys
from infra.security.route_token import RouteTokenSigner, RouteTokenVerifier

USER = uuid.uuid4()
NOW = 1_800_000_000


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    generate_key_files(tmp_path)
    return tmp_path


def test_customers_stay_logged_in_over_a_rotation(keys: Path) -> None:
    signer = CustomerTokenSigner(FollowedRing(keys / CUSTOMER_SIGNING_FILE, load_signing_ring, check_s=0))
    verifier = CustomerTokenVerifier(FollowedRing(keys / CUSTOMER_VERIFY_FILE, load_verify_ring, check_s=0))
    before = signer.sign(USER, NOW)
    kid = add_key(keys, Rotated.CUSTOMER)
    between = signer.sign(USER, NOW)
    assert verifier.verify(between, NOW).user_id == USER
    activate_key(keys, Rotated.CUSTOMER, kid, NOW)
    after = signer.sign(USER, NOW)
    for token in (before, between, after):
        assert verifier.verify(token, NOW + 1).user_id == USER
    kept_s = KEPT_S[Rotated.CUSTOMER]
    assert drop_old_keys(keys, Rotated.CUSTOMER, NOW + kept_s - 1, kept_s=kept_s) == ()
    assert len(drop_old_keys(keys, Rotated.CUSTOMER, NOW + kept_s, kept_s=kept_s)) == 1
    with pytest.raises(CustomerTokenInvalid):
        verifier.verify(before, NOW + 1)
    assert verifier.verify(after, NOW + 1).user_id == USER


def test_route_and_operator_tokens_outlive_their_key_being_active(keys: Path) -> None:
    routes = FollowedRing(keys / ROUTE_FILE, load_key_ring, check_s=0)
    operators = FollowedRing(keys / OPERATOR_VERIFY_FILE, load_verify_ring, check_s=0)
    signing = FollowedRing(keys / OPERATOR_SIGNING_FILE, load_signing_ring, check_s=0)
    signer, verifier = RouteTokenSigner(routes), RouteTokenVerifier(routes, cell_id="cell-1")
    old_route = signer.sign(user_id=USER, cell_id="cell-1", epoch=1, expires_at_s=NOW + 300)
    old_operator = sign_operator_token(signing, subject="s", role=Role.VIEWER, now_s=NOW, lives_s=300)
    for ring in (Rotated.ROUTE, Rotated.OPERATOR):
        activate_key(keys, ring, add_key(keys, ring), NOW)
    new_route = signer.sign(user_id=USER, cell_id="cell-1", epoch=1, expires_at_s=NOW + 300)
    assert old_route.partition(".")[0] != new_route.partition(".")[0]
    assert verifier.verify(old_route, NOW).user_id == verifier.verify(new_route, NOW).user_id == USER
    assert verify_operator_token(operators, old_operator, NOW).subject == "s"
    drop_old_keys(keys, Rotated.OPERATOR, NOW, kept_s=0)
    with pytest.raises(OperatorTokenInvalid):
        verify_operator_token(operators, old_operator, NOW)


def test_a_rotation_that_was_cut_off_is_taken_up_again(keys: Path) -> None:
    kid = add_key(keys, Rotated.ROUTE)
    assert add_key(keys, Rotated.ROUTE) == kid
    assert [row.state for row in list_keys(keys, Rotated.ROUTE)] == ["active", "added"]
    activate_key(keys, Rotated.ROUTE, kid, NOW)
    activate_key(keys, Rotated.ROUTE, kid, NOW + 5)
    rows = {row.state: row for row in list_keys(keys, Rotated.ROUTE)}
    assert (rows["active"].kid, rows["retired"].retired_at_s) == (kid, NOW)
    # The crash came after the private key was written and before the public one was.
    new = add_key(keys, Rotated.CUSTOMER)
    public = json.loads((keys / CUSTOMER_VERIFY_FILE).read_text())
    public["keys"] = [jwk for jwk in public["keys"] if jwk["kid"] != new]
    (keys / CUSTOMER_VERIFY_FILE).write_text(json.dumps(public))
    assert add_key(keys, Rotated.CUSTOMER) == new
    assert new in load_verify_ring(keys / CUSTOMER_VERIFY_FILE).keys


def test_key_files_stay_private_and_a_damaged_one_changes_nothing(keys: Path) -> None:
    followed = FollowedRing(keys / ROUTE_FILE, load_key_ring, check_s=0)
    held = followed.current()
    activate_key(keys, Rotated.ROUTE, add_key(keys, Rotated.ROUTE), NOW)
    assert followed.current() != held
    held = followed.current()
    for path in keys.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    (keys / ROUTE_FILE).write_text('{"active": "x"')
    assert followed.current() == held
    (keys / ROUTE_FILE).unlink()
    assert followed.current() == held


def test_a_folder_of_an_older_release_is_rotated_after_its_up(tmp_path: Path) -> None:
    """It has a symmetric ring for operators, and none of the new files."""
    generate_key_files(tmp_path)
    for name in (OPERATOR_SIGNING_FILE, OPERATOR_VERIFY_FILE):
        (tmp_path / name).unlink()
    (tmp_path / "operator.json").write_text(json.dumps({"active": "a", "keys": {"a": "eA"}, "retired": {"b": 5}}))
    generate_key_files(tmp_path)
    [before] = list_keys(tmp_path, Rotated.OPERATOR)
    kid = add_key(tmp_path, Rotated.OPERATOR)
    assert load_verify_ring(tmp_path / OPERATOR_VERIFY_FILE).keys.keys() == {before.kid, kid}
    activate_key(tmp_path, Rotated.OPERATOR, kid, NOW)
    assert drop_old_keys(tmp_path, Rotated.OPERATOR, NOW, kept_s=KEPT_S[Rotated.OPERATOR]) == ()
    later = NOW + KEPT_S[Rotated.OPERATOR]
    assert drop_old_keys(tmp_path, Rotated.OPERATOR, later, kept_s=KEPT_S[Rotated.OPERATOR]) == (before.kid,)
    assert load_verify_ring(tmp_path / OPERATOR_VERIFY_FILE).keys.keys() == {kid}
    assert {path.name for path in tmp_path.glob("operator*")} == {OPERATOR_SIGNING_FILE, OPERATOR_VERIFY_FILE}
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in tmp_path.iterdir())
