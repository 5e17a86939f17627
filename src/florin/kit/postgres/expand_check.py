"""Expand check: what a release adds to a schema must not change what running releases use.

The check compares the catalog before and after, inside the transaction of the change, so it sees
every way in which SQL can do it. A change that harms no running release is accepted by a line in
the file: `-- accepts trigger NAME on florin.TABLE: why`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from florin.kit.postgres.database import Connection
from florin.kit.postgres.short_locks import MigrationFailed

_ACCEPTS = re.compile(r"^-- accepts ([^:]+): *\S", re.MULTILINE)

# kind, key, parent table, name, and what must stay as it is. Functions and triggers by the
# transaction that wrote their row: any replacement counts, also one by the same text.
_CATALOG = r"""
with ours as (select oid, nspname from pg_namespace
  where nspname = 'florin' or nspname ~ '^florin_[0-9a-f]{12}$'),
tables as (select c.*, format('%s.%s', o.nspname, c.relname) as label
  from pg_class c join ours o on o.oid = c.relnamespace
  where c.relkind in ('r', 'p', 'v', 'm', 'S'))
select 'function' as kind, p.oid::text as key, 'schema ' || o.oid as parent,
  format('%s.%s', o.nspname, p.proname) as name, p.xmin::text as state, false as demands
from pg_proc p join ours o on o.oid = p.pronamespace
union all
select 'schema', o.oid::text, '', o.nspname, n.nspacl::text, false
from ours o join pg_namespace n on n.oid = o.oid
union all
select 'table', t.oid::text, '', t.label,
  concat(t.relkind, t.relacl, t.relrowsecurity, t.relforcerowsecurity), false
from tables t
union all
select 'trigger', g.oid::text, 'table ' || t.oid, format('%s on %s', g.tgname, t.label),
  g.xmin::text, true
from pg_trigger g join tables t on t.oid = g.tgrelid where not g.tgisinternal
union all
select 'column', a.attrelid || '.' || a.attnum, 'table ' || t.oid,
  format('%s.%s', t.label, a.attname),
  concat(a.attname, ' ', a.atttypid, ' ', a.atttypmod, ' ', a.attgenerated, a.attidentity,
    a.attacl),
  a.attnotnull and not a.atthasdef and a.attidentity = ''
from pg_attribute a join tables t on t.oid = a.attrelid
where a.attnum > 0 and not a.attisdropped and t.relkind <> 'S'
union all
select 'not null', a.attrelid || '.' || a.attnum, 'table ' || t.oid,
  format('%s.%s', t.label, a.attname),
  '', true
from pg_attribute a join tables t on t.oid = a.attrelid
where a.attnum > 0 and not a.attisdropped and a.attnotnull and t.relkind = 'r'
union all
select 'constraint', k.oid::text, 'table ' || t.oid, format('%s on %s', k.conname, t.label),
  pg_get_constraintdef(k.oid), true
from pg_constraint k join tables t on t.oid = k.conrelid where k.contype <> 'n'
union all
select 'rule', r.oid::text, 'table ' || t.oid, format('%s on %s', r.rulename, t.label),
  r.xmin::text, true
from pg_rewrite r join tables t on t.oid = r.ev_class where t.relkind = 'r'
union all
select 'policy', y.oid::text, 'table ' || t.oid, format('%s on %s', y.polname, t.label),
  y.xmin::text, true
from pg_policy y join tables t on t.oid = y.polrelid
"""
_LISTED = 5


@dataclass(frozen=True, slots=True)
class CatalogEntry:
    """`demands`: a new one restricts or changes statements of code that does not know it."""

    label: str
    parent: str
    state: str
    demands: bool


Catalog = Mapping[str, CatalogEntry]  # by kind and key


async def read_catalog(connection: Connection) -> Catalog:
    rows = await connection.fetch(_CATALOG)
    return {
        f"{row['kind']} {row['key']}": CatalogEntry(
            f"{row['kind']} {row['name']}", row["parent"], row["state"] or "", row["demands"]
        )
        for row in rows
    }


def catalog_changes(before: Catalog, after: Catalog) -> dict[str, str]:
    """Return what a change did to what existed: label to "changed", "removed" or "added"."""
    found: dict[str, str] = {}
    for key, entry in before.items():
        now = after.get(key)
        if now is None:
            if entry.parent in after or entry.parent not in before:  # else it went with its parent
                found[entry.label] = "removed"
        elif now.state != entry.state:
            found[entry.label] = "changed"
    for key, entry in after.items():
        added = key not in before and entry.demands and entry.parent in before
        of_new_column = key.replace("not null", "column") not in before
        if added and not (key.startswith("not null") and of_new_column):
            found[entry.label] = "added"
    return found


def list_changes(changes: Mapping[str, str]) -> str:
    listed = [f"{label} {how}" for label, how in sorted(changes.items())]
    return "; ".join([*listed[:_LISTED], *(["…"] if len(listed) > _LISTED else [])])


def require_expand(name: str, text: str, before: Catalog, after: Catalog) -> None:
    """Raises MigrationFailed if the file `name` changed what running releases use."""
    changes = catalog_changes(before, after)
    for label in _ACCEPTS.findall(text):
        changes.pop(label.strip(), None)
    if not changes:
        return
    msg = (
        f"{name} changes what running releases use ({list_changes(changes)}); nothing was changed:"
        " do it in a contract migration of a later release, or explain in the file why it harms"
        f" none: '-- accepts {min(changes)}: …'"
    )
    raise MigrationFailed(msg)
