"""The roles of a server and what each may do, as statements that may run at any time and as often as one likes.

They run before a new server's first start, and again at every `up`, before the migrations: a role that a new release
names is there when its migrations grant something to it, and whatever somebody changed by hand (a password, an
attribute, a setting, a membership) is put back. Rights on tables and procedures are not here but in the migrations and
procedures of the package whose they are, which run as the owner. No password stands in a statement, but what a server
keeps of it, so that none gets into a log.

Per database (`cell`, `control`): `_owner` owns it and runs migrations, nothing else; `_service` may do what the
procedures let it, and read; `_auditor` may read everything but secrets, change nothing, take no locks, and keep no
transaction open for long, with few connections. `control_leader` is the control service; `control_service` are the
routers.
"""

import base64
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

SUPERUSER = "postgres"

AUDITOR_CONNECTIONS = 6
"""Of sixty: people and their scripts never keep an app server from its database."""
AUDITOR_STATEMENT_S = 300
"""A read of a whole ledger takes less. Vacuum waits for the oldest snapshot there is."""
AUDITOR_IDLE_S = 60
"""A transaction that does nothing still keeps its snapshot and its tables' locks."""


@dataclass(frozen=True, slots=True)
class DatabaseRoles:
    """A server's database and its roles: `cell_owner`, `cell_service`, `cell_auditor` around the database `cell`."""

    database: str
    others: tuple[str, ...] = ()
    """Further roles that migrations grant something to; they may connect, and have nothing else by themselves."""

    @property
    def owner(self) -> str:
        return f"{self.database}_owner"

    @property
    def service(self) -> str:
        return f"{self.database}_service"

    @property
    def auditor(self) -> str:
        return f"{self.database}_auditor"

    @property
    def archiver(self) -> str:
        """Copies the server for backups, and may do nothing else; made when a server is backed up for the first time.
        It belongs to no database, so it is none of `all`."""
        return f"{self.database}_archiver"

    @property
    def all(self) -> tuple[str, ...]:
        return (self.owner, self.service, self.auditor, *self.others)


CELL_MOVER = "cell_mover"
"""Carries users between cells: reads and writes the rows that travel (migration 0061 of the cell)."""
CELL = DatabaseRoles("cell", (CELL_MOVER,))
CONTROL_LEADER = "control_leader"
"""The control service: leases, operations, the map."""
CONTROL = DatabaseRoles("control", (CONTROL_LEADER,))

_SCRAM_ROUNDS: Final = 4096
"""PostgreSQL's own number. Passwords here are 192 random bits, which no number of rounds makes harder to guess."""
_ATTRIBUTES: Final = (
    "login inherit nosuperuser nocreatedb nocreaterole noreplication nobypassrls"
    " connection limit -1 valid until 'infinity'"
)


def scram_verifier(role: str, password: str) -> str:
    """What PostgreSQL keeps of a password (RFC 5802), the same at every call: the salt comes from role and password."""
    salt = hashlib.sha256(f"{role}:{password}".encode()).digest()[:16]
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, _SCRAM_ROUNDS)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    salt_text, stored_text, server_text = (base64.b64encode(part).decode() for part in (salt, stored, server))
    return f"SCRAM-SHA-256${_SCRAM_ROUNDS}:{salt_text}${stored_text}:{server_text}"


def login_statements(roles: DatabaseRoles, passwords: Mapping[str, str]) -> list[str]:
    """Every role is there and has its password. For the superuser."""
    return [
        *(_ensure_role(role) for role in roles.all),
        *(f"alter role {role} password '{scram_verifier(role, passwords[role])}'" for role in roles.all),
    ]


def _ensure_role(role: str) -> str:
    """One line, as `_NO_ADVISORY_LOCKS`."""
    return (
        f"do $$ begin if not exists (select from pg_catalog.pg_roles where rolname = '{role}')"
        f" then create role {role}; end if; end $$"
    )


def server_statements(roles: DatabaseRoles) -> list[str]:
    """What the roles may do on the server, whatever the database; the roles are there. For the superuser."""
    owner, auditor = roles.owner, roles.auditor
    limits = {
        "default_transaction_read_only": "on",
        "statement_timeout": f"'{AUDITOR_STATEMENT_S}s'",
        "idle_in_transaction_session_timeout": f"'{AUDITOR_IDLE_S}s'",
        "lock_timeout": "'5s'",
    }
    return [
        *(f"alter role {role} {_ATTRIBUTES}" for role in roles.all),
        *(f"alter role {role} reset all" for role in roles.all),
        _only_member(roles, granted=auditor, member=owner),
        f"alter role {auditor} connection limit {AUDITOR_CONNECTIONS}",
        *(f"alter role {auditor} set {name} = {value}" for name, value in limits.items()),
        # A role may raise its own limits; so the owner's procedure ends what is open for too long, by this right.
        f"grant {auditor} to {owner}",
        # Everybody may connect to these, and fill the disk with temporary tables, unless this says otherwise.
        "revoke all on database postgres, template1 from public",
    ]


def _only_member(roles: DatabaseRoles, *, granted: str, member: str) -> str:
    """Every other membership of a role here is revoked: with one in `pg_read_all_data` or in the owner, no grant and no
    revoke on a table says any more what the role may do. One line, as `_NO_ADVISORY_LOCKS`."""
    names = ", ".join(f"'{role}'" for role in roles.all)
    return (
        "do $$ declare found record; begin for found in"
        " select g.rolname as granted, m.rolname as member, b.rolname as grantor from pg_catalog.pg_auth_members a"
        " join pg_catalog.pg_roles g on g.oid = a.roleid join pg_catalog.pg_roles m on m.oid = a.member"
        f" join pg_catalog.pg_roles b on b.oid = a.grantor where m.rolname in ({names})"
        f" and (g.rolname, m.rolname) <> ('{granted}', '{member}')"
        " loop execute format('revoke %I from %I granted by %I cascade', found.granted, found.member, found.grantor);"
        " end loop; end $$"
    )


ARCHIVER_CONNECTIONS = 4
"""The archive's, and the two of a backup; one to spare."""


def archiver_statements(roles: DatabaseRoles, password: str) -> list[str]:
    """The role that copies a running server. REPLICATION is all it has: it may connect to no database. For the
    superuser."""
    name = roles.archiver
    return [
        _ensure_role(name),
        f"alter role {name} login replication nosuperuser nocreatedb nocreaterole noinherit nobypassrls"
        f" connection limit {ARCHIVER_CONNECTIONS} password '{scram_verifier(name, password)}'",
    ]


def database_rights(roles: DatabaseRoles, database: str) -> list[str]:
    """Who may connect to the database; nobody but the owner may make anything there, temporary tables neither."""
    return [
        f"revoke all on database {database} from public",
        f"grant connect on database {database} to {', '.join(role for role in roles.all if role != roles.owner)}",
    ]


def database_statements(roles: DatabaseRoles, database: str) -> list[str]:
    """What the roles may do in their database, to be run in it. For the superuser."""
    return [
        *database_rights(roles, database),
        *(f"alter role {role} in database {database} reset all" for role in roles.all),
        "revoke all on schema public from public",
        # A new function is executable by everybody unless this says otherwise; the auditor must change nothing.
        f"alter default privileges for role {roles.owner} revoke execute on functions from public",
        "revoke execute on function lo_creat(int), lo_create(oid), lo_from_bytea(oid, bytea) from public",
        # An advisory lock has no owner: who may take any may take everybody's. So nobody may, and nothing here does.
        _NO_ADVISORY_LOCKS,
    ]


# One line: a server that is not up yet reads its statements line by line.
_NO_ADVISORY_LOCKS = (
    "do $$ declare routine regprocedure; begin for routine in"
    " select p.oid from pg_catalog.pg_proc p where p.pronamespace = 'pg_catalog'::regnamespace"
    r" and p.proname like any (array['pg\_advisory\_%', 'pg\_try\_advisory\_%'])"
    " and has_function_privilege('public', p.oid, 'execute')"
    " loop execute format('revoke execute on function %s from public', routine); end loop; end $$"
)


def bootstrap_sql(roles: DatabaseRoles, passwords: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """Statements for a new server: in the database `postgres`, then in its own database."""
    first = [
        f"alter role {SUPERUSER} password '{scram_verifier(SUPERUSER, passwords[SUPERUSER])}'",
        *login_statements(roles, passwords),
        f"create database {roles.database} owner {roles.owner}",
        *server_statements(roles),
    ]
    return first, database_statements(roles, roles.database)
