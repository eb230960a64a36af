"""The roles of a server and what each may do, as statements that may run at any time and as often as one likes.

They run before a new server's first start, and again at every `up`: what a data directory of an older release grants
too much is taken away then. Rights on tables and procedures are not here but in the migrations of the package whose
they are, which run as the owner.

Per database (`cell`, `control`): `_owner` owns it and runs migrations, nothing else; `_service` may do what the
procedures let it, and read; `_auditor` may read everything but secrets, change nothing, take no locks, and keep no
transaction open for long, with few connections.
"""

from collections.abc import Mapping
from dataclasses import dataclass

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
    def all(self) -> tuple[str, str, str]:
        return (self.owner, self.service, self.auditor)


CELL = DatabaseRoles("cell")
CONTROL = DatabaseRoles("control")


def server_statements(roles: DatabaseRoles) -> list[str]:
    """What the roles may do on the server, whatever the database; the roles are there. For the superuser."""
    owner, _, auditor = roles.all
    limits = {
        "default_transaction_read_only": "on",
        "statement_timeout": f"'{AUDITOR_STATEMENT_S}s'",
        "idle_in_transaction_session_timeout": f"'{AUDITOR_IDLE_S}s'",
        "lock_timeout": "'5s'",
    }
    return [
        *(f"alter role {role} nosuperuser nocreatedb nocreaterole noreplication nobypassrls" for role in roles.all),
        # It reads every column of every table, secrets included, whatever else is granted or revoked.
        f"revoke pg_read_all_data from {auditor}",
        f"alter role {auditor} connection limit {AUDITOR_CONNECTIONS}",
        *(f"alter role {auditor} set {name} = {value}" for name, value in limits.items()),
        # A role may raise its own limits; so the owner's procedure ends what is open for too long, by this right.
        f"grant {auditor} to {owner}",
        # Everybody may connect to these, and fill the disk with temporary tables, unless this says otherwise.
        "revoke all on database postgres, template1 from public",
    ]


ARCHIVER_CONNECTIONS = 4
"""The archive's, and the two of a backup; one to spare."""


def archiver_statements(roles: DatabaseRoles, password: str) -> list[str]:
    """The role that copies a running server. REPLICATION is all it has: it may connect to no database. For the
    superuser."""
    name = roles.archiver
    return [
        f"do $$ begin if not exists (select from pg_roles where rolname = '{name}')"
        f" then create role {name}; end if; end $$",
        f"alter role {name} login replication nosuperuser nocreatedb nocreaterole noinherit nobypassrls"
        f" connection limit {ARCHIVER_CONNECTIONS} password '{password}'",
    ]


def database_rights(roles: DatabaseRoles, database: str) -> list[str]:
    """Who may connect to the database; nobody but the owner may make anything there, temporary tables neither."""
    return [
        f"revoke all on database {database} from public",
        f"grant connect on database {database} to {roles.service}, {roles.auditor}",
    ]


def database_statements(roles: DatabaseRoles, database: str) -> list[str]:
    """What the roles may do in their database, to be run in it. For the superuser."""
    return [
        *database_rights(roles, database),
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
        f"alter role {SUPERUSER} password '{passwords[SUPERUSER]}'",
        *(f"create role {role} login password '{passwords[role]}'" for role in roles.all),
        f"create database {roles.database} owner {roles.owner}",
        *server_statements(roles),
    ]
    return first, database_statements(roles, roles.database)
