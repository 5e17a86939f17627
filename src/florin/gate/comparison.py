"""Comparison: the client's log against the ledger, entry by entry for every card."""

import asyncio
from collections import Counter

from florin.gate.client import CheckClient, CheckFailed
from florin.gate.load_log import LoadLog, LoggedCard

_BASE = "/api/v1"
_TRIES, _PAUSE_S = 25, 0.2  # a replica may be behind for a moment
_SHOWN = 5


async def ledger_differences(client: CheckClient, log: LoadLog) -> list[str]:
    """Return what differs between the log and the ledger; empty when they agree to the cent.

    Every acknowledged amount is in the entries of its card exactly once, and nothing else except
    amounts whose outcome the client does not know. The proof of the merchant's ledger balances.
    """
    differences = list(log.wrong)
    for card in log.cards:
        found = card_difference(card, *await _read(client, card))
        for _ in range(_TRIES):
            if found is None:
                break
            await asyncio.sleep(_PAUSE_S)
            found = card_difference(card, *await _read(client, card))
        differences += [] if found is None else [found]
        if len(differences) >= _SHOWN:
            break
    proof = await client.send("GET", f"{_BASE}/ledger/proof")
    if proof.ok and proof.document.get("balanced") is not True:
        differences.append("the proof of the ledger does not balance")
    return differences


async def empty_cards(client: CheckClient, log: LoadLog) -> None:
    """Reverse what the load has left on its cards, and close them, as far as that is possible.

    A deployment that fails may leave nothing that answers: then the cards stay as they are.
    """
    for card in log.cards:
        found = await client.send("GET", f"{_BASE}/cards/{card.id}")
        if not found.ok:
            return
        if balance := found.document["balance"]:
            body = {"card": card.id, "amount": -balance, "reason": "deployment check"}
            await client.send("POST", f"{_BASE}/adjustments", body)
        await client.send("POST", f"{_BASE}/cards/{card.id}/close")


def card_difference(card: LoggedCard, entries: list[int], balance: int) -> str | None:
    """Return how a card's entries (signed minor units) and balance differ from the log."""
    booked, seen = Counter(card.booked), Counter(entries)
    missing, extra = booked - seen, seen - booked - Counter(card.unknown)
    if not missing and not extra:
        if balance == sum(entries):
            return None
        return f"{card.id}: its balance is {balance}, its entries add up to {sum(entries)}"
    logged = sum(card.booked)
    parts = [f"{card.id}: {sum(entries)} in the ledger, {logged} by the log"]
    parts += [f"missing {sorted(missing.elements())[:_SHOWN]}"] if missing else []
    parts += [f"not requested {sorted(extra.elements())[:_SHOWN]}"] if extra else []
    return "; ".join(parts)


async def _read(client: CheckClient, card: LoggedCard) -> tuple[list[int], int]:
    """Return the amounts of all entries, and the balance. Raises CheckFailed."""
    amounts: list[int] = []
    after = ""
    while True:
        page = await client.require("GET", f"{_BASE}/cards/{card.id}/entries?limit=100{after}")
        amounts += [entry["amount"] for entry in page["data"]]
        if not page["has_more"]:
            break
        after = f"&starting_after={page['data'][-1]['id']}"
    found = await client.require("GET", f"{_BASE}/cards/{card.id}")
    balance = found["balance"]
    if not isinstance(balance, int):
        raise CheckFailed(f"the balance of {card.id} is {balance!r}")
    return amounts, balance
