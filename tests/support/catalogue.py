"""What a database is, read from its catalogue: so that two of them can be compared, name by name.

Everything of the schemas that we make, in texts that do not hold an oid or a time: tables and views with columns,
constraints, indexes, triggers, routines with their whole definitions, types, owners and every grant. The schema of a
release's code is called `code` here.
"""

from typing import Any, LiteralString

import psycopg

_OURS: LiteralString = r"""
   and (n.nspname is null or n.nspname in ('brokerage', 'archive', 'control', 'migrations') or n.nspname like 'code\_%')
"""
# schema, name, what it is, who may
_PARTS: dict[str, LiteralString] = {
    "schema": "select n.nspname, '', n.nspowner::regrole::text, n.nspacl::text from pg_namespace n where true",
    "relation": """
select n.nspname, k.relname, concat_ws(' ', k.relkind, k.relowner::regrole, k.reloptions,
                                       case when k.relkind = 'v' then pg_get_viewdef(k.oid) end), k.relacl::text
  from pg_class k join pg_namespace n on n.oid = k.relnamespace where k.relkind in ('r', 'p', 'v', 'S')
""",
    "column": """
select n.nspname, k.relname || '.' || a.attname,
       concat_ws(' ', format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attgenerated,
                 pg_get_expr(d.adbin, d.adrelid)), a.attacl::text
  from pg_attribute a join pg_class k on k.oid = a.attrelid join pg_namespace n on n.oid = k.relnamespace
  left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
 where k.relkind in ('r', 'p', 'v', 'c') and a.attnum > 0 and not a.attisdropped
""",
    "constraint": """
select n.nspname, c.conrelid::regclass::text || '.' || c.conname,
       concat_ws(' ', pg_get_constraintdef(c.oid), c.convalidated), null
  from pg_constraint c join pg_namespace n on n.oid = c.connamespace where true
""",
    "index": """
select n.nspname, k.relname, concat_ws(' ', pg_get_indexdef(i.indexrelid), i.indisvalid), null
  from pg_index i join pg_class k on k.oid = i.indexrelid join pg_namespace n on n.oid = k.relnamespace where true
""",
    "trigger": """
select n.nspname, k.relname || '.' || t.tgname, concat_ws(' ', pg_get_triggerdef(t.oid), t.tgenabled), null
  from pg_trigger t join pg_class k on k.oid = t.tgrelid join pg_namespace n on n.oid = k.relnamespace
 where not t.tgisinternal
""",
    "routine": """
select n.nspname, p.oid::regprocedure::text, concat_ws(' ', pg_get_functiondef(p.oid), p.proowner::regrole),
       p.proacl::text
  from pg_proc p join pg_namespace n on n.oid = p.pronamespace where true
""",
    "default": """
select n.nspname, concat_ws(' ', d.defaclobjtype, d.defaclrole::regrole), '', d.defaclacl::text
  from pg_default_acl d left join pg_namespace n on n.oid = d.defaclnamespace where true
""",
}


def read_catalogue(connection: psycopg.Connection[Any], code: str) -> dict[str, tuple[str, str]]:
    """`kind schema.name` to what it is and who may use it. `code`: the release whose schema is meant."""
    found = {}
    with connection.transaction():
        connection.execute("set local search_path = pg_catalog")  # every name is printed with its schema
        for kind, query in _PARTS.items():
            for row in connection.execute(query + _OURS).fetchall():
                schema, name, what, rights = (str(value or "").replace(code, "code") for value in row)
                found[f"{kind} {schema}.{name}"] = (what, _sorted_grants(rights))
    return found


def _sorted_grants(text: str) -> str:
    """A list of grants in the order of its text: the server keeps the order of the statements."""
    return "{" + ",".join(sorted(text[1:-1].split(","))) + "}" if text.startswith("{") else text


def differences(one: dict[str, tuple[str, str]], other: dict[str, tuple[str, str]]) -> list[str]:
    """Names of which the two do not say the same, with both sides."""
    return [
        f"{name}: {one.get(name)} | {other.get(name)}"
        for name in sorted(one.keys() | other.keys())
        if one.get(name) != other.get(name)
    ]
