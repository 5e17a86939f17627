"""The files in which deployments to Compose keep releases and the colour that serves."""

from pathlib import Path

import pytest

from florin.ops.containers.release_file import ReleaseFile, read_colour, write_colour
from florin.ops.planning.rollout import ReleaseMark
from florin.ops.system.console import OperatorError


def test_a_new_project_has_the_defaults_of_the_compose_file(tmp_path: Path) -> None:
    release = ReleaseFile.read(tmp_path)
    assert release.image == "florin:1"
    assert release.mark("blue") == ReleaseMark("florin:1", 0)
    assert (release.instances("blue"), release.instances("green")) == (2, 0)
    assert (release.previous, release.generation) == (None, 0)


def test_what_was_written_is_read_and_other_lines_stay(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("# ours\nFLORIN_LISTEN=80\nFLORIN_IMAGE='registry/florin:7'\n", "utf-8")
    release = ReleaseFile.read(tmp_path)
    assert release.image == "registry/florin:7"
    release.put_colour("green", ReleaseMark("florin:8", 3), 4)
    release.write()
    release.put_colour("green", ReleaseMark("florin:9", 4), 5)
    release.write()
    again = ReleaseFile.read(tmp_path)
    assert again.mark("green") == ReleaseMark("florin:9", 4)
    assert again.instances("green") == 5
    assert again.mark("blue") == ReleaseMark("registry/florin:7", 0)
    lines = file.read_text("utf-8").splitlines()
    assert lines[:2] == ["# ours", "FLORIN_LISTEN=80"]
    assert len(lines) == len(set(lines)) == 6


def test_the_colour_is_replaced_in_one_step_and_readable_for_the_balancer(tmp_path: Path) -> None:
    (tmp_path / "live").mkdir()
    write_colour(tmp_path, "green")
    assert read_colour(tmp_path) == "green"
    assert (tmp_path / "live" / "colour.map").stat().st_mode & 0o777 == 0o644
    assert [each.name for each in (tmp_path / "live").iterdir()] == ["colour.map"]


@pytest.mark.parametrize("text", ["", "colour red\n", "blue\n"])
def test_a_file_without_a_colour_says_what_to_do(tmp_path: Path, text: str) -> None:
    (tmp_path / "live").mkdir()
    (tmp_path / "live" / "colour.map").write_text(text, "utf-8")
    with pytest.raises(OperatorError, match="its line must be: colour blue"):
        read_colour(tmp_path)
    with pytest.raises(OperatorError, match=r"run deploy/secrets\.sh"):
        read_colour(tmp_path / "elsewhere")
