"""Metrics: the metrics of all processes as one document, which HAProxy cannot make itself.

The supervisor serves it on a port of this machine; the operations port of the fleet, which is
HAProxy's, passes /metrics/fleet on to it.
"""

import asyncio
import contextlib
from collections.abc import Callable, Mapping
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
    """What belongs together in the text format: the comments of a metric, then its samples."""

    comments: list[str] = field(default_factory=list[str])
    samples: list[str] = field(default_factory=list[str])


def merge_metrics(texts: Mapping[str, str | None]) -> str:
    """Join metrics by instance, each sample labelled with its own; None where none answered."""
    families: dict[str, _Family] = {
        _UP: _Family(
            [f"# HELP {_UP} Whether the instance told its metrics.", f"# TYPE {_UP} gauge"],
            [f'{_UP}{{instance="{name}"}} {int(text is not None)}' for name, text in texts.items()],
        )
    }
    for name, text in texts.items():
        _add(families, name, text or "")
    lines = [line for each in families.values() for line in (*each.comments, *each.samples)]
    return "\n".join(lines) + "\n"


async def collect_metrics(instances: Mapping[str, str]) -> str:
    """Ask every instance, by name and `host:port`, for its metrics."""
    answers = await asyncio.gather(
        *(
            http_probe.probe(address, "/metrics", within_s=_WITHIN_S)
            for address in instances.values()
        )
    )
    told = (
        answer.body.decode(errors="replace")
        if answer is not None and answer.status == _OK
        else None
        for answer in answers
    )
    return merge_metrics(dict(zip(instances, told, strict=True)))


async def serve_fleet_metrics(
    port: int,
    instances: Callable[[], Mapping[str, str]],
    more: Callable[[], str] = lambda: "",
) -> asyncio.Server:
    """Answer every request on that port with the metrics of the instances there are by then.

    `more` is what nobody but the one who serves it knows.
    """

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, TimeoutError, asyncio.LimitOverrunError):
            async with asyncio.timeout(_WITHIN_S * 2):
                while (await reader.readline()).strip():
                    pass
                body = (await collect_metrics(instances()) + more()).encode()
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
    """The name of a metric holds neither a brace nor a blank: the first ends it."""
    end = min(at for at in (line.find("{"), line.find(" ")) if at > 0)
    if line[end] == " ":
        return f'{line[:end]}{{instance="{instance}"}}{line[end:]}'
    return f'{line[:end]}{{instance="{instance}",{line[end + 1 :]}'
