"""Who is let in from elsewhere, and what two persons decide: said once to `up`, kept by the stack's record."""

from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from infra.backends.cell_spec import CellSpec, SpecInvalid, StackSpec
from infra.backends.local.commands import clean_environment
from infra.security.roles import Role
from shardctl.errors import UsageError
from shardctl.oidc_settings import read_oidc
from shardctl.service.settings import ControlSettings
from shardctl.stack.persons import left_in_the_shell, parse_approvals, parse_oidc
from shardctl.stack.plan import StackOptions, plan_spec
from tests.unit.shardctl.stack.test_origins import planned

SPEC = StackSpec((CellSpec("cell-1"),))
FILE = """
issuer = "https://id.example/realms/ops"
audience = "brokerage"
role_claim = "realm_access.roles"
tls_cert = "port.pem"
tls_key = "/etc/keys/port.key"
[roles]
brokerage-ops = "operator"
brokerage-admins = "admin"
[listen]
host = "0.0.0.0"
port = 8443
"""
OF_ANOTHER_SHELL = {
    "CONTROL_OIDC": '{"issuer": "https://evil.example"}',
    "CONTROL_OIDC__ISSUER": "https://evil.example",
    "CONTROL_OIDC__ROLES": '{"everybody": "admin"}',
    "CONTROL_APPROVALS": "[]",
    "CONTROL_LOG_LEVEL": "DEBUG",
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "persons.toml"
    path.write_text(FILE)
    return path


def settings_of(spec: StackSpec, monkeypatch: pytest.MonkeyPatch) -> ControlSettings:
    """As the process reads them, started from a shell that says otherwise."""
    with monkeypatch.context() as shell:
        for name, value in OF_ANOTHER_SHELL.items():
            shell.setenv(name, value)
        inherited = clean_environment()
        for name in OF_ANOTHER_SHELL:
            shell.delenv(name)
        for name, value in {**inherited, **planned(spec)["control"].environment}.items():
            shell.setenv(name, value)
        return ControlSettings()  # type: ignore[call-arg]


def test_what_a_file_says_is_what_the_service_reads_whatever_the_shell_says(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = plan_spec(SPEC, StackOptions(oidc=parse_oidc(str(file)), approvals=parse_approvals("keys.rotate")), {})
    kept = msgspec.json.decode(msgspec.json.encode(spec), type=StackSpec)
    settings = settings_of(kept, monkeypatch)
    assert settings.approvals == {"keys.rotate"}
    assert settings.log_level == "DEBUG", "other settings pass"
    oidc = settings.oidc
    assert oidc is not None
    assert (oidc.issuer, oidc.audience, oidc.role_claim) == (
        "https://id.example/realms/ops", "brokerage", "realm_access.roles",
    )  # fmt: skip
    assert oidc.roles == {"brokerage-ops": Role.OPERATOR, "brokerage-admins": Role.ADMIN}
    assert (oidc.listen.host, oidc.listen.port, oidc.leeway_s) == ("0.0.0.0", 8443, 30.0)
    assert (oidc.tls_cert, oidc.tls_key) == (file.parent / "port.pem", Path("/etc/keys/port.key"))


def test_without_a_word_nobody_is_let_in_and_the_next_up_keeps_what_was_said(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert settings_of(SPEC, monkeypatch).oidc is None
    assert settings_of(SPEC, monkeypatch).approvals == frozenset()
    said = plan_spec(SPEC, StackOptions(oidc=read_oidc(file), approvals=("cells.add",)), {})
    assert plan_spec(said, StackOptions(), {}) == said
    off = plan_spec(said, StackOptions(oidc=parse_oidc("none"), approvals=parse_approvals("none")), {})
    assert off == SPEC


@pytest.mark.parametrize(
    ("before", "after", "why"),
    [
        ("audience", "audienc", "audienc is no setting"),
        ('port = 8443', 'ports = 8443', "ports is no setting"),
        ("https://id", "http://id", "over HTTPS"),
        ('"operator"', '"god"', "roles"),
        ("tls_key", "#tls_key", "belong together"),
        ("issuer", "[issuer", "cannot be read"),
        ('[roles]', 'client_secret = "x"\n[roles]', "client_secret is no setting"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_meant_is_refused_with_the_reason(file: Path, before: str, after: str, why: str) -> None:
    file.write_text(FILE.replace(before, after, 1))
    with pytest.raises(UsageError, match=why):
        parse_oidc(str(file))


def test_what_cannot_be_kept_is_refused() -> None:
    assert (parse_oidc(None), parse_approvals(None)) == (None, None)
    assert parse_approvals("cells.add, keys.rotate") == ("cells.add", "keys.rotate")
    with pytest.raises(UsageError, match=r"no kind 'keys.rotte'"):
        parse_approvals("keys.rotte")
    with pytest.raises(UsageError, match="cannot be read"):
        parse_oidc("/nowhere/persons.toml")
    with pytest.raises(SpecInvalid, match="CLIENT_SECRET"):
        replace(SPEC, oidc={"CLIENT_SECRET": "x"})


def test_who_still_sets_them_in_the_shell_is_told() -> None:
    assert left_in_the_shell({"CONTROL_LOG_LEVEL": "INFO"}) is None
    said = left_in_the_shell(OF_ANOTHER_SHELL)
    assert said is not None
    assert "CONTROL_OIDC__ISSUER" in said
    assert "LOG_LEVEL" not in said
