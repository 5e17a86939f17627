"""Passwords: argon2id hashes with limited concurrency, in the same time for unknown members.

Checks (sign-ins) and new hashes (registrations, resets, changes) have their own threads and queues,
so that neither delays the other.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from msgspec import Meta

from florin.kit.errors import Overloaded

Answer = TypeVar("Answer")
Password = Annotated[str, Meta(min_length=10, max_length=200)]
# A password to check may be any text of this length: it reveals nothing about the stored one.
Typed = Annotated[str, Meta(max_length=1000)]

# OWASP's second equal-strength choice for argon2id: 19 MiB, two passes. Each hash needs
# that memory and one core while it runs, so the numbers of running and waiting ones are limited.
_hasher = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)

# Checked for unknown members: it costs as much as the check of a member's hash.
_DUMMY_HASH = "$argon2id$v=19$m=19456,t=2,p=1$" + "A" * 22 + "$" + "A" * 43


class HashingCapacity:
    """At most `threads` hashes at once, in their own threads, and `waiting_max` that wait."""

    def __init__(self, name: str, *, threads: int, waiting_max: int) -> None:
        self._pool = ThreadPoolExecutor(threads, f"argon2 {name}")
        self.threads, self.waiting_max = threads, waiting_max
        self._waiting = 0

    async def run(self, work: Callable[[], Answer]) -> Answer:
        """Run `work` in a thread. Raises Overloaded at once if too many wait."""
        if self._waiting >= self.waiting_max:
            raise Overloaded("Too many passwords are being checked")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, work)
        finally:
            self._waiting -= 1


CHECKING = HashingCapacity("checks", threads=2, waiting_max=256)
MAKING = HashingCapacity("makes", threads=1, waiting_max=32)


async def hash_password(password: str) -> str:
    """A PHC string. Raises Overloaded."""
    return await MAKING.run(lambda: _hasher.hash(password))


async def password_matches(password_hash: str | None, typed: str) -> bool:
    """Whether `typed` is the password; False for None, in the same time. Raises Overloaded."""
    return await CHECKING.run(lambda: _verify(password_hash or _DUMMY_HASH, typed))


def is_outdated_hash(password_hash: str) -> bool:
    """Whether the hash has weaker parameters than the current ones."""
    return _hasher.check_needs_rehash(password_hash)


def _verify(password_hash: str, typed: str) -> bool:
    try:
        return _hasher.verify(password_hash, typed)
    except (VerificationError, InvalidHashError):
        return False
