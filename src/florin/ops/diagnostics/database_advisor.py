"""Database advisor: advice on indexes, slow statements and vacuum, from the server's statistics.

It makes no lasting changes: a suggested index is tried on a temporary copy of a sample of the
table, and the finding says whether the planner uses it.
"""

from collections.abc import Sequence
from typing import Any

import asyncpg

from florin.ops.diagnostics.finding import Finding, Result

_SCHEMA = "florin"
_MB = 2**20
_SAMPLE = 20_000  # rows
_SLOW_MS = 50
_ROWS_OF_LARGE = 10_000
_FREEZE_WARN = 0.9  # of autovacuum_freeze_max_age: autovacuum should have run before
_WRAP_FAIL = 1_500_000_000  # transactions; at two thousand million the server refuses writes


def _full_name(oid: str) -> str:
    """SQL: the name of a relation with its schema, for every search path."""
    return (
        "(select format('%I.%I', n.nspname, k.relname) from pg_class k"  # noqa: S608 -- our own text
        f" join pg_namespace n on n.oid = k.relnamespace where k.oid = {oid})"
    )


_UNUSED = """
select s.relname as "table", s.indexrelname as "index", pg_relation_size(s.indexrelid) as size,
       coalesce(d.stats_reset, pg_postmaster_start_time()) as since
  from pg_stat_user_indexes s
  join pg_index i on i.indexrelid = s.indexrelid
  join pg_stat_user_tables t on t.relid = s.relid
  cross join (select stats_reset from pg_stat_database where datname = current_database()) d
 where s.schemaname = $1 and s.idx_scan = 0 and not i.indisunique and i.indisvalid
   and t.n_tup_ins > $2
 order by size desc
"""

# An index is redundant when its columns, with operator classes and order, are a prefix of another
# one's; of two equal indexes the newer one is named. A unique index is never redundant.
_DUPLICATE = f"""
select {_full_name("a.indrelid")} as "table", {_full_name("a.indexrelid")} as "index",
       {_full_name("b.indexrelid")} as other, pg_relation_size(a.indexrelid) as size
  from pg_index a
  join pg_index b on b.indrelid = a.indrelid and b.indexrelid <> a.indexrelid
  join pg_class r on r.oid = a.indrelid
  join pg_class ia on ia.oid = a.indexrelid
  join pg_class ib on ib.oid = b.indexrelid and ib.relam = ia.relam
 where r.relnamespace = $1::regnamespace and not a.indisunique and b.indisvalid
   and a.indexprs is null and b.indexprs is null and a.indpred is not distinct from b.indpred
   and (b.indkey::text || ' ') like (a.indkey::text || ' %')
   and (b.indclass::text || ' ') like (a.indclass::text || ' %')
   and (b.indoption::text || ' ') like (a.indoption::text || ' %')
   and (length(b.indkey::text) > length(a.indkey::text) or b.indisunique
     or a.indexrelid > b.indexrelid)
"""  # noqa: S608 -- our own text

_INVALID = f"""
select {_full_name("i.indrelid")} as "table", {_full_name("i.indexrelid")} as "index"
  from pg_index i join pg_class r on r.oid = i.indrelid
 where r.relnamespace = $1::regnamespace and not (i.indisvalid and i.indisready)
"""  # noqa: S608 -- our own text

# An index serves a foreign key when its first columns are the key's, in any order. A partial index
# without nulls serves as well: a key with a null refers to nothing.
_FOREIGN = f"""
select {_full_name("c.conrelid")} as "table", c.conname as name,
       (select array_agg(a.attname::text order by k.n)
          from unnest(c.conkey) with ordinality k (a, n)
          join pg_attribute a on a.attrelid = c.conrelid and a.attnum = k.a) as columns
  from pg_constraint c join pg_class r on r.oid = c.conrelid
 where c.contype = 'f' and c.connamespace = $1::regnamespace and not exists (
   select from pg_index i where i.indrelid = c.conrelid and i.indisvalid
      and (i.indpred is null or pg_get_expr(i.indpred, i.indrelid) ~ '^\\(\\w+ IS NOT NULL\\)$')
      and (select array_agg(k.a order by k.a) from unnest(i.indkey) with ordinality k (a, n)
            where k.n <= cardinality(c.conkey))
        = (select array_agg(k.a order by k.a) from unnest(c.conkey) k (a)))
   and r.reltuples > $2
"""  # noqa: S608 -- our own text

_TABLES = """
select s.relname as "table", n_live_tup as live, n_dead_tup as dead, seq_scan,
       seq_tup_read / greatest(seq_scan, 1) as rows_a_scan, age(c.relfrozenxid) as age,
       greatest(last_vacuum, last_autovacuum) as vacuumed,
       current_setting('autovacuum_freeze_max_age')::bigint as freeze
  from pg_stat_user_tables s join pg_class c on c.oid = s.relid
 where schemaname = $1
"""

_HELD = """
select (select max(clock_timestamp() - xact_start) from pg_stat_activity
         where datname = current_database() and state like 'idle in transaction%'
           and clock_timestamp() - xact_start > interval '1 minute') as idle,
       (select array_agg(slot_name::text) from pg_replication_slots where not active) as slots
"""

# A transaction that holds a lock for longer than a request may take, and what waits for it.
_LOCKS = f"""
select b.pid, b.usename, b.application_name, b.state, b.query,
       extract(epoch from clock_timestamp() - b.xact_start)::float as held_s,
       count(distinct w.pid) as waiting,
       array_agg(distinct {_full_name("l.relation")}) filter (where l.relation is not null)
         as tables
  from pg_stat_activity w
 cross join unnest(pg_blocking_pids(w.pid)) p (pid)
  join pg_stat_activity b on b.pid = p.pid
  left join pg_locks l on l.pid = w.pid and not l.granted
 where w.datname = current_database() and w.wait_event_type = 'Lock'
   and cardinality(pg_blocking_pids(b.pid)) = 0
   and (b.xact_start is null or clock_timestamp() - b.xact_start > interval '2 seconds')
 group by 1, 2, 3, 4, 5, 6
 order by waiting desc
"""  # noqa: S608 -- our own text

_EXTENSION = "select to_regclass('pg_stat_statements') is not null"
_STATEMENTS = """
select calls, mean_exec_time as mean_ms, total_exec_time as total_ms, query
  from pg_stat_statements
 where dbid = (select oid from pg_database where datname = current_database())
   and mean_exec_time >= $1
 order by total_exec_time desc limit 5
"""


async def advise_database(connection: Any) -> list[Finding]:
    """Check one database. The role needs the right to create temporary tables to try indexes."""
    tables = await connection.fetch(_TABLES, _SCHEMA)
    return [
        *_unused(await connection.fetch(_UNUSED, _SCHEMA, _ROWS_OF_LARGE)),
        *_duplicate(await connection.fetch(_DUPLICATE, _SCHEMA)),
        *_invalid(await connection.fetch(_INVALID, _SCHEMA)),
        *await _foreign(connection),
        *_scans(tables),
        *_vacuum(tables),
        *_held(await connection.fetchrow(_HELD)),
        *_locks(await connection.fetch(_LOCKS)),
        *await _statements(connection),
    ]


def _unused(rows: Sequence[Any]) -> list[Finding]:
    return _all_or(
        "unused indexes",
        [
            f"{row['index']} on {row['table']} ({row['size'] / _MB:.0f} MB) has not been used since"
            f" {row['since']:%Y-%m-%d}; if replicas do not use it either, run: drop index"
            f" concurrently {_SCHEMA}.{row['index']}"
            for row in rows
        ],
        "every index was used, or its table is small",
    )


def _duplicate(rows: Sequence[Any]) -> list[Finding]:
    return _all_or(
        "duplicate indexes",
        [
            f"{row['index']} on {row['table']} ({row['size'] / _MB:.0f} MB) is covered by"
            f" {row['other']}; run: drop index concurrently {row['index']}"
            for row in rows
        ],
        "no index is covered by another one",
    )


def _invalid(rows: Sequence[Any]) -> list[Finding]:
    return _all_or(
        "invalid indexes",
        [
            f"{row['index']} on {row['table']} was not finished, so it is maintained but never"
            f" used; run: drop index concurrently {row['index']}, then florin migrate"
            for row in rows
        ],
        "all indexes are valid",
        "fail",
    )


async def _foreign(connection: Any) -> list[Finding]:
    found: list[str] = []
    for row in await connection.fetch(_FOREIGN, _SCHEMA, float(_ROWS_OF_LARGE)):
        columns = ", ".join(row["columns"])
        verdict = await _verified(connection, row["table"], row["columns"])
        found.append(
            f"{row['name']} has no index; run: create index concurrently on {row['table']}"
            f" ({columns}); {verdict}"
        )
    return _all_or("foreign keys", found, "each has an index, or its table is small")


async def _verified(connection: Any, table: str, columns: list[str]) -> str:
    """Try the index on a temporary copy of a sample; return whether the planner uses it."""
    transaction = connection.transaction()
    await transaction.start()
    try:
        names = ", ".join(columns)
        # The names come from the catalogue.
        sample = f"select {names} from {table} limit {_SAMPLE}"  # noqa: S608
        await connection.execute(f"create temporary table advised on commit drop as {sample}")
        await connection.execute(f"create index advised_index on advised ({names})")
        await connection.execute("analyze advised")
        first = await connection.fetchrow("select * from advised limit 1")
        if first is None:
            return "not verified: the table is empty"
        # Literals quoted by the server, so that the plan is for these values.
        quote = "select quote_nullable($1::text)"
        tests = [
            f"{column} = {await connection.fetchval(quote, str(value))}"
            for column, value in first.items()
        ]
        where = " and ".join(tests)
        plan = await connection.fetch(f"explain select from advised where {where}")
        taken = any("advised_index" in line[0] for line in plan)
    except asyncpg.PostgresError as error:
        return f"not verified ({str(error).splitlines()[0]})"
    finally:
        await transaction.rollback()
    return (
        "EXPLAIN on a sample uses it"
        if taken
        else "EXPLAIN on a sample does not use it: do not create it"
    )


def _scans(rows: Sequence[Any]) -> list[Finding]:
    return _all_or(
        "whole scans",
        [
            f"{row['table']} had {row['seq_scan']} sequential scans of"
            f" {row['rows_a_scan']:,} rows each; an index may be missing"
            for row in rows
            if row["rows_a_scan"] > _ROWS_OF_LARGE and row["seq_scan"] > 10  # noqa: PLR2004
        ],
        "no large table has frequent sequential scans",
    )


def _vacuum(rows: Sequence[Any]) -> list[Finding]:
    found: list[Finding] = []
    for row in rows:
        if row["age"] > _WRAP_FAIL:
            said = f"{row['table']} is {row['age']:,} transactions old; run vacuum freeze on it now"
            found.append(Finding("db", "vacuum", "fail", said))
        elif row["age"] > _FREEZE_WARN * row["freeze"]:
            said = f"{row['table']} is {row['age']:,} transactions old: autovacuum does not keep up"
            found.append(Finding("db", "vacuum", "warn", said))
        elif row["dead"] > max(_ROWS_OF_LARGE, 0.3 * row["live"]):
            when = f"{row['vacuumed']:%Y-%m-%d %H:%M}" if row["vacuumed"] else "never"
            said = (
                f"{row['table']} has {row['dead']:,} dead and {row['live']:,} live rows (vacuumed"
                f" {when}): find what holds back autovacuum, or lower its scale factor"
            )
            found.append(Finding("db", "vacuum", "warn", said))
    return found or [Finding("db", "vacuum", "ok", "few dead rows, none is old")]


def _held(row: Any) -> list[Finding]:
    found: list[str] = []
    if row["idle"] is not None:
        minutes = row["idle"].total_seconds() / 60
        found.append(f"a transaction has been idle for {minutes:.0f} minutes and holds back vacuum")
    found += [
        f"the replication slot {slot} is not in use, but the server keeps its log for it; if it is"
        " not needed, drop it with pg_drop_replication_slot"
        for slot in row["slots"] or ()
    ]
    return _all_or("held back", found, "no idle transaction, no unused replication slot")


def _locks(rows: Sequence[Any]) -> list[Finding]:
    found: list[str] = []
    for row in rows:
        since = "" if row["held_s"] is None else f" since {row['held_s']:.0f} s"
        what = f", {row['state']}" if row["state"] else ""
        on = f" on {', '.join(row['tables'])}" if row["tables"] else ""
        statement = " ".join((row["query"] or "").split())[:99]
        found.append(
            f"{row['waiting']} wait for a lock{on} that the session {row['pid']} holds{since}"
            f" ({row['usename']}, {row['application_name'] or 'no name'}{what}; last statement:"
            f" {statement}); if it is not needed, end it on the primary: select"
            f" pg_terminate_backend({row['pid']})"
        )
    return _all_or("locks", found, "no session waits for a long transaction", "fail")


async def _statements(connection: Any) -> list[Finding]:
    if not await connection.fetchval(_EXTENSION):  # an error would fill the log of the server
        return []
    try:
        rows = await connection.fetch(_STATEMENTS, float(_SLOW_MS))
    except (asyncpg.UndefinedTableError, asyncpg.ObjectNotInPrerequisiteStateError):
        return []  # another check reports that the extension is missing
    return _all_or(
        "slow statements",
        [
            f"{row['calls']:,} times {row['mean_ms']:.0f} ms: {' '.join(row['query'].split())[:99]}"
            for row in rows
        ],
        f"none takes {_SLOW_MS} ms on average",
    )


def _all_or(name: str, findings: Sequence[str], good: str, bad: Result = "warn") -> list[Finding]:
    if not findings:
        return [Finding("db", name, "ok", good)]
    return [Finding("db", name, bad, said) for said in findings]
