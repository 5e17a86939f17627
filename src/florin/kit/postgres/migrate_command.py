"""Migrate command: `florin migrate`, its output and its exit code."""

import asyncio
import json
import sys

import asyncpg

from florin.kit.postgres import migrations
from florin.kit.postgres.migrations import MigrationPlan
from florin.kit.postgres.short_locks import MigrationFailed
from florin.kit.settings import InvalidSettings, read_variable


def main(*, only_plan: bool = False, prune: bool = False, as_json: bool = False) -> int:
    """Serve `florin migrate`; return the exit code."""
    if only_plan and prune:
        print("--plan and --prune cannot be combined.", file=sys.stderr)
        return 2
    try:
        app_url = read_variable("DATABASE_URL_PRIMARY") or read_variable("DATABASE_URL")
        owner_url = read_variable("DATABASE_URL_OWNER") or app_url
        release = read_variable("FLORIN_RELEASE") or migrations.UNNAMED
    except InvalidSettings as error:
        print(error, file=sys.stderr)
        return 2
    if owner_url is None:
        print("Set DATABASE_URL_OWNER (or DATABASE_URL) to the database.", file=sys.stderr)
        return 2
    try:
        if prune:
            removed = asyncio.run(migrations.run_prune(owner_url=owner_url, app_url=app_url))
            _print_removed(removed, as_json=as_json)
            return 0
        plan = asyncio.run(
            migrations.run_migrations(
                owner_url=owner_url, app_url=app_url, only_plan=only_plan, release=release
            )
        )
    except (MigrationFailed, OSError, asyncpg.PostgresError, ValueError) as error:
        print(f"The database was not migrated: {error}", file=sys.stderr)
        return 1
    _print_plan(plan, done=not only_plan, as_json=as_json)
    return 0


def _print_plan(plan: MigrationPlan, *, done: bool, as_json: bool) -> None:
    if as_json:
        steps = {"applied" if done else "plan": plan.steps}
        print(json.dumps(steps | {"waiting": dict(plan.waiting)}))
        return
    if plan.steps:
        print(f"{'Applied' if done else 'Would apply'}: {', '.join(plan.steps)}.")
    elif not plan.waiting:
        print("The database is up to date.")
    for name, why in plan.waiting.items():
        print(f"{name} waits: {why}. Run florin migrate again once they have ended.")


def _print_removed(removed: list[str], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"removed": removed}))
    elif removed:
        print(f"Removed functions that nothing uses: {', '.join(removed)}.")
    else:
        print("Every set of functions is in use.")
