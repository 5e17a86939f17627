"""Demo load: sells, redeems and issues in bulk until it is told to stop, so that workers come."""

import sys
import time
import uuid

import httpx

from florin.demo import DemoFailed, Shop

_WAVE_EVERY_S = 15.0
_WAVE = 200  # bulk issues at once
_CARDS = 200  # of each


def main(*, base: str, api_key: str, program: str) -> int:
    """Serve `florin demo --load`; return the exit code: 0 only when the books balance."""
    headers = {"Authorization": f"Bearer {api_key}"}
    with httpx.Client(base_url=f"{base}/api/v1", headers=headers, timeout=20) as client:
        shop, sold, issued = Shop(client), 0, 0
        print("Selling, redeeming and issuing until Ctrl-C; watch florin status --watch.")
        try:
            wave_at = time.monotonic()
            while True:
                if time.monotonic() >= wave_at:
                    wave_at += _WAVE_EVERY_S
                    issued += _issue(client, program)
                card = shop.post("/cards", program=program, amount=2_000)
                shop.post("/redemptions", code=card["code"], amount=750, currency="EUR")
                sold += 1
                if sold % 100 == 0:
                    print(f"  {sold} cards sold and redeemed, {issued} asked for in bulk")
        except KeyboardInterrupt:
            balanced = shop.get("/ledger/proof")["balanced"]
        except (DemoFailed, httpx.HTTPError) as error:
            print(f"The load stopped: {error}. See florin status.", file=sys.stderr)
            return 1
    word = "balance" if balanced else "DO NOT BALANCE"
    print(f"{sold} sold and redeemed, {issued} asked for in bulk. The books {word}.")
    return 0 if balanced else 1


def _issue(client: httpx.Client, program: str) -> int:
    for _ in range(_WAVE):
        answer = client.post(
            "/cards/bulk",
            json={"program": program, "amount": 1_000, "quantity": _CARDS},
            headers={"Idempotency-Key": str(uuid.uuid4())},
        )
        if answer.is_error:
            raise DemoFailed(f"/cards/bulk answered {answer.status_code}: {answer.text}")
    return _WAVE * _CARDS
