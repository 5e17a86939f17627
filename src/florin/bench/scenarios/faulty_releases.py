"""Faulty releases: copies of this code with one fault each, to check that a deploy detects
them.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

import florin


@dataclass(frozen=True, slots=True)
class Fault:
    """Lines added to the end of a file; `says` is the expected reason of the rollback.

    `sql`: texts that are replaced as well, each as (file, old, new).
    """

    module: str
    lines: str
    says: str
    sql: tuple[tuple[str, str, str], ...] = ()


FAULTS = {
    "good": Fault("__init__.py", "# Another release.\n", ""),
    "does not fit": Fault("__init__.py", "# It is deployed onto a full disk.\n", "No space left"),
    "does not start": Fault("app.py", 'raise RuntimeError("this release is broken")\n', "ended"),
    "takes one cent more and does not start": Fault(
        "app.py",
        'raise RuntimeError("this release is broken")\n',
        "ended",
        sql=(
            (
                "ledger/post.sql",
                "c_balance[c] := c_balance[c] + back;",
                "c_balance[c] := c_balance[c] + back - 1;",
            ),
            (
                "migrations/grants.sql",
                "grant insert on merchant, member, api_key, program, session,",
                "grant insert on merchant, member, api_key, program,",
            ),
        ),
    ),
    "is never ready": Fault(
        "kit/server/health.py", "HealthMonitor.ready = lambda self: 503\n", "did not serve within"
    ),
    "dies soon": Fault(
        "kit/server/health.py",
        # Counted from when it is ready, however long its start takes.
        "import os, threading\n_ready = HealthMonitor.ready\n"
        "_end = threading.Timer(2, os._exit, [3])\n\n\n"
        "def _ready_and_ending(self):\n    status = _ready(self)\n"
        "    if status == 200 and _end.ident is None:\n        _end.start()\n"
        "    return status\n\n\n"
        "HealthMonitor.ready = _ready_and_ending\n",
        "soon after",
    ),
    "answers 500": Fault(
        "cards/api/fast_routes.py",
        "async def _broken(*_arguments):\n    raise RuntimeError\n\n\n"
        "FastRoutes.look_up = _broken\n",
        "requests failed",
    ),
    # Of the amounts that a check of one card would use none is odd: only a load finds it.
    "takes a cent": Fault(
        "cards/transactions/operations.py",
        "_exact = TransactionOperations.redeem\n\n\nasync def _greedy(self, context, request):\n"
        "    if request.amount % 2 == 0:\n        return await _exact(self, context, request)\n"
        "    more = msgspec.structs.replace(request, amount=request.amount + 1)\n"
        "    made, posted = await _exact(self, context, more)\n"
        "    said = {'amount': made.amount - 1, 'balance': made.balance + 1}\n"
        "    return msgspec.structs.replace(made, **said), posted\n\n\n"
        "TransactionOperations.redeem = _greedy\n",
        "the ledger differs from the client's log",
    ),
    "takes twice as much": Fault(
        "cards/transactions/operations.py",
        "_exact = TransactionOperations.redeem\n\n\nasync def _greedy(self, context, request):\n"
        "    more = msgspec.structs.replace(request, amount=request.amount * 2)\n"
        "    return await _exact(self, context, more)\n\n\n"
        "TransactionOperations.redeem = _greedy\n",
        "did not pass its check",
    ),
    "answers 500 to a fifth": Fault(
        "cards/api/fast_routes.py",
        "import itertools\n_turns = itertools.count()\n_right = FastRoutes.look_up\n\n\n"
        "async def _broken(self, *arguments):\n    if next(_turns) % 5 == 0:\n"
        "        raise RuntimeError\n    await _right(self, *arguments)\n\n\n"
        "FastRoutes.look_up = _broken\n",
        "requests failed",
    ),
    # Its pools, after more loans than its check needs, however long that takes; its health check
    # has a connection of its own.
    "loses its database": Fault(
        "kit/postgres/pool.py",
        "import itertools\n_loans = itertools.count()\n_lend = Pool._borrow\n\n\n"
        "async def _lost(self):\n    if next(_loans) > 300:\n"
        "        raise PoolTimeout\n    return await _lend(self)\n\n\nPool._borrow = _lost\n",
        "",
    ),
    "migration waits": Fault(
        "migrations/9001_expand_waits.sql",
        "alter table card add column bench_waits integer;\n",
        "",
    ),
    "migration fails": Fault(
        "migrations/9002_expand_fails.sql",
        "create table bench_half (id integer);\nselect 1 / 0;\n",
        "division by zero",
    ),
    "is slow": Fault(
        "cards/api/fast_routes.py",
        "_quick = FastRoutes.look_up\n\n\nasync def _slow(self, *arguments):\n"
        "    import asyncio\n\n    await asyncio.sleep(1)\n    await _quick(self, *arguments)\n\n\n"
        "FastRoutes.look_up = _slow\n",
        "a request takes",
    ),
}


def make_faulty_release(into: Path, name: str) -> Path:
    """Write the faulty release below the directory and return its path."""
    fault, root = FAULTS[name], into / name.replace(" ", "-")
    package = root / "src" / "florin"
    leave = shutil.ignore_patterns("__pycache__")
    shutil.copytree(Path(florin.__file__).parent, package, ignore=leave)
    target = package / fault.module
    if target.suffix == ".py" and not target.is_file():  # a fault that nothing would import
        raise FileNotFoundError(f"{fault.module} is no module of Florin any more.")
    with target.open("a", encoding="utf-8") as file:
        file.write(fault.lines if fault.module.endswith(".sql") else f"\n\n{fault.lines}")
    for place, old, new in fault.sql:
        text = (package / place).read_text("utf-8")
        if old not in text:
            raise ValueError(f"{place} no longer has: {old}")
        (package / place).write_text(text.replace(old, new), "utf-8")
    return root
