"""Write buffering: head and body of an answer leave together, so that a kill cannot part them."""

import asyncio
import json

from tests.support.instance import Instance, Shop


async def test_head_and_body_arrive_together(api: Instance, shop: Shop) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
    try:
        for _ in range(100):
            body = json.dumps({"code": "0000-0000-0000-0000"}).encode()
            head = (
                f"POST /api/v1/cards/lookup HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
            )
            head += f"Content-Type: application/json\r\nAuthorization: Bearer {shop.secret}\r\n\r\n"
            writer.write(head.encode() + body)
            answer = await asyncio.wait_for(reader.read(65536), 60)
            result, _, rest = answer.partition(b"\r\n\r\n")
            lines = [line for line in result.lower().split(b"\r\n") if b"content-length" in line]
            assert len(rest) == int(lines[0].split(b":")[1]) > 0
    finally:
        writer.close()
