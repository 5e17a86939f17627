"""API: one instance of the application as a part of the fleet."""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256

from florin.ops import ports, probe, snapshot
from florin.ops.home import Home
from florin.ops.launch import Launch
from florin.ops.rolling import Mark
from florin.ops.tell import Unable
from florin.ops.timing import DEFAULT
from florin.ops.wanted import Wanted

HOST = "127.0.0.1"  # only the balancer reaches an instance
_WIRES = ("DATABASE_URL", "DATABASE_URL_REPLICA", "REDIS_URL", "FLORIN_HOST", "FLORIN_PORT")
_READY = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Api:
    """One instance: what it is started from, what it is told, and where it answers."""

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
        # The owner of the ledger is for migrations; whoever serves requests never holds it.
        for name in ("DATABASE_URL_OWNER", "DATABASE_URL_OWNER_FILE"):
            environ.pop(name, None)
        environ = DEFAULT.environ() | environ | snapshot.environ(self.home, self.mark.release)
        # Whose X-Forwarded-For is believed: the balancer's, which looked after whom to believe.
        environ |= {"FLORIN_TRUSTED_PROXIES": f"{HOST}/32"}
        environ |= {"FLORIN_HOST": HOST, "FLORIN_PORT": str(self.port)}
        environ |= {"FLORIN_INSTANCE": self.name}
        wires = "\n".join(environ.get(name, "") for name in _WIRES)
        return Wanted(
            name=self.name,
            role="api",
            address=self.address,
            release=self.mark.release,
            generation=self.mark.generation,
            launch=Launch(name=self.name, argv=self.command, environ=environ),
            ready=self.ready,
            ready_within_s=30,
            alive=self.alive,
            wiring=sha256(wires.encode()).hexdigest()[:12],
            prepare=self.prepare,
        )

    async def ready(self) -> bool:
        answer = await probe.get(self.address, "/health/ready")
        return answer is not None and answer.status == _READY

    async def alive(self) -> bool:
        return await probe.get(self.address, "/health/live", within_s=3) is not None

    def prepare(self) -> None:
        if not ports.is_free(self.port, HOST):
            raise Unable(
                f"Port {self.port} of {self.name} is taken by {ports.holder(self.port)}; stop it."
            )
