"""The tour of the documentation: its commands, as a reader types them, on a fleet."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.ops.replicated_fleet import ROOT, running

PAGE = ROOT / "docs" / "api" / "life-of-a-card.md"


def commands(page: Path) -> str:
    """The blocks of a page that are marked as its tour, in their order."""
    found = re.findall(
        r"^```sh tour\n(.*?)^```$", page.read_text("utf-8"), re.MULTILINE | re.DOTALL
    )
    assert found
    return "echo '# next'\n".join(found)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("curl") is None, reason="the tour needs curl")
def test_a_card_lives_as_the_page_says(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with running(tmp_path, "--replicas", "0", "--api", "1", "--workers", "1") as fleet:
        text = commands(PAGE)
        for shown, used in (
            ("http://127.0.0.1:8000", f"http://127.0.0.1:{fleet.port}"),
            ("bin/florin", f"{sys.executable} -P -m florin"),
        ):
            assert shown in text, f"the tour has no {shown} any more"
            text = text.replace(shown, used)
        ran = subprocess.run(
            ["sh", "-e", "-c", text],
            env=fleet.environ | {"FLORIN_HOME": str(fleet.home.path)},
            cwd=tmp_path_factory.mktemp("reader"),
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    _, issued, opened, reminded, expired, reinstated = ran.stdout.split("# next\n")
    assert "ana@example.org" in issued
    assert opened == "%PDF-\n"
    assert "ana@example.org" in reminded
    assert reminded != issued
    assert json.loads(expired)["state"] == "expired"
    card, deliveries = (json.loads(line) for line in reinstated.splitlines())
    assert (card["state"], card["balance"]) == ("active", 5000)
    kinds = sorted(each["kind"] for each in deliveries["data"])
    assert kinds == ["gift", "reminder", "reminder"]
    assert {each["state"] for each in deliveries["data"]} == {"sent"}
