"""Function pruning: after a release, remove the SQL functions of releases that are gone."""

import asyncpg

from florin.kit.postgres import migrations
from florin.kit.postgres.short_locks import MigrationFailed
from florin.kit.settings import InvalidSettings, read_variable
from florin.ops.fleet.home import Home
from florin.ops.fleet.orders import ReportProgress
from florin.ops.releases import store
from florin.ops.topology.topology import Topology

_CANNOT = (MigrationFailed, InvalidSettings, OSError, ValueError)


async def remove_unused_functions(home: Home, topology: Topology, report: ReportProgress) -> None:
    """Remove the sets that no stored release and no running process uses.

    A failure is only reported: unused functions harm nothing, and the next release tries again.
    """
    try:
        app_url = read_variable("DATABASE_URL", topology.environ)
        owner_url = read_variable("DATABASE_URL_OWNER", topology.environ)
        if owner_url is None:
            return
        removed = await migrations.run_prune(
            owner_url=owner_url, app_url=app_url, keep=store.stored_releases(home)
        )
    except (*_CANNOT, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        report(f"Unused SQL functions were not removed: {error}")
        return
    if removed:
        report(f"Removed the SQL functions of removed releases: {', '.join(removed)}.")
