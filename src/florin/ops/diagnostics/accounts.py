"""Accounts: the user of each part; only the supervisor may run as root."""

import pwd

from florin.ops.diagnostics.finding import Finding
from florin.ops.fleet.model import Fleet
from florin.ops.system import processes


def check_accounts(fleet: Fleet) -> list[Finding]:
    """Return the findings; none on systems that do not report the user of a process."""
    found: dict[str, list[str]] = {}
    for part in fleet.parts:
        uid = None if part.pid is None else processes.process_user(part.pid)
        if uid is not None and part.role != "supervisor":
            found.setdefault(_name(uid), []).append(part.name)
    if not found:
        return []
    if roots := found.get(_name(0)):
        said = f"{', '.join(roots)} run as root; run florin up: it restarts them as other users"
        return [Finding("fleet", "accounts", "fail", said)]
    said = "; ".join(f"{name}: {', '.join(parts)}" for name, parts in found.items())
    return [Finding("fleet", "accounts", "ok", said)]


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
