"""The mailbox process: it takes mails by SMTP, and does not start in production."""

import json
import os
import smtplib
import subprocess
import sys
from pathlib import Path

from florin.ops.mailbox.kept_mails import MailFolder
from tests.ops.conftest import until
from tests.support.ports import free_port

SRC = Path(__file__).parents[3] / "src"


def _start(folder: Path, port: int, environment: str) -> subprocess.Popen[str]:
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(SRC), "FLORIN_ENV": environment}
    environ |= {"FLORIN_MAILBOX": str(folder), "SMTP_PORT": str(port)}
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "florin", "keep-mails"],
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _connected(port: int) -> smtplib.SMTP | None:
    try:
        return smtplib.SMTP("127.0.0.1", port, timeout=5)
    except OSError:
        return None


def test_it_keeps_what_it_is_sent_and_stops_in_order(tmp_path: Path) -> None:
    port = free_port()
    with _start(tmp_path, port, "development") as child:
        try:
            smtp = until(lambda: _connected(port), "the mailbox to listen", 20)
            smtp.sendmail(
                "a@b.example", ["jörg@b.example"], "Subject: x\r\n\r\ny\r\n", ["SMTPUTF8"]
            )
            smtp.quit()
            child.terminate()
            said, _ = child.communicate(timeout=20)
        finally:
            child.kill()
    assert child.returncode == 0
    (mail,) = MailFolder(tmp_path).list_mails(5)
    assert (mail.subject, mail.recipients) == ("x", ["jörg@b.example"])
    events = [json.loads(line)["event"] for line in said.splitlines()]
    assert events == ["starting", "a mail was kept", "stopped"]


def test_it_does_not_start_in_production(tmp_path: Path) -> None:
    with _start(tmp_path, free_port(), "production") as child:
        try:
            said, _ = child.communicate(timeout=20)
        finally:
            child.kill()
    assert child.returncode == 1
    assert "set SMTP_HOST" in said
