"""App process: what instances and workers have in common, as against the engines of others."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256

from florin.kit.settings import InvalidSettings, read_variable, variable_names
from florin.ops.fleet.home import Home
from florin.ops.fleet.model import Role
from florin.ops.planning.rollout import ReleaseMark
from florin.ops.releases import store
from florin.ops.supervisor.launch import Launch
from florin.ops.supervisor.part_spec import PartSpec
from florin.ops.system import http_probe, ports, python_runtime
from florin.ops.system.console import OperatorError
from florin.ops.system.os_user import OsAccount

HOST = "127.0.0.1"  # only the balancer reaches an instance, only this machine its metrics
_OWNER = ("DATABASE_URL_OWNER", "DATABASE_URL_OWNER_FILE")
# Of the user who started us.
_OURS = ("HOME", "USER", "LOGNAME", "MAIL", "TMPDIR", "TEMP", "TMP", "XDG_RUNTIME_DIR")
_OK = 200
OWN = "own"  # they start beside each other


@dataclass(frozen=True, slots=True, kw_only=True)
class AppProcess:
    """One process of Florin: what it is started from, what it is told, and where it answers."""

    home: Home
    command: tuple[str, ...]
    environ: Mapping[str, str]
    name: str
    port: int
    operations_port: int
    mark: ReleaseMark
    account: OsAccount | None = None  # who it runs as; None: as we do

    @property
    def address(self) -> str:
        return f"{HOST}:{self.port}"

    @property
    def operations(self) -> str:
        return f"{HOST}:{self.operations_port}"

    def part(
        self,
        role: Role,
        told: Mapping[str, str],
        *,
        wires: Iterable[str],
        ready: str,
        unless: Mapping[str, str] | None = None,
        alive: Callable[[], Awaitable[bool]] | None = None,
    ) -> PartSpec:
        """It as a part of the fleet. It serves when the path `ready` answers 200. `told` overrides
        the environment, which overrides `unless`; another value of one of `wires` starts it anew.
        """
        environ = dict(unless or {}) | dict(self.environ)
        # The owner of the ledger is for migrations; whoever serves or works never holds it.
        for name in _OWNER:
            environ.pop(name, None)
        environ |= store.release_environ(self.home, self.mark.release)
        environ |= {"FLORIN_HOST": HOST, "FLORIN_INSTANCE": self.name, **told}
        environ |= {
            "FLORIN_OPERATIONS_HOST": HOST,
            "FLORIN_OPERATIONS_PORT": str(self.operations_port),
        }
        runtime = python_runtime.of(self.account)
        if self.account is not None:
            environ = _for_account(environ) | runtime.environ(environ)
        wiring = "\n".join(environ.get(name, "") for name in wires)
        if self.account is not None:  # one that was started as root is replaced
            wiring += f"\naccount {self.account.uid}"

        def prepare() -> None:
            runtime.ensure()
            self.prepare()

        async def serves() -> bool:
            answer = await http_probe.probe(self.address, ready)
            return answer is not None and answer.status == _OK

        return PartSpec(
            name=self.name,
            role=role,
            address=self.address,
            operations=self.operations,
            release=self.mark.release,
            generation=self.mark.generation,
            launch=Launch(
                name=self.name,
                argv=runtime.argv(self.command),
                environ=environ,
                account=self.account,
            ),
            ready=serves,
            ready_within_s=30,
            alive=alive,
            wiring=sha256(wiring.encode()).hexdigest()[:12],
            prepare=prepare,
            together=OWN,
        )

    def prepare(self) -> None:
        for port in {self.port, self.operations_port}:
            if not ports.is_free_port(port, HOST):
                raise OperatorError(
                    f"Port {port} of {self.name} is taken by {ports.port_holder(port)}; stop it."
                )


def _for_account(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a process that is not ours any more.

    Files that hold secrets are ours: what is in them is passed on. So are our directories.
    """
    passed = {name: value for name, value in environ.items() if name not in _OURS}
    for name in variable_names():
        if environ.get(f"{name}_FILE"):
            try:
                value = read_variable(name, environ)
            except InvalidSettings as error:
                raise OperatorError(str(error)) from None
            passed |= {name: value or ""}
            del passed[f"{name}_FILE"]
    return passed | {"HOME": "/"}
