"""Compose project: the containers of `deploy/compose.yaml`, and what answers in its networks."""

import csv
import importlib.resources
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from florin.ops.containers.engine import DockerCommand
from florin.ops.containers.release_file import COLOURS, OWN
from florin.ops.fleet.desired_state import Colour
from florin.ops.haproxy.discovery import COLOUR_KEY, COLOUR_MAP, CONTROL
from florin.ops.planning.rollout import ReleaseMark
from florin.ops.system.console import OperatorError

_START_WITHIN_S = 300.0
_API_PORT, _OPERATIONS_PORT = 8000, 9000
_STOP_WITHIN_S = 120.0
TLS_OVERRIDE = "compose.tls.yaml"


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiContainer:
    """One container of an instance. `name` is its colour and number, such as api-blue-3."""

    id: str
    name: str
    colour: Colour
    mark: ReleaseMark
    running: bool
    restarts: int
    host: str  # its address in the inner network; empty when it does not run

    @property
    def address(self) -> str:
        return f"{self.host}:{_API_PORT}"

    @property
    def metrics_url(self) -> str:
        return f"http://{self.host}:{_OPERATIONS_PORT}/metrics"

    @property
    def number(self) -> int:
        return int(self.name.rpartition("-")[2])


class ComposeProject:
    """One project. `files` are those of COMPOSE_FILE, else deploy/compose.yaml of the checkout."""

    def __init__(self, files: Sequence[Path]) -> None:
        self.files = tuple(files)
        self.folder = self.files[0].parent
        self._docker = DockerCommand(cwd=self.folder, without=OWN)
        source = importlib.resources.files("florin.ops.containers") / "relay.py"
        self._relay = source.read_text("utf-8")
        self._balancer: str | None = None

    @property
    def tls(self) -> bool:
        """Whether the balancer ends TLS itself, as the override for that says."""
        return any(file.name == TLS_OVERRIDE for file in self.files)

    def command(self, *words: str) -> tuple[str, ...]:
        """Return the words of a `docker compose` command for this project."""
        files = [word for file in self.files for word in ("--file", str(file))]
        return ("compose", *files, *words)

    def variables(self) -> dict[str, str]:
        """Return the environment of such a command."""
        return self._docker.variables()

    async def run(
        self, *words: str, environ: Mapping[str, str] | None = None, within_s: float = 120.0
    ) -> str:
        """Run a `docker compose` command. Raises OperatorError."""
        docker = self._docker
        if environ:
            docker = DockerCommand(cwd=self.folder, environ=environ, without=OWN)
        return await docker.run(self.command(*words), within_s=within_s)

    async def containers(self) -> list[ApiContainer]:
        """Return the instances of both colours, also those that do not run."""
        details: list[ApiContainer] = []
        for colour in COLOURS:
            ids = (await self.run("ps", "--all", "--quiet", compose_name(colour))).split()
            details += [_container(colour, one) for one in await self._inspect(ids)]
        return sorted(details, key=lambda one: (one.colour, one.number))

    async def _inspect(self, ids: Sequence[str]) -> list[Any]:
        if not ids:
            return []
        text = await self._docker.run(["inspect", "--type", "container", *ids])
        return msgspec.json.decode(text)

    async def start(self, colour: Colour, count: int) -> None:
        """Bring a colour to `count` containers; those that exist stay as they are."""
        words = ("up", "--detach", "--no-deps", "--no-recreate", "--no-build")
        scale = ("--scale", f"{compose_name(colour)}={count}", compose_name(colour))
        await self.run(*words, *scale, within_s=_START_WITHIN_S)

    async def stop(self, containers: Sequence[ApiContainer]) -> None:
        """End instances as their grace period allows: each drains and finishes its requests."""
        ids = [one.id for one in containers]
        if ids:
            await self._docker.run(["stop", *ids], within_s=_STOP_WITHIN_S)

    async def remove(self, containers: Sequence[ApiContainer]) -> None:
        ids = [one.id for one in containers]
        if ids:
            await self._docker.run(["rm", "--force", *ids])

    async def last_words(self, container: ApiContainer) -> str:
        """Return the end of a container's log."""
        text = await self._docker.run(["logs", "--tail", "3", container.id], both=True)
        return text.strip().splitlines()[-1] if text.strip() else "it logged nothing"

    async def get(self, urls: Sequence[str]) -> list[tuple[int, str]]:
        """Return status and text of each URL, asked inside the networks; status 0: no answer."""
        answers = await self._ask([{"get": url} for url in urls])
        return [(int(status), str(text)) for status, text in answers]

    async def balancer_servers(self, colour: Colour) -> dict[str, str]:
        """Return the balancer's state of each server of a colour, by its address."""
        text = await self.balancer_command("show stat")
        rows = csv.DictReader(text.removeprefix("# ").splitlines())
        return {row["addr"]: row["status"] for row in rows if row["pxname"] == colour}

    async def switch_balancer(self, colour: Colour) -> None:
        """Send every new request to the instances of a colour. Raises OperatorError."""
        printed = await self.balancer_command(f"set map {COLOUR_MAP} {COLOUR_KEY} {colour}")
        if printed:
            raise OperatorError(f"The balancer refused to switch: {printed}")

    async def balancer_address(self) -> str:
        """Return the balancer's address in the control network. Raises OperatorError."""
        if self._balancer is None:
            ids = (await self.run("ps", "--quiet", "balancer")).split()
            details = await self._inspect(ids[:1])
            self._balancer = _network_address(details[0], "control") if details else ""
        if not self._balancer:
            raise OperatorError("The balancer does not run; docker compose up -d starts it.")
        return self._balancer

    async def balancer_command(self, command: str) -> str:
        """Return the answer of the balancer. Raises OperatorError."""
        host = await self.balancer_address()
        question = {"host": host, "port": str(CONTROL), "command": command}
        [answer] = await self._ask([question])
        if answer is None:
            raise OperatorError(f"The balancer does not answer at {host}:{CONTROL}.")
        return answer

    async def _ask(self, questions: Sequence[Mapping[str, str]]) -> list[Any]:
        if not questions:
            return []
        text = msgspec.json.encode(questions).decode()
        printed = await self.run(
            "exec", "--no-TTY", "operator", "python", "-P", "-c", self._relay, text
        )
        return msgspec.json.decode(printed)


def compose_name(colour: Colour) -> str:
    return f"api-{colour}"


def find_project(checkout: str | None) -> ComposeProject:
    """Return the project that COMPOSE_FILE or the checkout names. Raises OperatorError."""
    words = os.environ.get("COMPOSE_FILE", "")
    files = [Path(word).absolute() for word in words.split(os.pathsep) if word]
    if not files and checkout:
        files = [Path(checkout) / "deploy" / "compose.yaml"]
    missing = [str(file) for file in files if not file.is_file()]
    if missing or not files:
        raise OperatorError(
            f"There is no {missing[0] if missing else 'compose.yaml'}; name the file in"
            " COMPOSE_FILE, or run bin/florin of the checkout that has deploy/compose.yaml."
        )
    return ComposeProject(files)


def _container(colour: Colour, details: Any) -> ApiContainer:
    labels, state = details["Config"]["Labels"], details["State"]
    generation = labels.get("florin.generation", "0")
    running = state["Status"] == "running"
    return ApiContainer(
        id=details["Id"],
        name=f"{compose_name(colour)}-{labels['com.docker.compose.container-number']}",
        colour=colour,
        mark=ReleaseMark(details["Config"]["Image"], int(generation or 0)),
        running=running,
        restarts=details["RestartCount"],
        host=_network_address(details, "inner") if running else "",
    )


def _network_address(details: Any, network: str) -> str:
    networks = details["NetworkSettings"]["Networks"]
    addresses = [
        each["IPAddress"] for name, each in networks.items() if name.endswith(f"_{network}")
    ]
    return addresses[0] if addresses else ""
