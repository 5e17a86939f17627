"""Passwords: argon2id, a few at once and no more, and as long for nobody's password as for
somebody's. What is checked (sign-ins) and what is made (registrations, resets, changes) have
threads and waiting room of their own, so that neither keeps the other waiting.
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
# What may be typed to prove a password is any text: its length tells nothing about the right one.
Typed = Annotated[str, Meta(max_length=1000)]

# OWASP's second equal-strength choice for argon2id: 19 MiB, two passes. Each hash holds that much
# memory and a core meanwhile, so only so many run at once and only so many wait.
_hasher = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)

# Nobody's password: checking against it costs what checking against a member's does.
_NOBODYS = "$argon2id$v=19$m=19456,t=2,p=1$" + "A" * 22 + "$" + "A" * 43


class HashingCapacity:
    """So many hashes at once in threads of their own, and so many that wait for them."""

    def __init__(self, name: str, *, threads: int, waiting_max: int) -> None:
        self._pool = ThreadPoolExecutor(threads, f"argon2 {name}")
        self.threads, self.waiting_max = threads, waiting_max
        self._waiting = 0

    async def run(self, work: Callable[[], Answer]) -> Answer:
        """Raises Overloaded, at once."""
        if self._waiting >= self.waiting_max:
            raise Overloaded("too many passwords are being checked")
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
    """Whether it is the password; never for None, which takes as long. Raises Overloaded."""
    return await CHECKING.run(lambda: _verify(password_hash or _NOBODYS, typed))


def is_outdated_hash(password_hash: str) -> bool:
    """Whether it was made with weaker parameters than those of today."""
    return _hasher.check_needs_rehash(password_hash)


def _verify(password_hash: str, typed: str) -> bool:
    try:
        return _hasher.verify(password_hash, typed)
    except (VerificationError, InvalidHashError):
        return False
