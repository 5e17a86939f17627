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


def _start(folder: Path, port: int, environment: str, **more: str) -> subprocess.Popen[str]:
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(SRC), "FLORIN_ENV": environment}
    environ |= {"FLORIN_MAILBOX": str(folder), "SMTP_PORT": str(port)} | more
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


def test_a_container_listens_for_others_and_its_health_check_asks_it(tmp_path: Path) -> None:
    port, environ = free_port(), os.environ | {"PYTHONPATH": str(SRC)}
    check = {"FLORIN_MAILBOX_HOST": "0.0.0.0", "SMTP_PORT": str(port)}  # noqa: S104
    (tmp_path / "proc" / "self").mkdir(parents=True)
    (tmp_path / "proc" / "1").mkdir()
    for name in ("self", "1"):
        (tmp_path / "proc" / name / "cgroup").write_text("0::/here\n", "utf-8")
    command = "python\0-P\0/opt/florin/bin/florin\0keep-mails\0"
    (tmp_path / "proc" / "1" / "cmdline").write_text(command, "utf-8")
    program = "import sys, pathlib; from florin.cli import healthy;"
    program += f"sys.exit(healthy.main(pathlib.Path({str(tmp_path / 'proc')!r})))"

    def check_health() -> subprocess.CompletedProcess[str]:
        words = [sys.executable, "-P", "-c", program]
        return subprocess.run(
            words, env=environ | check, capture_output=True, text=True, check=False
        )

    with _start(tmp_path, port, "development", **check) as child:
        try:
            until(lambda: _connected(port), "the mailbox to listen", 20).quit()
            found = check_health()
            assert (found.returncode, found.stdout) == (0, "The mailbox is alive.\n")
        finally:
            child.kill()
        said, _ = child.communicate(timeout=20)
    assert '"host":"0.0.0.0"' in said.replace(" ", "")
    found = check_health()
    assert found.returncode == 1
    assert f"the mailbox does not answer at 127.0.0.1:{port}" in found.stderr


def test_it_does_not_start_in_production(tmp_path: Path) -> None:
    with _start(tmp_path, free_port(), "production") as child:
        try:
            said, _ = child.communicate(timeout=20)
        finally:
            child.kill()
    assert child.returncode == 1
    assert "set SMTP_HOST" in said
