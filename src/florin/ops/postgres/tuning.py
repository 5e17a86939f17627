"""Tuning: PostgreSQL's settings for the machine's memory. Durability is never reduced."""

import os
from collections.abc import Mapping
from pathlib import Path

from florin.ops.system import account_files
from florin.ops.system.os_user import OsAccount
from florin.ops.system.quoting import postgres_value

# The pools of all parts together stay below this; `florin doctor` checks the sum. With a replica
# there is room for eleven instances; an unused connection costs about 50 KB of shared memory.
MAX_CONNECTIONS = 300
_MB = 2**20
_UNLIMITED = 2**60


def memory_bytes() -> int:
    """Return the memory in bytes of this machine, or of the container."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            limits.append(int(Path(path).read_text("ascii")))
        except (OSError, ValueError):
            continue
    return min(limit for limit in limits if limit < _UNLIMITED)


def tuned_settings(port: int, ram: int) -> dict[str, str]:
    """Return the settings for a port and the memory in bytes. Pure."""
    shared = max(128 * _MB, min(ram // 8, 4096 * _MB))
    return {
        "listen_addresses": "127.0.0.1",
        "port": str(port),
        "unix_socket_directories": "",
        "max_connections": str(MAX_CONNECTIONS),
        "password_encryption": "scram-sha-256",
        "shared_buffers": f"{shared // _MB}MB",
        "effective_cache_size": f"{max(256, ram // 2 // _MB)}MB",
        "random_page_cost": "1.1",
        "jit": "off",
        "fsync": "on",
        "synchronous_commit": "on",
        "full_page_writes": "on",
        # Ready for replicas without a restart of the primary.
        "wal_level": "replica",
        "max_wal_senders": "10",
        "max_replication_slots": "10",
        "max_wal_size": "4GB",
        "min_wal_size": "256MB",
        "wal_buffers": "16MB",
        "checkpoint_timeout": "15min",
        "checkpoint_completion_target": "0.9",
        "track_io_timing": "on",
        "log_destination": "stderr",
        "logging_collector": "off",
        "log_line_prefix": "%m [%p] %a ",
        "log_timezone": "UTC",
        "timezone": "UTC",
        "log_checkpoints": "on",
        "log_lock_waits": "on",
        "log_min_duration_statement": "2s",
        # Parameters may hold what must never be logged: hashes of codes, personal addresses.
        "log_parameter_max_length": "0",
        "log_parameter_max_length_on_error": "0",
    }


def write_tuned_settings(
    path: Path, port: int, account: OsAccount | None, more: Mapping[str, str]
) -> None:
    lines = ["# Written at every start by florin up; ALTER SYSTEM overrides it."]
    chosen = tuned_settings(port, memory_bytes()) | dict(more)
    lines += [f"{name} = {postgres_value(value)}" for name, value in chosen.items()]
    content = ("\n".join(lines) + "\n").encode(errors="surrogateescape")
    account_files.write_account_file(path, content, account)
