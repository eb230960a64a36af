"""What a claim says, which role it gives, and what the settings of the port for persons elsewhere refuse."""

from typing import Any

import pytest
from pydantic import ValidationError

from infra.security.roles import Role
from shardctl.oidc_settings import OidcSettings
from shardctl.service.oidc import highest, values_of


@pytest.mark.parametrize(
    ("claims", "path", "values"),
    [
        ({"roles": ["a", "b"]}, "roles", ["a", "b"]),
        ({"roles": "a"}, "roles", ["a"]),
        ({"realm": {"roles": ["a", 5, None, {"x": 1}]}}, "realm.roles", ["a"]),
        ({"realm": ["roles"]}, "realm.roles", []),
        ({"realm": None}, "realm.roles", []),
        ({}, "roles", []),
    ],
)
def test_a_claim_is_a_text_or_a_list_of_them_however_deep(claims: Any, path: str, values: list[str]) -> None:
    assert values_of(claims, path) == values


def test_the_highest_of_several_roles_counts_and_none_gives_none() -> None:
    assert highest([Role.VIEWER, None, Role.OPERATOR, Role.AUDITOR]) is Role.OPERATOR
    assert highest([None]) is None
    assert highest([]) is None


def settings(**changes: Any) -> OidcSettings:
    given = {"issuer": "https://a.example", "audience": "a", "roles": {"ops": "operator"}, "listen": {"port": 0}}
    return OidcSettings.model_validate({**given, **changes})


def test_tokens_are_never_readable_on_their_way() -> None:
    assert settings().roles == {"ops": Role.OPERATOR}
    everywhere = {"port": 0, "host": "0.0.0.0"}
    assert settings(listen=everywhere, tls_cert="/c.pem", tls_key="/k.pem").listen.host == "0.0.0.0"
    for changes, said in (
        ({"issuer": "http://a.example"}, "over HTTPS"),
        ({"listen": everywhere}, "would be readable"),
        ({"tls_cert": "/c.pem"}, "belong together"),
        ({"roles": {"ops": "root"}}, "roles"),
        ({"audience": ""}, "audience"),
        ({"leeway_s": 3_600}, "leeway_s"),
    ):
        with pytest.raises(ValidationError, match=said):
            settings(**changes)
