"""Encryption: encrypt uploaded backups with a key that the storage never receives.

The format is age (https://age-encryption.org), so that its tools can decrypt the objects. The
package is imported only here, and only if BACKUP_KEY is set.
"""

import os
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO

from florin.ops.system.console import OperatorError

SUFFIX = ".age"  # of the names of encrypted objects


@dataclass(frozen=True, slots=True)
class BackupKey:
    """An X25519 identity of age: its public key encrypts, the identity decrypts."""

    age: Any
    identity: Any

    def encrypted(self, content: bytes) -> bytes:
        return self.age.encrypt(content, [self.identity.to_public()])

    def decrypted(self, content: bytes, where: str) -> bytes:
        """Return the decrypted content; `where` names it in errors. Raises OperatorError."""
        try:
            return self.age.decrypt(content, [self.identity])
        except self.age.DecryptError as error:
            raise _wrong(where, error) from None

    def decrypt_file(self, source: Path, target: Path, where: str) -> None:
        """Decrypt a file. Raises OperatorError; no partial target is left then."""
        try:
            self.age.decrypt_file(str(source), str(target), [self.identity])
        except (self.age.DecryptError, OSError) as error:  # a corrupt part also raises OSError
            target.unlink(missing_ok=True)
            raise _wrong(where, error) from None

    @contextmanager
    def encrypting(self, file: Any) -> Generator[BinaryIO]:
        """Yield a stream with the encrypted content of the file, encrypted while it is read."""
        read_from, write_to = os.pipe()
        failed: list[Exception] = []

        def run() -> None:
            try:
                with os.fdopen(write_to, "wb") as target:
                    self.age.encrypt_io(file, target, [self.identity.to_public()])
            except Exception as error:  # noqa: BLE001 -- raised after the thread is joined
                failed.append(error)

        thread = threading.Thread(target=run, name="encrypting", daemon=True)
        thread.start()
        try:
            with os.fdopen(read_from, "rb") as source:
                yield source
        finally:
            thread.join()
        if failed:
            raise OperatorError(f"The backup could not be encrypted: {failed[0]}.")


def key_of(given: Callable[[str], str | None]) -> BackupKey | None:
    """Return the key in BACKUP_KEY; None if it is not set. Raises OperatorError."""
    text = given("BACKUP_KEY")
    if text is None:
        return None
    try:
        age: Any = import_module("pyrage")
    except ModuleNotFoundError:
        raise OperatorError(
            "BACKUP_KEY needs a package that is not installed: pip install 'florin[s3]'."
        ) from None
    try:
        return BackupKey(age, age.x25519.Identity.from_str(text.strip()))
    except age.IdentityError:
        raise OperatorError(
            "BACKUP_KEY is not an age key; it must begin with AGE-SECRET-KEY-1. Create one with"
            " age-keygen."
        ) from None


def _wrong(where: str, error: Exception) -> OperatorError:
    if "No matching keys" in str(error):
        return OperatorError(f"{where} was encrypted with another key than the one in BACKUP_KEY.")
    if isinstance(error, OSError) and error.errno is not None:
        return OperatorError(f"{where} could not be decrypted to this disk: {error.strerror}.")
    return OperatorError(f"{where} is corrupt: {error}.")
