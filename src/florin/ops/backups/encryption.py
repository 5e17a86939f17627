"""Encryption: what leaves this machine is encrypted by a key that the storage never sees.

In the format of age (https://age-encryption.org), so that its own tools open what is stored. The
package is imported only here, and only where BACKUP_KEY is set.
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

SUFFIX = ".age"  # of the name of what is encrypted


@dataclass(frozen=True, slots=True)
class BackupKey:
    """An X25519 identity of age: its public half encrypts, it decrypts."""

    age: Any
    identity: Any

    def encrypted(self, content: bytes) -> bytes:
        return self.age.encrypt(content, [self.identity.to_public()])

    def decrypted(self, content: bytes, where: str) -> bytes:
        """Raises OperatorError."""
        try:
            return self.age.decrypt(content, [self.identity])
        except self.age.DecryptError as error:
            raise _wrong(where, error) from None

    def decrypt_file(self, source: Path, target: Path, where: str) -> None:
        """Raises OperatorError; nothing is left then of what was decrypted."""
        try:
            self.age.decrypt_file(str(source), str(target), [self.identity])
        except (self.age.DecryptError, OSError) as error:  # OSError: also of a changed part
            target.unlink(missing_ok=True)
            raise _wrong(where, error) from None

    @contextmanager
    def encrypting(self, file: Any) -> Generator[BinaryIO]:
        """What is read from it is what is read from the file, encrypted; a piece at a time."""
        read_from, write_to = os.pipe()
        failed: list[Exception] = []

        def run() -> None:
            try:
                with os.fdopen(write_to, "wb") as target:
                    self.age.encrypt_io(file, target, [self.identity.to_public()])
            except Exception as error:  # noqa: BLE001 -- raised again where it is waited for
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
    """The key that BACKUP_KEY holds; None where it is not set. Raises OperatorError."""
    text = given("BACKUP_KEY")
    if text is None:
        return None
    try:
        age: Any = import_module("pyrage")
    except ModuleNotFoundError:
        raise OperatorError(
            "BACKUP_KEY needs a package that is missing: pip install 'florin[s3]'."
        ) from None
    try:
        return BackupKey(age, age.x25519.Identity.from_str(text.strip()))
    except age.IdentityError:
        raise OperatorError(
            "BACKUP_KEY is no key of age: it begins with AGE-SECRET-KEY-1; age-keygen makes one."
        ) from None


def _wrong(where: str, error: Exception) -> OperatorError:
    if "No matching keys" in str(error):
        return OperatorError(f"{where} was encrypted with another key than that in BACKUP_KEY.")
    if isinstance(error, OSError) and error.errno is not None:
        return OperatorError(f"{where} could not be decrypted to this disk: {error.strerror}.")
    return OperatorError(f"{where} is not what was stored: {error}.")
