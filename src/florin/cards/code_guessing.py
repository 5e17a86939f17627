"""Code guessing: codes that were wrong are counted, and who tried too many is refused before the
next.

Look-ups, redemptions, batches and holds alike; what succeeds is never counted, so that a busy till
is never slowed. Counted by the client's address, by the principal, and by the first symbols of the
code; where a key names its end client, by that client. Each within its merchant: a code is good at
one merchant only, so nothing is gained by trying it elsewhere, and merchants behind one address do
not lock each other out. The arithmetic is in docs/concepts/codes.md.
"""

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from florin.cards import codes
from florin.cards.codes import CodeMalformed
from florin.cards.request_context import RequestContext
from florin.kit.errors import RateLimited, Refusal
from florin.kit.http.client_address import block, client_network
from florin.kit.rate_limits.limiter import Limit, RateLimiter, Subject, rate_limit_refusal
from florin.kit.settings import Settings
from florin.ledger.refusals import CardNotFound

SITES = 10  # whose wrong codes one network may try: one customer may have 65,536 of them
PREFIX = 8  # symbols: 40 bits, so that strangers share one with nobody
# A malformed code is no guess, however often a till sends it: it was looked up nowhere, and its
# answer says nothing that could not be computed at home.
_WRONG = CardNotFound

Answer = TypeVar("Answer")


class CodeGuessLimiter:
    """Watches those who try codes."""

    def __init__(self, limits: RateLimiter, settings: Settings) -> None:
        self._limits = limits
        self._pepper = hashlib.sha256(settings.code_pepper.get_secret_value().encode()).digest()
        self._address = Limit("code-address", settings.guesses_per_address)
        self._principal = Limit("code-principal", settings.guesses_per_principal)
        self._client = Limit("code-client", settings.guesses_per_address)
        self._network = Limit("code-network", settings.guesses_per_address * SITES)
        self._naming_key = Limit("code-naming-key", settings.guesses_per_naming_key)
        self._prefix = Limit("code-prefix", settings.guesses_per_prefix)

    async def watch(
        self, context: RequestContext, typed: str, attempt: Callable[[], Awaitable[Answer]]
    ) -> Answer:
        """Let somebody try a code. Raises RateLimited, before the code is looked at, when he tried
        too many, and instead of the answer, when he went too far with this one.
        """
        await self.admit(context, typed)
        try:
            return await attempt()
        except _WRONG:
            await self.record_failure(context, typed, times=1)
            raise

    async def admit(self, context: RequestContext, typed: str) -> None:
        """Raises RateLimited."""
        if self._limits.idle:
            return
        wait = await self._limits.blocked(*self._subjects(context, typed))
        if wait is not None:
            raise rate_limit_refusal("code", wait)

    async def record_failure(
        self, context: RequestContext, typed: str | None, *, times: float
    ) -> None:
        """Count a code that was wrong. Raises RateLimited."""
        wait = await self._limits.count(*self._subjects(context, typed), times=times)
        if wait is not None:
            raise rate_limit_refusal("code", wait)

    async def record_batch(
        self, context: RequestContext, tried: Sequence[tuple[str | None, Answer | Refusal]]
    ) -> list[Answer | Refusal]:
        """Count the wrong codes among the answers of a batch; from the first that was too much on
        they are refused as such.
        """
        answers: list[Answer | Refusal] = []
        limited: RateLimited | None = None
        more = 0
        for typed, answer in tried:
            wrong = typed is not None and isinstance(answer, _WRONG)
            if wrong and limited is None:
                try:
                    await self.record_failure(context, typed, times=1)
                except RateLimited as refused:
                    limited = refused
            elif wrong:
                more += 1
            answers.append(limited if wrong and limited is not None else answer)
        if more:
            await self._limits.count(*self._subjects(context, None), times=more)
        return answers

    def _subjects(self, context: RequestContext, typed: str | None) -> list[Subject]:
        merchant = context.merchant.hex
        if context.client_named:
            subjects = self._named(context, merchant)
        else:
            subjects = [
                (self._address, f"{merchant}:{client_network(context.address)}"),
                (self._principal, f"{merchant}:{context.actor}"),
            ]
        if typed is not None and self._prefix.max:
            try:
                begins = codes.read_code(typed)[:PREFIX]
            except CodeMalformed:
                return subjects
            # Keyed: what lies in Valkey says nothing about a code.
            named = hashlib.blake2b(
                context.merchant.bytes + begins.encode(), key=self._pepper, digest_size=16
            )
            subjects.append((self._prefix, named.hexdigest()))
        return subjects

    def _named(self, context: RequestContext, merchant: str) -> list[Subject]:
        """Of a key that names its end clients. Its own limit is many clients' limits, so that none
        of them uses it up alone, nor with all the sites that one may have.
        """
        return [
            (self._client, f"{merchant}:{client_network(context.address)}"),
            (self._network, f"{merchant}:{block(context.address)}"),
            (self._naming_key, f"{merchant}:{context.actor}"),
        ]
