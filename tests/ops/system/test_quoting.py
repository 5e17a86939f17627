"""Quoting: the parser of each generated configuration reads the values that were written."""

import subprocess
from pathlib import Path

import pytest

from florin.ops.backups import restore
from florin.ops.postgres import tuning, wal_archive
from florin.ops.system import bundled_programs

NAMES = (
    "plain",
    "it's",
    'a "quoted" one',
    "100%",
    "%p %f %%",
    "$HOME and $(id)",
    "`id`; rm x & y | z > w",
    "back\\slash\\n",
    "caf\N{LATIN SMALL LETTER E WITH ACUTE} \N{SNOWMAN}",
    "two\nlines\tand a tab",
    "#hash = value",
    "-dash",
    "*?[a]~",
)


def replaced(command: str, **values: str) -> str:
    """The command that PostgreSQL passes to sh: %p, %f and %% replaced, once from the left."""
    made, rest = "", command
    while "%" in rest:
        before, _, rest = rest.partition("%")
        assert rest[:1] in ("p", "f", "%"), f"PostgreSQL does not know %{rest[:1]}"
        made += before + {"%": "%", **values}[rest[0]]
        rest = rest[1:]
    return made + rest


def sh(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["/bin/sh", "-c", command], cwd=folder, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_segment_is_archived_and_restored(tmp_path: Path, name: str) -> None:
    place = tmp_path / name
    archive, segment = wal_archive.archive_dir(place), "000000010000000000000001"
    archive.mkdir(parents=True)
    (tmp_path / segment).write_bytes(b"the log")
    command = wal_archive.archive_settings(place)["archive_command"]
    result = sh(replaced(command, p=segment, f=segment), tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    assert [path.name for path in archive.iterdir()] == [f"{segment}.gz"]
    assert {path.name for path in tmp_path.iterdir()} == {name, segment}, "it wrote elsewhere"
    command = restore.restore_command([archive], None)
    result = sh(replaced(command, p="back", f=segment), tmp_path)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "back").read_bytes() == b"the log"
    command = restore.restore_command([place / "nothing"], place)
    (place / segment).write_bytes(b"its own")
    result = sh(replaced(command, p="back", f=segment), tmp_path)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "back").read_bytes() == b"its own"


@pytest.mark.parametrize("name", NAMES)
def test_postgresql_reads_a_setting_as_it_was_written(tmp_path: Path, name: str) -> None:
    path = tmp_path / "postgresql.conf"
    command = wal_archive.archive_settings(tmp_path / name)["archive_command"]
    tuning.write_tuned_settings(
        path, 5432, None, {"archive_command": command, "cluster_name": "last"}
    )
    program = str(bundled_programs.locate_program(bundled_programs.POSTGRES))

    def read(setting: str) -> str:
        result = subprocess.run(
            [program, "-C", setting, "-D", str(tmp_path)],
            capture_output=True,
            text=True,
            check=False,
            env={"LC_ALL": "C"},
        )
        assert result.returncode == 0, result.stderr
        return result.stdout.removesuffix("\n")

    assert read("archive_command") == command
    assert read("cluster_name") == "last"
