"""Succession: a supervisor ends or restarts while all other parts keep running."""

import asyncio
import os
import sys
from typing import NoReturn

from florin.ops.fleet import audit_log, operation_lock
from florin.ops.fleet.options import UpOptions
from florin.ops.fleet.orders import Order, Reply
from florin.ops.rollout.executor import FleetContext
from florin.ops.system import processes
from florin.ops.system.console import OperatorError, say
from florin.ops.system.processes import ProcessId

AGAIN = -1  # not an exit code: the caller calls `restart_supervisor`
HAND_OVER = "hand over"


def restart_supervisor(options: UpOptions) -> NoReturn:
    """Replace this process with a supervisor that runs the current code of the checkout."""
    environ = dict(options.environ) | {"FLORIN_ADOPT": "1"}
    if options.detached:
        environ["FLORIN_DETACHED"] = "1"
    # The path of the program: in orig_argv it may be a name that was found on the PATH.
    words = [sys.executable, *sys.orig_argv[1:]]
    os.execve(sys.executable, words, environ)  # noqa: S606 - the command line of this process


def leave_fleet(running: FleetContext, order: Order, left: asyncio.Future[int], code: int) -> Reply:
    """Make this process end, or restart with the current code; the other parts keep running.

    Refused during a change, so that no change is interrupted.
    """
    if order.verb == HAND_OVER and not is_waiting(order):
        raise OperatorError("The supervisor that asked to take over no longer runs.")
    holder = operation_lock.load_operation(running.home)
    if holder is not None:
        raise OperatorError(operation_lock.busy_message(holder))
    if code == AGAIN and not os.access(sys.executable, os.X_OK):
        raise OperatorError(
            f"The supervisor cannot restart: {sys.executable} no longer exists. Run florin up; its"
            " supervisor takes over."
        )
    audit_log.append_operation(running.home, order.who, order.what, "done")
    left.set_result(code)
    if code == AGAIN:
        said = "The supervisor is restarting."
        return Reply(said, done=True, document={"restarted": "supervisor"})
    say(
        f"Another supervisor takes over for {order.who} ({order.what}); all other parts keep"
        " running."
    )
    return Reply("The supervisor hands over.", done=True)


def is_waiting(order: Order) -> bool:
    """Return whether the supervisor that sent the order still runs: the order may be old."""
    return processes.is_alive(ProcessId(order.options["pid"], order.options["started"]))
