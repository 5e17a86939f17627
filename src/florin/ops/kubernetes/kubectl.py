"""Kubectl: the commands of `kubectl` that a deployment needs, and their answers as values.

Cluster, namespace and credentials are those of kubectl's current context.
"""

import asyncio
import contextlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from florin.ops.system.console import OperatorError

_WITHIN_S = 60.0
_PRESENT = "(AlreadyExists)"
# Runs in a pod of any release: one argument for each URL, one line of JSON as the answer. A network
# policy keeps everything else away from these ports.
_RELAY = """\
import json, sys, urllib.error, urllib.request
def ask(url):
    try:
        with urllib.request.urlopen(url, timeout=3) as answer:
            return [answer.status, answer.read().decode(errors="replace")]
    except urllib.error.HTTPError as error:
        return [error.code, ""]
    except OSError as error:
        return [0, str(error)]
print(json.dumps([ask(url) for url in sys.argv[1:]]))
"""

Manifest = dict[str, Any]


class AlreadyThere(OperatorError):
    """An object of this name exists."""


@dataclass(frozen=True, slots=True)
class KubectlCommand:
    """Runs `kubectl`; every method raises OperatorError with what it said."""

    program: str = "kubectl"

    async def get(self, kind: str, name: str) -> Manifest | None:
        """Return an object; None if there is none of this name."""
        said = await self._run(["get", kind, name, "-o", "json", "--ignore-not-found"])
        return msgspec.json.decode(said) if said.strip() else None

    async def find(self, kinds: str, selector: str) -> list[Manifest]:
        """Return the objects of some kinds (`deployments,services`) with these labels."""
        said = await self._run(["get", kinds, "-l", selector, "-o", "json"])
        return msgspec.json.decode(said)["items"]

    async def create(self, objects: Sequence[Manifest]) -> None:
        """Create objects. Raises AlreadyThere."""
        document = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
        await self._run(["create", "--validate=false", "-f", "-"], msgspec.json.encode(document))

    async def patch(self, kind: str, name: str, change: Manifest) -> None:
        """Merge a change into an object."""
        words = [
            "patch",
            kind,
            name,
            "--type=strategic",
            "-p",
            msgspec.json.encode(change).decode(),
        ]
        await self._run(words)

    async def delete(self, kind: str, name: str) -> None:
        """Delete an object if it is there, and what belongs to it."""
        await self._run(["delete", kind, name, "--ignore-not-found", "--wait=false"])

    async def ask(self, pod: str, urls: Sequence[str]) -> list[tuple[int, str]]:
        """Ask processes in a pod over its loopback: status and text of each; status 0: none."""
        python = "/opt/florin/bin/python"
        words = ["exec", pod, "-c", "florin", "--", python, "-c", _RELAY, *urls]
        try:
            said = await self._run(words)
            return msgspec.json.decode(said, type=list[tuple[int, str]])
        except (OperatorError, msgspec.DecodeError):
            return [(0, "") for _ in urls]  # the pod ended meanwhile

    async def _run(self, words: Sequence[str], given: bytes | None = None) -> bytes:
        if shutil.which(self.program) is None:
            raise OperatorError("kubectl is not installed here; --target kubernetes needs it.")
        child = await asyncio.create_subprocess_exec(
            self.program,
            *words,
            stdin=asyncio.subprocess.DEVNULL if given is None else asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        shown = " ".join(words[:3])
        try:
            async with asyncio.timeout(_WITHIN_S):
                printed, error = await child.communicate(given)
        except BaseException as problem:
            with contextlib.suppress(ProcessLookupError):
                child.kill()
            await child.wait()
            if isinstance(problem, TimeoutError):
                raise OperatorError(
                    f"kubectl {shown} gave no answer in {_WITHIN_S:.0f} s"
                ) from None
            raise
        if child.returncode == 0:
            return printed
        words_of = error.decode(errors="replace").strip() or f"exit code {child.returncode}"
        kind = AlreadyThere if _PRESENT in words_of else OperatorError
        raise kind(f"kubectl {shown}: {words_of}")
