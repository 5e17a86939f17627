"""Lost peers: how the two ends of a connection find out that the other machine is gone.

A machine that loses its power or its network says nothing. Without these limits the server keeps
its session, with the locks of its transaction, for two hours, and a client waits a quarter of an
hour for an answer to what it sent: those are the defaults of Linux (tcp(7)). A machine that lives
answers a probe even when its process hangs, so what waits is not ended; a process that does not
read what was sent to it for UNACKNOWLEDGED_MS is.
"""

import socket
import sys
from typing import Any

PROBE_AFTER_S = 5  # of silence
PROBE_EVERY_S = 2
PROBES = 3  # without an answer
UNACKNOWLEDGED_MS = 10_000  # what was sent, and that no one received

# Of a session: how the server finds that its client is gone. Over a Unix socket they do nothing.
SERVER_SETTINGS = {
    "tcp_keepalives_idle": str(PROBE_AFTER_S),
    "tcp_keepalives_interval": str(PROBE_EVERY_S),
    "tcp_keepalives_count": str(PROBES),
    "tcp_user_timeout": str(UNACKNOWLEDGED_MS),
}


def probe_server(connection: Any) -> None:
    """Have the kernel end a connection of asyncpg whose server is gone."""
    # asyncpg has no option for it, and no public name of its transport.
    found = connection._transport.get_extra_info("socket")  # noqa: SLF001
    if found is None or found.family not in {socket.AF_INET, socket.AF_INET6}:
        return
    found.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if sys.platform != "linux":  # elsewhere the kernel's own times stay
        return
    for option, value in (
        (socket.TCP_KEEPIDLE, PROBE_AFTER_S),
        (socket.TCP_KEEPINTVL, PROBE_EVERY_S),
        (socket.TCP_KEEPCNT, PROBES),
        (socket.TCP_USER_TIMEOUT, UNACKNOWLEDGED_MS),
    ):
        found.setsockopt(socket.IPPROTO_TCP, option, value)
