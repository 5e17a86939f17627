"""App process: what instances and workers have in common; engines are different."""

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

HOST = "127.0.0.1"  # only the balancer connects to an instance; metrics stay on this machine
_OWNER = ("DATABASE_URL_OWNER", "DATABASE_URL_OWNER_FILE")
# Variables of the user who started the supervisor.
_USER_VARIABLES = ("HOME", "USER", "LOGNAME", "MAIL", "TMPDIR", "TEMP", "TMP", "XDG_RUNTIME_DIR")
_OK = 200
OWN = "own"  # instances and workers start at the same time


@dataclass(frozen=True, slots=True, kw_only=True)
class AppProcess:
    """One process of Florin: its command, its environment and its addresses."""

    home: Home
    command: tuple[str, ...]
    environ: Mapping[str, str]
    name: str
    port: int
    operations_port: int
    mark: ReleaseMark
    account: OsAccount | None = None  # the user it runs as; None: the supervisor's user

    @property
    def address(self) -> str:
        return f"{HOST}:{self.port}"

    @property
    def operations(self) -> str:
        return f"{HOST}:{self.operations_port}"

    def part(
        self,
        role: Role,
        environ: Mapping[str, str],
        *,
        wires: Iterable[str],
        ready: str,
        defaults: Mapping[str, str] | None = None,
        alive: Callable[[], Awaitable[bool]] | None = None,
    ) -> PartSpec:
        """Return the process as a part of the fleet. It serves when the path `ready` answers 200.

        `environ` overrides the fleet's environment, which overrides `defaults`. A new value of one
        of the variables `wires` replaces a running process.
        """
        merged = dict(defaults or {}) | dict(self.environ)
        # The ledger's owner role is for migrations; instances and workers never get it.
        for name in _OWNER:
            merged.pop(name, None)
        merged |= store.release_environ(self.home, self.mark.release)
        merged |= {"FLORIN_HOST": HOST, "FLORIN_INSTANCE": self.name, **environ}
        merged |= {
            "FLORIN_OPERATIONS_HOST": HOST,
            "FLORIN_OPERATIONS_PORT": str(self.operations_port),
        }
        runtime = python_runtime.account_runtime(self.account)
        if self.account is not None:
            merged = _for_account(merged) | runtime.environ(merged)
        wiring = "\n".join(merged.get(name, "") for name in wires)
        if self.account is not None:  # a process that was started as root is replaced
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
                environ=merged,
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
                    f"Port {port} of {self.name} is in use by {ports.port_holder(port)}; stop that"
                    " process."
                )


def _for_account(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a process that runs as another user.

    That user can read neither the files with secrets, whose contents are passed instead, nor the
    directories of the supervisor's user, which are left out.
    """
    passed = {name: value for name, value in environ.items() if name not in _USER_VARIABLES}
    for name in variable_names():
        if environ.get(f"{name}_FILE"):
            try:
                value = read_variable(name, environ)
            except InvalidSettings as error:
                raise OperatorError(str(error)) from None
            passed |= {name: value or ""}
            del passed[f"{name}_FILE"]
    return passed | {"HOME": "/"}
