"""A person's role reaches as far as it says."""

import pytest

from infra.security.roles import Role
from shardctl.errors import NotAllowed
from shardctl.persons import Person, Way


def test_who_lacks_a_role_is_told_which() -> None:
    ann = Person("ann", Role.AUDITOR, Way.OIDC)
    ann.need(Role.VIEWER)
    ann.need(Role.AUDITOR)
    with pytest.raises(NotAllowed, match="needs the role operator, and ann has auditor"):
        ann.need(Role.OPERATOR)
    assert NotAllowed.exit_code == 3
