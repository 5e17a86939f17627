"""S3: a bucket in S3-compatible storage, accessed with boto3, which is imported only here."""

from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO, Protocol
from urllib.parse import urlsplit

from florin.ops.backups.encryption import SUFFIX, BackupKey, key_of
from florin.ops.system.console import OperatorError, say

_MB = 2**20
_DROP_MAX = 1000  # the protocol's limit of objects per request
_PARTS_MAX = 5_000  # of one object; the protocol's limit is 10 000


class Readable(Protocol):
    def read(self, size: int = ..., /) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Bucket:
    """Objects below a prefix. Every method raises OperatorError with the storage's reason."""

    client: Any
    name: str
    prefix: str  # empty, or ends with a slash
    failures: tuple[type[Exception], ...]
    key: BackupKey | None = None  # encrypts all objects; their names end with SUFFIX

    def below(self, folder: str) -> "Bucket":
        return replace(self, prefix=f"{self.prefix}{folder}/")

    def names(self, beginning: str = "") -> list[str]:
        """Return the sorted names, without SUFFIX, of the objects that begin with `beginning`."""
        found = self._listed("Contents", "Key", beginning)
        return sorted({name.removesuffix(SUFFIX) for name in found})

    def folders(self) -> list[str]:
        return [name.rstrip("/") for name in self._listed("CommonPrefixes", "Prefix", "")]

    def put(self, name: str, file: BinaryIO) -> None:
        """Store a file of less than 5 GB in one request, so that it is never stored partially."""
        if self.key is not None:
            self.write(name, file.read())
            return
        with self._storage_errors():
            self.client.put_object(Bucket=self.name, Key=self.prefix + name, Body=file)

    def write(self, name: str, content: bytes) -> None:
        if self.key is not None:
            name, content = name + SUFFIX, self.key.encrypted(content)
        with self._storage_errors():
            self.client.put_object(Bucket=self.name, Key=self.prefix + name, Body=content)

    def stream(self, name: str, file: Readable, *, expected: int) -> None:
        """Store a stream of about `expected` bytes, which determines the size of the parts."""
        part = max(8 * _MB, expected // _PARTS_MAX)
        config: Any = import_module("boto3.s3.transfer").TransferConfig(
            multipart_chunksize=part, multipart_threshold=part, max_concurrency=4
        )
        if self.key is None:
            with self._storage_errors():
                self.client.upload_fileobj(file, self.name, self.prefix + name, Config=config)
            return
        with self.key.encrypting(file) as encrypted, self._storage_errors():
            key = self.prefix + name + SUFFIX
            self.client.upload_fileobj(encrypted, self.name, key, Config=config)

    def read(self, name: str) -> bytes:
        stored = self._stored(name)
        with self._storage_errors():
            answer = self.client.get_object(Bucket=self.name, Key=self.prefix + stored)
            content: bytes = answer["Body"].read()
        if stored == name:
            return content
        return self._key_for(stored).decrypted(content, self._where(stored))

    def get(self, name: str, path: Path) -> None:
        stored = self._stored(name)
        if stored == name:
            with self._storage_errors():
                self.client.download_file(self.name, self.prefix + name, str(path))
            return
        key, encrypted = self._key_for(stored), path.with_name(path.name + SUFFIX)
        try:
            with self._storage_errors():
                self.client.download_file(self.name, self.prefix + stored, str(encrypted))
            key.decrypt_file(encrypted, path, self._where(stored))
        finally:
            encrypted.unlink(missing_ok=True)

    def drop(self, names: Iterable[str]) -> None:
        """Delete objects; a refusal is only reported."""
        # Both names, since a key may have been set later. Deleting a missing object is no error.
        every = [stored for name in names for stored in (name, name + SUFFIX)]
        keys = [{"Key": self.prefix + name} for name in every]
        for start in range(0, len(keys), _DROP_MAX):
            some = {"Objects": keys[start : start + _DROP_MAX], "Quiet": True}
            try:
                with self._storage_errors():
                    answer = self.client.delete_objects(Bucket=self.name, Delete=some)
            except OperatorError as error:
                say(f"Objects that are no longer needed could not be deleted: {error}")
                return
            if refused := answer.get("Errors"):
                code = refused[0].get("Code", "refused")
                say(f"Objects that are no longer needed could not be deleted: {code}.")
                return

    def _stored(self, name: str) -> str:
        """Return an object's name in the bucket: it may have been stored before a key was set."""
        found = self._listed("Contents", "Key", name)
        return name + SUFFIX if name + SUFFIX in found else name

    def _key_for(self, stored: str) -> BackupKey:
        if self.key is None:
            raise OperatorError(f"{self._where(stored)} is encrypted; set BACKUP_KEY to its key.")
        return self.key

    def _where(self, stored: str) -> str:
        return f"s3://{self.name}/{self.prefix}{stored}"

    def _listed(self, kind: str, key: str, beginning: str) -> list[str]:
        with self._storage_errors():
            pages = self.client.get_paginator("list_objects_v2").paginate(
                Bucket=self.name, Prefix=self.prefix + beginning, Delimiter="/"
            )
            found = [each[key] for page in pages for each in page.get(kind, ())]
        return sorted(name.removeprefix(self.prefix) for name in found)

    @contextmanager
    def _storage_errors(self) -> Generator[None]:
        try:
            yield
        except self.failures as error:
            raise OperatorError(
                f"BACKUP_URL (s3://{self.name}/{self.prefix}) cannot be used: {error}"
            ) from None


def open_bucket(given: Callable[[str], str | None]) -> Bucket | None:
    """Return the bucket of BACKUP_URL, None if it is not set. Sends no request yet."""
    url = given("BACKUP_URL")
    if url is None:
        return None
    parts = urlsplit(url)
    if parts.scheme != "s3" or not parts.hostname:
        raise OperatorError(
            "BACKUP_URL is not a URL of S3-compatible storage; use the form s3://bucket/prefix."
        )
    try:
        boto3: Any = import_module("boto3")
    except ModuleNotFoundError:
        raise OperatorError(
            "BACKUP_URL needs a package that is not installed: pip install 'florin[s3]'."
        ) from None
    errors: Any = import_module("botocore.exceptions")
    endpoint = given("BACKUP_ENDPOINT")
    config: Any = import_module("botocore.config").Config(
        connect_timeout=5,
        read_timeout=60,
        retries={"mode": "standard", "max_attempts": 4},
        # Bucket names in the host name need certificates that storage other than Amazon seldom has.
        s3={"addressing_style": "path" if endpoint else "auto"},
        # Not every other storage supports the newer checksums.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    try:
        client = boto3.client(
            "s3",
            endpoint_url=endpoint,
            region_name=given("BACKUP_REGION") or ("us-east-1" if endpoint else None),
            aws_access_key_id=given("BACKUP_ACCESS_KEY_ID"),
            aws_secret_access_key=given("BACKUP_SECRET_ACCESS_KEY"),
            config=config,
        )
    except (errors.BotoCoreError, ValueError) as error:
        raise OperatorError(f"BACKUP_URL cannot be used: {error}") from None
    failures = (
        errors.BotoCoreError,
        errors.ClientError,
        import_module("boto3.exceptions").Boto3Error,
    )
    prefix = parts.path.strip("/")
    prefix = f"{prefix}/" if prefix else ""
    return Bucket(client, parts.netloc, prefix, failures, key_of(given))
