"""Command: run `florin bench …` as a process, which ends with the test."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import florin

_SRC = str(Path(florin.__file__).parents[1])
_WITHIN_S = 400


def start(place: Path, *words: str, **environ: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "florin", "bench", *words],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": _SRC, "TMPDIR": str(place), **environ},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def bench(place: Path, *words: str, **environ: str) -> "subprocess.CompletedProcess[str]":
    process = start(place, *words, **environ)
    try:
        out, error = process.communicate(timeout=_WITHIN_S)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=120)
    return subprocess.CompletedProcess(words, process.returncode, out, error)
