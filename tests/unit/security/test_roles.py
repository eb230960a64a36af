"""Five roles in one order."""

from infra.security.roles import Role


def test_each_role_may_what_those_before_it_may() -> None:
    rising = [Role.VIEWER, Role.AUDITOR, Role.OPERATOR, Role.RELEASER, Role.ADMIN]
    assert list(Role) == rising
    for one, role in enumerate(rising):
        assert [role.may(least) for least in rising] == [other <= one for other in range(5)]
