"""Audit sealing: the supervisor's task that seals the fleet's audit log and notes checkpoints."""

import asyncio

from florin.ops.fleet import audit_seals
from florin.ops.fleet.audit_log import audit_file
from florin.ops.fleet.home import Home

SEAL_EVERY_S = 1.0
NOTE_EVERY = 60  # times as rarely


def log_size(home: Home) -> int:
    """The bytes of the fleet's audit log; 0 if there is none."""
    try:
        return audit_file(home).stat().st_size
    except OSError:
        return 0


async def seal_audit(home: Home, database_url: str) -> None:
    """Seal new lines every second; note the last checkpoint of the merchants every minute."""
    passed, sealed = 0, -1
    while True:
        size = await asyncio.to_thread(log_size, home)
        if size != sealed:  # a log that did not change needs no reading
            await asyncio.to_thread(audit_seals.seal_operations, home)
            sealed = size
        if passed % NOTE_EVERY == 0:
            await audit_seals.note_checkpoint(home, database_url)
        passed += 1
        await asyncio.sleep(SEAL_EVERY_S)
