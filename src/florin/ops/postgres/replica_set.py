"""Replica set: the PostgreSQL servers of one machine, the record of the primary, their settings.

Every member has the settings of both roles: as a replica it knows the addresses of all others and
follows the one that accepts writes; as the primary it waits for any one of the others to confirm a
commit. So a change of primary changes no settings. The name of the primary is recorded in a file of
the home before the promotion: after a kill in between, the next process finds there what to finish.
"""

import threading
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec

from florin.ops.fleet.home import Home, write_file
from florin.ops.postgres import server as postgres
from florin.ops.postgres import wal_archive
from florin.ops.postgres.server import Postgres

SYNCHRONOUS_FROM = 2  # replicas; with one, a commit would block for as long as it is away


@dataclass(frozen=True, slots=True, kw_only=True)
class PrimaryRecord:
    """The name of the primary; `requested_primary` is the successor requested by an operator."""

    primary: str = postgres.NAME
    requested_primary: str = ""
    accept_loss: bool = False
    switches: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaSet:
    """The servers by name; a new database is created on the first one."""

    home: Home
    servers: dict[str, Postgres]
    lock: threading.Lock = field(default_factory=threading.Lock)  # one change of primary at a time
    rebuild: set[str] = field(default_factory=set[str])  # replicas to be copied again

    @property
    def synchronous(self) -> bool:
        return len(self.servers) > SYNCHRONOUS_FROM

    def record(self) -> PrimaryRecord:
        return recorded_primary(self.home)

    def keep(self, record: PrimaryRecord) -> None:
        write_file(_path(self.home), msgspec.json.encode(record))

    def request_primary(self, name: str, *, accept_loss: bool) -> None:
        self.keep(replace(self.record(), requested_primary=name, accept_loss=accept_loss))

    def others(self, name: str) -> dict[str, Postgres]:
        return {each: server for each, server in self.servers.items() if each != name}

    def primary(self) -> Postgres:
        return self.servers[self.record().primary]

    def url(self, role: str) -> str:
        """Return a URL that names all members and connects to the current primary."""
        addresses = ",".join(server.address for server in self.servers.values())
        first = next(iter(self.servers.values()))
        fits = "?target_session_attrs=read-write" if len(self.servers) > 1 else ""
        return f"{postgres.postgres_url(addresses, role, first.secrets)}{fits}"

    def replica_urls(self) -> str:
        """Return the URLs of all members; a client does not read from the current primary as from
        a replica.
        """
        urls = [server.url(postgres.APP) for server in self.servers.values()]
        return ",".join(urls) if len(urls) > 1 else ""

    def settings(self, name: str) -> dict[str, str]:
        """Return the settings of a member in addition to those of every server."""
        others = self.others(name)
        if not others:
            return {}
        hosts = ",".join("127.0.0.1" for _ in others)
        ports = ",".join(str(server.port) for server in others.values())
        secret = self.servers[name].secrets["REPLICA_PASSWORD"]
        settings = {
            "hot_standby": "on",
            "hot_standby_feedback": "on",
            "max_standby_streaming_delay": "5s",
            "wal_log_hints": "on",
            "wal_keep_size": "512MB",
            "wal_sender_timeout": "5s",
            "wal_receiver_timeout": "5s",
            "wal_receiver_status_interval": "1s",
            "wal_retrieve_retry_interval": "100ms",
            "recovery_target_timeline": "latest",
            "primary_conninfo": f"host={hosts} port={ports} user={postgres.REPLICA}"
            f" password={secret} application_name={name} target_session_attrs=read-write"
            " connect_timeout=3 sslmode=disable",
        }
        if self.synchronous:
            names = ", ".join(f'"{each}"' for each in others)
            settings["synchronous_standby_names"] = f"ANY 1 ({names})"
        return settings


def arrange_members(home: Home, servers: dict[str, Postgres], place: Path) -> ReplicaSet:
    """Return the replica set, each server configured with the addresses of the others."""
    members = ReplicaSet(home=home, servers=servers)
    for name, server in list(servers.items()):
        more = members.settings(name) | wal_archive.archive_settings(place)
        servers[name] = replace(server, more=more)
    return members


def member_names(replicas: int, primary: str = postgres.NAME) -> tuple[str, ...]:
    """Return the names of `replicas` replicas and the primary, which always stays."""
    others = (f"postgres-{number}" for number in range(1, replicas + 2))
    kept = [name for name in others if name != primary][:replicas]
    return tuple(sorted((primary, *kept), key=lambda name: int(name.rpartition("-")[2])))


def recorded_primary(home: Home) -> PrimaryRecord:
    """Return the recorded primary; the first server if nothing is recorded."""
    try:
        return msgspec.json.decode(_path(home).read_bytes(), type=PrimaryRecord)
    except (OSError, msgspec.DecodeError):
        return PrimaryRecord()


def _path(home: Home) -> Path:
    return home.path / "postgres.json"
