"""Code guessing: count wrong codes, and refuse the next attempt of a client that tried too many.

Look-ups, redemptions, batches and holds are counted together. A success is never counted, so that a
busy point of sale is never slowed down. Wrong codes are counted by the client's address, by the
principal, and by the first symbols of the code; where a key names its end client, by that client.
Each count is within one merchant: a code is valid at one merchant only, so trying it elsewhere
gains nothing, and merchants behind one address do not lock each other out. The arithmetic is in
docs/concepts/codes.md.
"""

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from florin.cards import codes
from florin.cards.codes import CodeMalformed
from florin.cards.request_context import RequestContext
from florin.kit.errors import RateLimited, Refusal
from florin.kit.http.client_address import block, client_network
from florin.kit.observability import metrics
from florin.kit.pasted_text import compacted
from florin.kit.rate_limits.limiter import Limit, RateLimiter, Subject, rate_limit_refusal
from florin.kit.settings import Settings
from florin.ledger.refusals import CardNotFound

SITES = 10  # client limits that one network may use up: one customer may have 65,536 networks
SHORT_WEIGHT = 5  # a wrong code of another system that is shorter than Florin's
PREFIX = 8  # symbols: 40 bits, so that unrelated cards do not share a prefix
# A malformed code is not a guess, however often a client sends it: it is not looked up, and the
# refusal says nothing that the client could not compute itself.
_WRONG = CardNotFound
_KIND = "code"  # of all limits on wrong codes, in metrics

Answer = TypeVar("Answer")


def guess_weight(typed: str) -> int:
    """How often a wrong code counts: codes shorter than Florin's have less entropy."""
    return 1 if len(compacted(typed)) >= codes.LENGTH else SHORT_WEIGHT


class CodeGuessLimiter:
    """Limits the wrong codes that one client, principal or code prefix may try."""

    def __init__(self, limits: RateLimiter, settings: Settings) -> None:
        self._limits = limits
        metrics.limited.labels(_KIND)  # 0 from the start, so that the first refusal counts
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
        """Run `attempt` with the code `typed` and count it when it is wrong.

        Raises RateLimited before the attempt when the client tried too many codes, and instead of
        the refusal when this code exceeds the limit.
        """
        await self.admit(context, typed)
        try:
            return await attempt()
        except _WRONG:
            await self.record_failure(context, typed, times=guess_weight(typed))
            raise

    async def admit(self, context: RequestContext, typed: str) -> None:
        """Raises RateLimited when the client has tried too many codes."""
        if self._limits.idle:
            return
        wait = await self._limits.blocked(*self._subjects(context, typed))
        if wait is not None:
            raise rate_limit_refusal(_KIND, wait)

    async def record_failure(
        self, context: RequestContext, typed: str | None, *, times: float
    ) -> None:
        """Count a wrong code. Raises RateLimited when it exceeds the limit."""
        wait = await self._limits.count(*self._subjects(context, typed), times=times)
        if wait is not None:
            raise rate_limit_refusal(_KIND, wait)

    async def record_batch(
        self, context: RequestContext, tried: Sequence[tuple[str | None, Answer | Refusal]]
    ) -> list[Answer | Refusal]:
        """Count the wrong codes of a batch. From the first one that exceeds the limit on, a wrong
        code is refused as RateLimited.
        """
        answers: list[Answer | Refusal] = []
        limited: RateLimited | None = None
        uncounted = 0
        for typed, answer in tried:
            wrong = typed is not None and isinstance(answer, _WRONG)
            if wrong and limited is None:
                try:
                    assert typed is not None
                    await self.record_failure(context, typed, times=guess_weight(typed))
                except RateLimited as refused:
                    limited = refused
            elif wrong:
                assert typed is not None
                uncounted += guess_weight(typed)
            answers.append(limited if wrong and limited is not None else answer)
        if uncounted:
            await self._limits.count(*self._subjects(context, None), times=uncounted)
        return answers

    def _subjects(self, context: RequestContext, typed: str | None) -> list[Subject]:
        merchant = context.merchant.hex
        if context.client_named:
            subjects = self._named_client_subjects(context, merchant)
        else:
            subjects = [
                (self._address, f"{merchant}:{client_network(context.address)}"),
                (self._principal, f"{merchant}:{context.actor}"),
            ]
        if typed is not None and self._prefix.max:
            try:
                begins = codes.read_any_code(typed, imported=True)[:PREFIX]
            except CodeMalformed:
                return subjects
            # Keyed, so that what is stored in Valkey reveals nothing about a code.
            named = hashlib.blake2b(
                context.merchant.bytes + begins.encode(), key=self._pepper, digest_size=16
            )
            subjects.append((self._prefix, named.hexdigest()))
        return subjects

    def _named_client_subjects(self, context: RequestContext, merchant: str) -> list[Subject]:
        """The subjects for a key that names its end clients. The key's own limit is a multiple of a
        client's, so that no single client uses it up, not even with all its networks.
        """
        return [
            (self._client, f"{merchant}:{client_network(context.address)}"),
            (self._network, f"{merchant}:{block(context.address)}"),
            (self._naming_key, f"{merchant}:{context.actor}"),
        ]
