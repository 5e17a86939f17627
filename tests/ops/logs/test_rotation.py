"""Rotation: no line is lost, none is read twice, and the disk is bounded."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from florin.ops.fleet.home import Home
from florin.ops.logs import rotation
from florin.ops.logs.entries import LogFilter
from florin.ops.logs.reading import FleetLogs
from florin.ops.logs.rotation import RotationLimits, archives, rotate_log, rotation_limits
from florin.ops.system.console import OperatorError

LINE = b'{"at":"2026-11-29T22:00:00.000000Z","level":"info","event":"line","n":%d}'
# Writes a batch of lines, then more of them until the file of its second argument exists.
WRITER = """
import os, sys
n, most = 0, int(sys.argv[1])
while n < most or (n < 20 * most and not os.path.exists(sys.argv[2])):
    for _ in range(1000):
        os.write(1, sys.argv[3].encode() % n + b"\\n")
        n += 1
"""
BATCH = 150_000
ROTATIONS = 3


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = Home(tmp_path)
    made.make()
    return made


def numbers(text: bytes) -> list[int]:
    return [int(line[line.rindex(b":") + 1 : -1]) for line in text.split(b"\n") if line.strip()]


def test_no_line_is_lost_or_split_while_a_process_writes(home: Home, tmp_path: Path) -> None:
    log = home.log("api-1")
    enough = tmp_path / "enough"
    with log.open("ab") as file:
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(BATCH), str(enough), LINE.decode()], stdout=file
        )
    rotations = 0

    def rotate() -> None:
        nonlocal rotations
        while writer.poll() is None:
            rotations += rotate_log(log, RotationLimits(size=200_000, kept=1000))
            if rotations == ROTATIONS:  # on a slow disk one rotation outlasts many lines
                enough.touch()

    rotating = threading.Thread(target=rotate)
    try:
        reader = FleetLogs(home, [], LogFilter())
        read: list[bytes] = []
        rotating.start()
        while writer.poll() is None:
            read += reader.new_lines(0.0)
        rotating.join()
    finally:
        writer.kill()
        writer.wait()
    while more := reader.new_lines(0.0):
        read += more
    assert rotations >= ROTATIONS
    assert writer.returncode == 0
    files = [path.read_bytes() for path in (*archives(log), log)]
    assert all(text.endswith(b"}\n") for text in files[:-1])
    written = numbers(b"".join(files))
    assert len(written) >= BATCH
    assert written == list(range(len(written)))
    # A follower and a reader of everything find each line once, too.
    assert numbers(b"\n".join(read)) == written
    assert numbers(b"\n".join(FleetLogs(home, ["api-1"], LogFilter()).history())) == written


def test_a_reader_of_everything_is_not_disturbed_by_a_rotation(home: Home) -> None:
    log = home.log("api-1")
    log.write_bytes(b"".join(LINE % n + b"\n" for n in range(60_000)))
    reading = FleetLogs(home, [], LogFilter()).history()
    found = [next(reading)]
    assert rotate_log(log, RotationLimits(size=1000, kept=2))
    found += reading
    assert numbers(b"\n".join(found)) == list(range(60_000))


def test_only_as_many_archives_are_kept_as_allowed(home: Home) -> None:
    log = home.log("api-1")
    for n in range(6):
        with log.open("ab") as file:
            file.write(b"%d" % n * 9_999 + b"\n")
            file.write(b"end\n")
        assert rotate_log(log, RotationLimits(size=9_000, kept=3))
    assert [path.name for path in archives(log)] == [f"api-1.log.{n}" for n in (3, 2, 1)]
    assert log.stat().st_size < 9_000
    with log.open("ab") as file:
        file.write(b"x" * 9_999 + b"\n\n")
    assert rotate_log(log, RotationLimits(size=9_000, kept=1))
    assert [path.name for path in archives(log)] == ["api-1.log.1"]


def test_a_small_log_stays_as_it_is(home: Home) -> None:
    log = home.log("api-1")
    log.write_bytes(b"one\ntwo\n")
    assert not rotate_log(log, RotationLimits(size=1000, kept=3))
    assert not rotate_log(home.log("api-2"), RotationLimits(size=0, kept=3))
    assert log.read_bytes() == b"one\ntwo\n"


def test_without_collapse_the_file_is_copied_and_truncated(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsupported(_file: int, _end: int) -> bool:
        return False

    monkeypatch.setattr(rotation, "_remove_start", unsupported)
    log = home.log("api-1")
    log.write_bytes(b"".join(LINE % n + b"\n" for n in range(1000)))
    follower = FleetLogs(home, [], LogFilter())
    read = list(follower.history())
    with log.open("ab") as file:
        file.write(LINE % 1000 + b"\n")
        file.flush()
        assert rotate_log(log, RotationLimits(size=1000, kept=3))
        assert log.stat().st_size == 0
        file.write(LINE % 1001 + b"\n")
    read += follower.new_lines(0.0)
    assert numbers(b"\n".join(read)) == list(range(1002))


def test_a_rotation_that_fails_leaves_the_log(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    log = home.log("api-1")
    text = b"".join(LINE % n + b"\n" for n in range(1000))
    log.write_bytes(text)

    def full(*_words: object) -> int:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "sendfile", full)
    assert not rotate_log(log, RotationLimits(size=1000, kept=3))
    assert [path.name for path in home.logs.iterdir()] == ["api-1.log"]
    assert log.read_bytes() == text


def test_a_reader_in_the_middle_of_a_read_postpones_the_rotation(home: Home) -> None:
    import fcntl

    log = home.log("api-1")
    log.write_bytes(b"".join(LINE % n + b"\n" for n in range(1000)))
    with log.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        assert not rotate_log(log, RotationLimits(size=1000, kept=3))
    assert not archives(log)
    assert rotate_log(log, RotationLimits(size=1000, kept=3))


def test_limits_come_from_the_settings() -> None:
    assert rotation_limits({}) == RotationLimits(size=64 * 2**20, kept=3)
    given = {"FLORIN_LOG_MAX_MB": "5", "FLORIN_LOG_ARCHIVES": "7"}
    assert rotation_limits(given) == RotationLimits(size=5 * 2**20, kept=7)
    with pytest.raises(OperatorError, match=r"FLORIN_LOG_ARCHIVES: .*greater than"):
        rotation_limits({"FLORIN_LOG_ARCHIVES": "0"})


def test_threads_that_say_something_at_once_write_whole_lines(home: Home) -> None:
    from florin.ops.system.console import Progress

    voice = Progress()
    voice.log_to(home.log("supervisor"), only=True)

    def speak(name: int) -> None:
        for n in range(200):
            voice.say(f"{name} {n}")

    speakers = [threading.Thread(target=speak, args=(n,)) for n in range(4)]
    for each in speakers:
        each.start()
    for each in speakers:
        each.join()
    lines = home.log("supervisor").read_bytes().splitlines()
    assert len(lines) == 800
    assert all(line.startswith(b'{"at":') and line.endswith(b"}") for line in lines)
