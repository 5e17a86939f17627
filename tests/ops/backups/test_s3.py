"""S3: objects are stored and read back, and each error is one sentence."""

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
    result = other.florin("restore")
    assert result.returncode == 1
    assert "secrets.json" in result.stderr


def test_an_error_of_a_bucket_is_one_sentence(stored: s3_storage.Storage) -> None:
    nowhere = open_bucket((stored.environ | {"BACKUP_URL": "s3://not-there"}).get)
    assert nowhere is not None
    with pytest.raises(OperatorError, match="NoSuchBucket"):
        nowhere.names()
    with pytest.raises(OperatorError, match="is not a URL of S3"):
        open_bucket(lambda _: "https://backups")
    assert open_bucket(lambda _: None) is None


def test_objects_are_read_back_unchanged(stored: s3_storage.Storage, tmp_path: Path) -> None:
    """Also an object that is larger than one part."""
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


def test_the_log_leaves_the_machine_within_a_minute() -> None:
    """The periods in which the server ends a segment and Florin uploads it add up to a minute."""
    settings = wal_archive.archive_settings(Path("/place"))
    assert settings["archive_timeout"] == f"{wal_archive.ARCHIVE_EVERY_S}s"
    assert wal_archive.ARCHIVE_EVERY_S + 2 * upload.SHIP_EVERY_S + 15 < 60
