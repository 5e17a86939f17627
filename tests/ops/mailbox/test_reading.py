"""Reading: `florin mailbox` lists all mails or one person's, and waits for the first."""

import json
import threading
from pathlib import Path

import pytest

from florin.cli import main
from florin.ops.fleet.home import Home
from florin.ops.fleet.operator_folder import MAILBOX, operator_folder
from florin.ops.mailbox.kept_mails import MailFolder

ANA = "ana@example.org"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MailFolder:
    """The mailbox of a home that FLORIN_HOME names."""
    monkeypatch.setenv("FLORIN_HOME", str(tmp_path))
    monkeypatch.delenv("FLORIN_ENV", raising=False)
    path = operator_folder(Home(tmp_path)) / MAILBOX
    path.mkdir(parents=True)
    return MailFolder(path)


def _keep(folder: MailFolder, to: str, subject: str) -> str:
    return folder.keep_mail("florin@localhost", [to], f"Subject: {subject}\r\n\r\n-\r\n".encode())


def test_mails_to_one_address_are_found_among_others(
    folder: MailFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    _keep(folder, ANA, "older")
    wanted = _keep(folder, ANA, "newer")
    _keep(folder, "owner@example.org", "newest")
    assert main(["mailbox", "--to", "Ana@Example.org", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)["mails"]
    assert [each["subject"] for each in listed] == ["newer", "older"]
    assert main(["mailbox", "--last", "--to", ANA, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["id"] == wanted
    assert main(["mailbox", "--last"]) == 0
    assert "newest" in capsys.readouterr().out


def test_the_first_mail_is_waited_for(
    folder: MailFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    _keep(folder, "owner@example.org", "another")
    assert main(["mailbox", "--last", "--to", ANA]) == 1
    assert f"There is no mail to {ANA}; florin mailbox lists all mails." in capsys.readouterr().err
    arrival = threading.Timer(0.3, _keep, (folder, ANA, "awaited"))
    arrival.start()
    assert main(["mailbox", "--last", "--to", ANA, "--wait", "60"]) == 0
    arrival.join()
    assert "awaited" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["0" * 16, "--last"], "give the id alone"),
        (["0" * 16, "--to", ANA], "give the id alone"),
        (["--wait", "3"], "give --last, too"),
        (["--last", "--wait", "-1"], "--wait"),
    ],
)
def test_options_that_exclude_each_other_are_refused(
    folder: MailFolder, capsys: pytest.CaptureFixture[str], given: list[str], said: str
) -> None:
    del folder
    assert main(["mailbox", *given]) == 2
    assert said in capsys.readouterr().err
