"""Log output: a destination that is slow, full or gone never delays or fails a request."""

import os
import time

import pytest

from florin.kit.observability import log_output, metrics
from florin.kit.observability.log_output import LogOutput


def dropped(reason: str) -> float:
    found = metrics.registry.get_sample_value("florin_log_dropped_total", {"reason": reason})
    assert found is not None
    return found


def test_lines_wait_in_memory_while_no_one_reads_and_some_are_dropped_and_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(log_output, "LINES_MAX", 1000)
    reading, writing = os.pipe()
    output, before = LogOutput(writing), dropped("full")
    number = 20_000
    begun = time.monotonic()
    for n in range(number):
        output.add(b"%08d" % n + b" " * 100)
    assert time.monotonic() - begun < 5  # the pipe holds 64 kB and no one reads
    lost = dropped("full") - before
    assert lost > 10_000
    text = b""
    while text.count(b"\n") < number - lost:
        text += os.read(reading, 2**16)
    found = [int(line[:8]) for line in text.splitlines()]
    assert found == sorted(set(found))
    assert found[:100] == list(range(100))
    os.close(reading)


def test_a_line_is_made_outside_of_the_request() -> None:
    reading, writing = os.pipe()
    made: list[int] = []

    def line() -> bytes:
        made.append(1)
        return b"made"

    output = LogOutput(writing)
    output.add(line)
    assert not made
    assert os.read(reading, 100) == b"made\n"


def test_flush_writes_what_waits_in_its_order() -> None:
    reading, writing = os.pipe()
    output = LogOutput(writing)
    for n in range(1000):
        output.add(b"%d" % n)
    output.flush()
    assert os.read(reading, 2**16).split() == [b"%d" % n for n in range(1000)]


def test_a_full_disk_is_counted_and_raises_nothing() -> None:
    with open("/dev/full", "wb") as full:  # noqa: PTH123
        output, before = LogOutput(full.fileno()), dropped("write")
        output.add(b"one")
        output.add(b"two")
        output.flush()
        deadline = time.monotonic() + 10
        while dropped("write") - before < 2:
            assert time.monotonic() < deadline
            time.sleep(0.01)
