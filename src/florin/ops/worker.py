"""Worker: one process that runs jobs, as a part of the fleet."""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256

from florin.ops import ports, probe, snapshot
from florin.ops.home import Home
from florin.ops.launch import Launch
from florin.ops.rolling import Mark
from florin.ops.tell import Unable
from florin.ops.wanted import Wanted

HOST = "127.0.0.1"  # it only tells its metrics there
SLOTS = 5  # jobs at once
_WIRES = ("DATABASE_URL", "REDIS_URL", "FLORIN_WORKER_PORT")
_OK = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """One worker: what it is started from, what it is told, and where it tells its metrics."""

    home: Home
    command: tuple[str, ...]
    environ: Mapping[str, str]
    name: str
    port: int
    mark: Mark

    @property
    def address(self) -> str:
        return f"{HOST}:{self.port}"

    def wanted(self) -> Wanted:
        environ = dict(self.environ)
        for name in ("DATABASE_URL_OWNER", "DATABASE_URL_OWNER_FILE"):
            environ.pop(name, None)
        environ |= snapshot.environ(self.home, self.mark.release)
        environ |= {"FLORIN_HOST": HOST, "FLORIN_WORKER_PORT": str(self.port)}
        environ |= {"FLORIN_INSTANCE": self.name}
        wires = "\n".join(environ.get(name, "") for name in _WIRES)
        return Wanted(
            name=self.name,
            role="worker",
            address=self.address,
            release=self.mark.release,
            generation=self.mark.generation,
            launch=Launch(name=self.name, argv=self.command, environ=environ),
            ready=self.ready,
            ready_within_s=30,
            wiring=sha256(wires.encode()).hexdigest()[:12],
            prepare=self.prepare,
        )

    async def ready(self) -> bool:
        answer = await probe.get(self.address, "/metrics")
        return answer is not None and answer.status == _OK

    def prepare(self) -> None:
        if not ports.is_free(self.port, HOST):
            raise Unable(
                f"Port {self.port} of {self.name} is taken by {ports.holder(self.port)}; stop it."
            )
