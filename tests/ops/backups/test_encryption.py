"""Encryption: the objects in a bucket are encrypted, and only their key decrypts them."""

import io
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from florin.ops.backups.s3 import Bucket, open_bucket
from florin.ops.diagnostics import archive_check
from florin.ops.fleet.home import Home
from florin.ops.fleet.options import UpOptions
from florin.ops.system.console import OperatorError
from tests.support import s3_storage

MAGIC = b"age-encryption.org/v1\n"
KEY, OTHER = s3_storage.backup_key(), s3_storage.backup_key()


@pytest.fixture(scope="module")
def stored() -> Iterator[s3_storage.Storage]:
    with s3_storage.storage() as made:
        yield made


def bucket(stored: s3_storage.Storage, key: str | None) -> Bucket:
    environ = stored.environ | ({} if key is None else {"BACKUP_KEY": key})
    made = open_bucket(environ.get)
    assert made is not None
    return made


def raw(stored: s3_storage.Storage, folder: str) -> dict[str, bytes]:
    """Return what the owner of the storage can read, by object name."""
    made = bucket(stored, None).below(folder)
    keys = made.client.list_objects_v2(Bucket=made.name, Prefix=made.prefix).get("Contents", [])
    return {
        each["Key"].removeprefix(made.prefix): made.client.get_object(
            Bucket=made.name, Key=each["Key"]
        )["Body"].read()
        for each in keys
    }


def test_stored_objects_are_encrypted_and_read_back(
    stored: s3_storage.Storage, tmp_path: Path
) -> None:
    place, secret = bucket(stored, KEY).below("all"), b"a cardholder" * 1000
    large = secret + os.urandom(20 * 2**20)  # several parts, several chunks of age
    place.write("base.json", secret)
    place.put("segment.gz", io.BytesIO(secret))
    place.stream("base.tar.gz", io.BytesIO(large), expected=len(large))
    found = raw(stored, "all")
    assert set(found) == {"base.json.age", "base.tar.gz.age", "segment.gz.age"}
    for content in found.values():
        assert content.startswith(MAGIC)
        assert b"a cardholder" not in content
    assert place.names() == ["base.json", "base.tar.gz", "segment.gz"]
    assert place.read("base.json") == place.read("segment.gz") == secret
    place.get("base.tar.gz", tmp_path / "base")
    assert (tmp_path / "base").read_bytes() == large
    assert [path.name for path in tmp_path.iterdir()] == ["base"]
    place.drop(["base.json", "segment.gz"])
    assert place.names() == ["base.tar.gz"]


@pytest.mark.parametrize(
    ("key", "sentence"),
    [
        (OTHER, "was encrypted with another key than the one in BACKUP_KEY"),
        (None, "is encrypted; set BACKUP_KEY to its key"),
    ],
    ids=["another key", "no key"],
)
def test_reading_without_the_key_is_refused_in_one_sentence(
    stored: s3_storage.Storage, tmp_path: Path, key: str | None, sentence: str
) -> None:
    bucket(stored, KEY).below("closed").write("base.json", b"{}")
    place = bucket(stored, key).below("closed")
    with pytest.raises(OperatorError, match=sentence):
        place.read("base.json")
    with pytest.raises(OperatorError, match=sentence):
        place.get("base.json", tmp_path / "base.json")
    assert list(tmp_path.iterdir()) == []


def test_a_modified_object_is_refused(stored: s3_storage.Storage, tmp_path: Path) -> None:
    place = bucket(stored, KEY).below("changed")
    place.write("segment.gz", b"the log" * 100)
    (content,) = raw(stored, "changed").values()
    broken = content[:-5] + bytes([content[-5] ^ 1]) + content[-4:]
    bucket(stored, None).below("changed").write("segment.gz.age", broken)
    with pytest.raises(OperatorError, match="is corrupt"):
        place.read("segment.gz")
    with pytest.raises(OperatorError, match="is corrupt"):
        place.get("segment.gz", tmp_path / "segment.gz")


def test_unencrypted_objects_are_still_read(stored: s3_storage.Storage, tmp_path: Path) -> None:
    bucket(stored, None).below("before").write("segment.gz", b"the log")
    place = bucket(stored, KEY).below("before")
    assert place.names() == ["segment.gz"]
    assert place.read("segment.gz") == b"the log"
    place.get("segment.gz", tmp_path / "segment.gz")
    place.drop(["segment.gz"])
    assert place.names() == []


def test_a_backup_whose_source_fails_is_not_stored(stored: s3_storage.Storage) -> None:
    class Failing:
        def read(self, size: int = -1, /) -> bytes:
            raise OSError(f"no {size} bytes")

    place = bucket(stored, KEY).below("failing")
    with pytest.raises(OperatorError, match="could not be encrypted"):
        place.stream("base.tar.gz", Failing(), expected=1)


@pytest.mark.parametrize("key", ["nonsense", "AGE-SECRET-KEY-1QQQQ", "age1abc"])
def test_an_invalid_key_is_refused_without_being_shown(
    stored: s3_storage.Storage, key: str
) -> None:
    with pytest.raises(OperatorError, match="BACKUP_KEY is not an age key") as refused:
        bucket(stored, key)
    assert key not in str(refused.value)


@pytest.mark.parametrize(
    ("environ", "result", "message"),
    [
        ({"BACKUP_URL": "s3://b", "BACKUP_KEY": KEY}, "ok", "are encrypted"),
        ({"BACKUP_URL": "s3://b"}, "warn", "unencrypted; set BACKUP_KEY"),
        ({"BACKUP_URL": "s3://b", "BACKUP_KEY": "nonsense"}, "fail", "is not an age key"),
        ({"BACKUP_KEY": KEY}, "warn", "without BACKUP_URL"),
    ],
)
def test_doctor_reports_whether_backups_are_encrypted(
    tmp_path: Path, environ: dict[str, str], result: str, message: str
) -> None:
    (check,) = archive_check.check_encryption(UpOptions(home=Home(tmp_path), environ=environ))
    assert (check.result, message in check.message) == (result, True)


def test_doctor_skips_encryption_without_remote_backups(tmp_path: Path) -> None:
    assert archive_check.check_encryption(UpOptions(home=Home(tmp_path), environ={})) == []
