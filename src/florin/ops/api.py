"""API: one instance of the application as a part of the fleet."""

from dataclasses import dataclass
from hashlib import sha256

from florin.ops import ports, probe
from florin.ops.launch import Launch
from florin.ops.options import Options
from florin.ops.tell import Unable
from florin.ops.wanted import Wanted

NAME = "api-1"
_WIRES = ("DATABASE_URL", "REDIS_URL", "FLORIN_HOST", "FLORIN_PORT")
_READY = 200
_LOCAL = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104 - where to reach it, not to bind


@dataclass(frozen=True, slots=True, kw_only=True)
class Api:
    """One instance: what it is told by its environment, and where it answers."""

    options: Options
    environ: dict[str, str]
    release: str

    @property
    def address(self) -> str:
        host = self.options.host
        return f"{_LOCAL.get(host, f'[{host}]' if ':' in host else host)}:{self.options.port}"

    def wanted(self) -> Wanted:
        own = {
            "FLORIN_HOST": self.options.host,
            "FLORIN_PORT": str(self.options.port),
            "FLORIN_INSTANCE": NAME,
        }
        environ = self.environ | own
        # The owner of the ledger is for migrations; whoever serves requests never holds it.
        for name in ("DATABASE_URL_OWNER", "DATABASE_URL_OWNER_FILE"):
            environ.pop(name, None)
        wires = "\n".join(environ.get(name, "") for name in _WIRES)
        return Wanted(
            name=NAME,
            role="api",
            address=self.address,
            release=self.release,
            launch=Launch(name=NAME, argv=self.options.commands.api, environ=environ),
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
        require_port(self.options)


def require_port(options: Options) -> None:
    port = options.port
    if not ports.is_free(port, options.host):
        raise Unable(
            f"Port {port} is taken by {ports.holder(port)}; stop it, or choose another:"
            f" florin up --port {ports.free_port(port + 1)}."
        )
