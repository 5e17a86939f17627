"""Server: the embedded Valkey server. All its data can be rebuilt."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from florin.ops.fleet.secrets import Secrets
from florin.ops.postgres import tuning
from florin.ops.supervisor.launch import Launch
from florin.ops.supervisor.part_spec import PartSpec
from florin.ops.system import account_files, bundled_programs, os_user
from florin.ops.system.os_user import OsAccount
from florin.ops.system.quoting import valkey_word
from florin.ops.valkey import client as ask
from florin.ops.valkey import users

NAME = "valkey-1"
_MB = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class ValkeyServer:
    """One embedded server: its program, its directory, its port."""

    program: Path
    version: str
    folder: Path
    port: int
    account: OsAccount | None
    secrets: Secrets
    name: str = NAME
    shares: int = 1  # the number of servers that share the memory for Valkey

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def wanted(self) -> PartSpec:
        return PartSpec(
            name=self.name,
            role="valkey-primary",
            address=self.address,
            release=self.version,
            launch=Launch(
                name=self.name,
                argv=(str(self.program), str(self.folder / "valkey.conf")),
                environ={"PATH": os.defpath, "HOME": "/", "LC_ALL": "C", "TZ": "UTC"},
                account=self.account,
            ),
            ready=self.ready,
            ready_within_s=15,
            alive=self.ready,
            wiring=users.wiring(),
            prepare=self.prepare,
            together="valkey",
        )

    async def ready(self) -> bool:
        return await ask.is_answering(self.address, self.secrets[users.OPERATOR_SECRET])

    def prepare(self, more: Mapping[str, str | int] | None = None) -> None:
        """Write the server's settings; `more` has those of its topology."""
        os_user.make_private_dir(self.folder, self.account)
        # A snapshot that a replica once received: the server would load it, although it is old.
        account_files.remove_account_files(self.folder / "dump.rdb", self.account)
        lines = [f"{name} {value}\n" for name, value in (more or {}).items()]
        settings = self._settings() + "".join(lines)
        account_files.write_account_file(
            self.folder / "valkey.conf", settings.encode(errors="surrogateescape"), self.account
        )

    def _settings(self) -> str:
        limit = max(64, min(512, tuning.memory_bytes() // 16 // _MB) // self.shares)
        return f"""\
# Written at every start by florin up.
{common_settings(self.port, self.folder, self.secrets)}\
# No data here is the only copy, so there is neither a snapshot nor an append-only file.
save ""
appendonly no
# When full, the least recently used keys are evicted. Losing a counter or a cached answer costs
# speed; a refused write would cost a request.
maxmemory {limit}mb
maxmemory-policy allkeys-lru
maxclients 2000
tcp-keepalive 60
"""


def common_settings(port: int, folder: Path, secrets: Secrets, rights: str = users.RIGHTS) -> str:
    """Return the settings that servers and Sentinels have in common."""
    return f"""\
bind 127.0.0.1
port {port}
{users.settings(secrets, rights)}\
dir {valkey_word(folder)}
daemonize no
logfile ""
set-proc-title no
"""


def url_user(password: str) -> str:
    """Return the part of a URL before the `@`."""
    return f":{quote(password, safe='')}"


def embedded_valkey(
    folder: Path, port: int, secrets: Secrets, user: OsAccount | None
) -> ValkeyServer:
    """Return the first or only server; others are derived from it."""
    program = bundled_programs.engine_program(bundled_programs.VALKEY, user)
    said = os_user.run_as(user, [str(program), "--version"]).stdout.split()
    found = [word.removeprefix("v=") for word in said if word.startswith("v=")]
    return ValkeyServer(
        program=program,
        version=f"Valkey {found[0]}" if found else "Valkey",
        folder=folder,
        port=port,
        account=user,
        secrets=secrets,
    )
