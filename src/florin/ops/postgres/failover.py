"""Failover: elect a new primary and promote it.

A write that was acknowledged is on the primary and on at least one replica, but which one is
unknown. So the replica that has received most is promoted, and only when all of them answered;
otherwise the primary is restarted on its own data, which is complete.
"""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from florin.ops.postgres import server as postgres
from florin.ops.postgres.connection import NotYet, open_session
from florin.ops.postgres.replica_set import SYNCHRONOUS_FROM, ReplicaSet
from florin.ops.postgres.server import Postgres
from florin.ops.system.console import OperatorError, say

_LOOK_WITHIN_S = 1.5
_PROMOTE_WITHIN_S = 60  # it first replays what it has received
_LOOK = """
select pg_is_in_recovery() as standby,
  (coalesce(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn(), '0/0') - '0/0')::bigint as received
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberState:
    """The state of a member that answered."""

    standby: bool
    received: int  # bytes of the log that it has on disk


def elect_primary(
    seen: Mapping[str, MemberState],
    others: frozenset[str],
    *,
    requested: str = "",
    least: int | None = None,
    accept_loss: bool = False,
) -> str | None:
    """Return the next primary, None when no member may take over. Pure.

    `others` are all members except the primary. `least` is the end of the primary's log after a
    clean shutdown: a replica that has received as much is complete, so one is enough then.
    """
    fit = {name: each for name, each in seen.items() if name in others and each.standby}
    if not fit:
        return None
    most = max(each.received for each in fit.values())
    whole = least is not None and most >= least
    quorum = len(others) >= SYNCHRONOUS_FROM and fit.keys() == others
    if not (whole or quorum or accept_loss):
        return None
    enough = most if least is None else min(most, least)
    best = [name for name, each in fit.items() if each.received >= enough]
    return requested if requested in best or (accept_loss and requested in fit) else min(best)


def hand_over(members: ReplicaSet, name: str, *, ended: int | None = None) -> bool:
    """Make another member the primary in place of one that does not run.

    Returns False when `name` stays the primary. Must run in a thread: it has its own event loop.
    `ended` is the end of the primary's log after a clean shutdown.
    """
    with members.lock:
        if members.record().primary != name:
            return True
        return asyncio.run(_hand_over(members, name, ended))


async def _hand_over(members: ReplicaSet, name: str, ended: int | None) -> bool:
    begun = time.monotonic()
    others, record = members.others(name), members.record()
    seen = await observe_members(others)
    chosen = elect_primary(
        seen,
        frozenset(others),
        requested=record.requested_primary,
        least=ended,
        accept_loss=record.accept_loss,
    )
    plain = replace(record, requested_primary="", accept_loss=False)
    if chosen is None:
        if plain != record:
            members.keep(plain)
        return False
    fence_server(members.servers[name])
    members.keep(replace(plain, primary=chosen, switches=record.switches + 1))
    await promote_server(members.servers[chosen])
    say(f"{chosen} is now the primary (before: {name}); took {time.monotonic() - begun:.2f} s.")
    return True


async def observe_members(servers: Mapping[str, Postgres]) -> dict[str, MemberState]:
    """Query the members' state; those that do not answer in time are left out."""

    async def look(server: Postgres) -> MemberState | None:
        with contextlib.suppress(*NotYet):
            async with asyncio.timeout(_LOOK_WITHIN_S):
                async with open_session(server.url(postgres.SUPERUSER), within_s=1) as connection:
                    row = await connection.fetchrow(_LOOK)
            return MemberState(standby=row["standby"], received=row["received"])
        return None

    found = await asyncio.gather(*(look(server) for server in servers.values()))
    return {name: seen for name, seen in zip(servers, found, strict=True) if seen is not None}


async def promote_server(server: Postgres) -> None:
    """Promote a server, or finish its promotion. Raises OperatorError."""
    try:
        async with open_session(server.url(postgres.SUPERUSER)) as connection:
            if await connection.fetchval("select pg_is_in_recovery()"):
                done = await connection.fetchval("select pg_promote(true, $1)", _PROMOTE_WITHIN_S)
                if not done:
                    raise OperatorError(
                        f"{server.name} was not promoted within {_PROMOTE_WITHIN_S} s; see its log."
                    )
    except NotYet as error:
        raise OperatorError(f"{server.name} could not be promoted: {error}.") from None


def fence_server(server: Postgres) -> None:
    """Kill every process of a server: none may commit once its successor is the primary."""
    data = str(server.data.resolve())
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (entry / "cmdline").read_bytes()
            # The server's directory may have been removed while it runs.
            where = str((entry / "cwd").readlink()).removesuffix(" (deleted)")
            if b"postgres" in words and where == data:
                os.kill(int(entry.name), signal.SIGKILL)
