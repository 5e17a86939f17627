"""The bucket: what goes there comes back, and what is wrong is said in one sentence."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from florin.ops.backups import upload
from florin.ops.backups.s3 import open_bucket
from florin.ops.postgres import wal_archive
from florin.ops.system.console import OperatorError
from tests.ops.replicated_fleet import Fleet
from tests.support import s3_storage


@pytest.fixture(scope="module")
def stored() -> Iterator[s3_storage.Storage]:
    with s3_storage.storage() as made:
        yield made


def test_a_new_home_needs_the_secrets_of_the_old(
    stored: s3_storage.Storage, tmp_path: Path
) -> None:
    other = Fleet(tmp_path)
    other.environ |= stored.environ
    said = other.florin("restore")
    assert said.returncode == 1
    assert "secrets.json" in said.stderr


def test_a_bucket_says_in_one_sentence_what_is_wrong(stored: s3_storage.Storage) -> None:
    nowhere = open_bucket((stored.environ | {"BACKUP_URL": "s3://not-there"}).get)
    assert nowhere is not None
    with pytest.raises(OperatorError, match="NoSuchBucket"):
        nowhere.names()
    with pytest.raises(OperatorError, match="is not a URL of S3"):
        open_bucket(lambda _: "https://backups")
    assert open_bucket(lambda _: None) is None


def test_objects_come_back_as_they_went(stored: s3_storage.Storage, tmp_path: Path) -> None:
    """Larger than one part, too."""
    bucket = stored.bucket().below("objects")
    large = tmp_path / "large"
    large.write_bytes(bytes(range(256)) * (9 * 4096))
    with large.open("rb") as file:
        bucket.stream("large", file, expected=1)
    bucket.get("large", tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == large.read_bytes()
    assert bucket.names() == ["large"]
    bucket.below("more").write("one", b"1")
    assert bucket.names() == ["large"]
    assert bucket.folders() == ["more"]
    bucket.drop(["large"])
    assert bucket.names() == []


def test_what_was_written_is_off_the_machine_within_a_minute() -> None:
    """The server ends a segment at least so often, and it is passed on at least so often."""
    settings = wal_archive.archive_settings(Path("/place"))
    assert settings["archive_timeout"] == f"{wal_archive.ARCHIVE_EVERY_S}s"
    assert wal_archive.ARCHIVE_EVERY_S + 2 * upload.SHIP_EVERY_S + 15 < 60
