"""Metrics: the metrics of all processes as one document, which HAProxy cannot produce itself.

The supervisor serves it on a loopback port; HAProxy, which listens on the operations port, forwards
/metrics/fleet to it.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from florin.ops.system import http_probe

_OK, _WITHIN_S = 200, 2.0
_UP = "florin_instance_up"
_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"
    b"Cache-Control: no-store\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
)


@dataclass(slots=True)
class _Family:
    """One metric in the text format: its comments, then its samples."""

    comments: list[str] = field(default_factory=list[str])
    samples: list[str] = field(default_factory=list[str])


def merge_metrics(texts: Mapping[str, str | None]) -> str:
    """Merge the metrics of instances, by name; each sample gets the label `instance`.

    None stands for an instance that did not answer.
    """
    families: dict[str, _Family] = {
        _UP: _Family(
            [f"# HELP {_UP} Whether the instance returned its metrics.", f"# TYPE {_UP} gauge"],
            [f'{_UP}{{instance="{name}"}} {int(text is not None)}' for name, text in texts.items()],
        )
    }
    for name, text in texts.items():
        _add(families, name, text or "")
    lines = [line for each in families.values() for line in (*each.comments, *each.samples)]
    return "\n".join(lines) + "\n"


async def collect_metrics(instances: Mapping[str, str]) -> str:
    """Collect the metrics of every instance; `instances` maps names to `host:port`."""
    answers = await asyncio.gather(
        *(
            http_probe.probe(address, "/metrics", within_s=_WITHIN_S)
            for address in instances.values()
        )
    )
    texts = (
        answer.body.decode(errors="replace")
        if answer is not None and answer.status == _OK
        else None
        for answer in answers
    )
    return merge_metrics(dict(zip(instances, texts, strict=True)))


async def serve_fleet_metrics(
    port: int,
    instances: Callable[[], Mapping[str, str]],
    more: Callable[[], Awaitable[str]] | None = None,
) -> asyncio.Server:
    """Answer every request on the port with the current metrics of all instances.

    `more` returns the metrics of the serving process itself.
    """

    async def own() -> str:
        return await more() if more is not None else ""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, TimeoutError, asyncio.LimitOverrunError):
            async with asyncio.timeout(_WITHIN_S * 2):
                while (await reader.readline()).strip():
                    pass
                body = "".join(await asyncio.gather(collect_metrics(instances()), own())).encode()
                writer.write(_HEAD % len(body) + body)
                await writer.drain()
        writer.close()

    return await asyncio.start_server(answer, "127.0.0.1", port)


def _add(families: dict[str, _Family], instance: str, text: str) -> None:
    current = families[_UP]
    for line in text.splitlines():
        if line.startswith(("# HELP ", "# TYPE ")):
            metric = line.split(" ", 3)[2]
            current = families.setdefault(metric, _Family())
            kind = line[:7]
            if not any(comment.startswith(kind) for comment in current.comments):
                current.comments.append(line)
        elif line.strip() and not line.startswith("#"):
            current.samples.append(_labelled(line, instance))


def _labelled(line: str, instance: str) -> str:
    """Add the label `instance` to a sample. A metric's name ends at the first brace or blank."""
    end = min(at for at in (line.find("{"), line.find(" ")) if at > 0)
    if line[end] == " ":
        return f'{line[:end]}{{instance="{instance}"}}{line[end:]}'
    return f'{line[:end]}{{instance="{instance}",{line[end + 1 :]}'
