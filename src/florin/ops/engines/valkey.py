"""Valkey: the shared memory that a fleet brings along. All in it can be rebuilt."""

import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from florin.ops import probe
from florin.ops.engines import account, tuning, wheels
from florin.ops.home import write
from florin.ops.launch import Account, Launch
from florin.ops.secrets import Secrets
from florin.ops.wanted import Wanted

NAME = "valkey-1"
_SECRET = "VALKEY_PASSWORD"  # noqa: S105 - its name
_MB = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Valkey:
    """One embedded server: its program, its directory, its port."""

    program: Path
    folder: Path
    port: int
    account: Account | None
    secrets: Secrets

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return url_of(self.address, self.secrets)

    def wanted(self) -> Wanted:
        return Wanted(
            name=NAME,
            role="valkey-primary",
            address=self.address,
            release=self.version(),
            launch=Launch(
                name=NAME,
                argv=(str(self.program), str(self.folder / "valkey.conf")),
                environ={"PATH": os.defpath, "HOME": "/", "LC_ALL": "C", "TZ": "UTC"},
                account=self.account,
            ),
            ready=self.ready,
            ready_within_s=15,
            prepare=self.prepare,
        )

    def version(self) -> str:
        said = account.run_as(self.account, [str(self.program), "--version"]).stdout.split()
        found = [word.removeprefix("v=") for word in said if word.startswith("v=")]
        return f"Valkey {found[0]}" if found else "Valkey"

    async def ready(self) -> bool:
        return await probe.ping_valkey(self.address, self.secrets[_SECRET])

    def prepare(self) -> None:
        account.private(self.folder, self.account)
        path = self.folder / "valkey.conf"
        write(path, self._settings().encode())
        if self.account is not None:
            os.chown(path, self.account.uid, self.account.gid)

    def _settings(self) -> str:
        folder = str(self.folder).replace("\\", "\\\\").replace('"', '\\"')
        limit = max(64, min(512, tuning.memory() // 16 // _MB))
        return f"""\
# Written at every start by florin up.
bind 127.0.0.1
port {self.port}
requirepass {self.secrets[_SECRET]}
dir "{folder}"
daemonize no
logfile ""
set-proc-title no
# Nothing here is the only copy: neither a snapshot nor a log of it is kept.
save ""
appendonly no
# When full, what was used least goes. Losing a counter or a cached answer costs speed; a refused
# write would cost a request.
maxmemory {limit}mb
maxmemory-policy allkeys-lru
maxclients 2000
tcp-keepalive 60
"""


def url_of(address: str, secrets: Secrets) -> str:
    return f"redis://:{quote(secrets[_SECRET], safe='')}@{address}/0"


def embedded(place: Path, port: int, secrets: Secrets, user: Account | None) -> Valkey:
    return Valkey(
        program=wheels.program(wheels.VALKEY, user),
        folder=place / "valkey",
        port=port,
        account=user,
        secrets=secrets,
    )
