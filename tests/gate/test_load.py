"""Load: what it has sent when it ends."""

import asyncio
from typing import Any

from florin.gate.client import CheckAnswer, CheckClient
from florin.gate.load import CheckLoad
from florin.gate.merchant import CheckMerchant


class SlowClient(CheckClient):
    """Answers once it is released; counts what it was sent."""

    def __init__(self) -> None:
        self.sent = 0
        self.busy, self.released = asyncio.Event(), asyncio.Event()

    async def send(self, *_: object, **__: object) -> CheckAnswer:
        self.sent += 1
        self.busy.set()
        await self.released.wait()
        document: dict[str, Any] = {"id": f"crd_{self.sent}", "code": "code", "balance": 200_000}
        return CheckAnswer(201, document)


async def test_a_card_that_is_being_issued_at_the_end_is_in_the_log() -> None:
    """Else it would stay open, since only cards of the log are emptied."""
    client = SlowClient()
    load = CheckLoad(client, CheckMerchant("mer_1", "prg_1", "key"), seed=1, rate=1e9)
    load.start()
    await client.busy.wait()
    stopping = asyncio.create_task(load.stop())
    await asyncio.sleep(0)
    sent = client.sent
    client.released.set()
    await stopping
    assert client.sent == sent  # it begins nothing more
    assert len(load.log.cards) == sent
