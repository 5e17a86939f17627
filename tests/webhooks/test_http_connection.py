"""HTTP connection: every form of an answer is read to its end, and no further."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

import pytest

from florin.webhooks import http_client
from florin.webhooks.addresses import AddressRules
from florin.webhooks.http_client import Attempt, EndpointClient, GuardedNetwork, make_tls_context
from tests.support.stream_server import stop_listening

RULES = AddressRules.of("development", None)
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


class Answering:
    """A server that answers the requests of all connections by the parts of a list, one after the
    other; an answer that ends with None ends its connection.
    """

    def __init__(self, answers: Sequence[Sequence[bytes | None]]) -> None:
        self._answers = iter(answers)
        self.connections = 0
        self.requests: list[bytes] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                self.requests.append(head + await reader.readexactly(2))
                for part in next(self._answers):
                    if part is None:
                        return
                    writer.write(part)
                    await writer.drain()
                    await asyncio.sleep(0.01)  # each part is a packet of its own
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def endpoint(
    *answers: Sequence[bytes | None],
) -> AsyncGenerator[tuple[EndpointClient, Answering]]:
    answering = Answering(answers)
    server = await asyncio.start_server(answering.serve, "127.0.0.1", 0)
    port: int = server.sockets[0].getsockname()[1]
    network = GuardedNetwork(RULES, None)
    url = f"http://127.0.0.1:{port}/hook?a=b"
    client = EndpointClient(network, make_tls_context(), url, 24)
    try:
        yield client, answering
    finally:
        await client.close()
        await stop_listening(server)


async def post(client: EndpointClient) -> Attempt:
    return await client.post([(b"webhook-id", b"m")], b"{}")


async def test_a_connection_serves_one_request_after_the_other() -> None:
    async with endpoint([OK], [OK], [OK], [OK]) as (client, answering):
        for _ in range(2):
            attempt = await post(client)
            assert (attempt.status, attempt.answer, attempt.error) == (200, "ok", None)
        assert answering.connections == 1
        await asyncio.gather(post(client), post(client))
        assert answering.connections == 2
    first = answering.requests[0].decode().split("\r\n")
    assert first[0] == "POST /hook?a=b HTTP/1.1"
    assert sorted(first[1:4]) == ["content-length: 2", first[1], "webhook-id: m"]
    assert first[1].startswith("host: 127.0.0.1:")
    assert first[4:] == ["", "{}"]


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        ([CHUNKED + b"2\r\no", b"k\r\n1\r\n!\r\n0\r\n\r\n"], "ok!"),
        ([b"HTTP/1.1 100 Continue\r\n\r\n", OK[:20], OK[20:]], "ok"),
        ([b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n" + OK], "ok"),
        ([b"HTTP/1.1 204 No Content\r\n\r\n"], ""),
        ([b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"], ""),
    ],
)  # fmt: skip
async def test_a_whole_answer_keeps_its_connection(answer: list[bytes], body: str) -> None:
    async with endpoint(answer, [OK]) as (client, answering):
        attempt = await post(client)
        assert attempt.succeeded
        assert (attempt.answer, attempt.error) == (body, None)
        assert (await post(client)).answer == "ok"
        assert answering.connections == 1


@pytest.mark.parametrize(
    "answer",
    [
        [b"HTTP/1.1 200 OK\r\n\r\n", b"until the ", b"end", None],
        [b"HTTP/1.0 200 OK\r\ncontent-length: 13\r\n\r\nuntil the end"],
        [b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 13\r\n\r\nuntil the end"],
        # An answer behind the answer, which no one asked for.
        [b"HTTP/1.1 200 OK\r\ncontent-length: 13\r\n\r\nuntil the end" + OK],
        [b"HTTP/1.1 200 OK\r\ncontent-length: 13\r\n\r\nuntil the end", OK],
    ],
)
async def test_other_answers_end_their_connection(answer: list[bytes | None]) -> None:
    async with endpoint(answer, [OK]) as (client, answering):
        attempt = await post(client)
        assert (attempt.status, attempt.answer) == (200, "until the end")
        await asyncio.sleep(0.05)
        assert (await post(client)).answer == "ok"
        assert answering.connections == 2


@pytest.mark.parametrize(
    "answer",
    [
        [b"SSH-2.0-OpenSSH_9.2\r\n"],
        [b"HTTP/1.1 2000 OK\r\n\r\n"],
        [b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nok"],
        [b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok", None],
        [CHUNKED + b"2\r\nok\r\n", None],
        [b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n"],
        [b"HTTP/1.1 200 OK\r\nx: ", b"y" * 200_000],
        [b"HTTP/1.1 100 Continue\r\n\r\n" * 20_000],
        [None],
    ],
)
async def test_what_is_no_answer_is_a_failure(
    answer: list[bytes | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_client, "ANSWER_WITHIN_S", 5)
    async with endpoint(answer, [OK]) as (client, answering):
        attempt = await post(client)
        assert attempt.status is None
        assert attempt.error is not None
        assert "within" not in attempt.error, "it was waited for"
        assert (await post(client)).answer == "ok"
        assert answering.connections == 2


@pytest.mark.parametrize(
    "endless",
    [
        b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 1_000_000,
        CHUNKED + b"1\r\nx\r\n" * 100_000,
        # Hardly a body: frames of chunks are no way around the limit.
        CHUNKED + b"1;" + b"x" * 1_000_000,
    ],
)
async def test_an_answer_without_an_end_is_cut(
    endless: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_client, "ANSWER_WITHIN_S", 5)
    async with endpoint([endless], [OK]) as (client, answering):
        attempt = await post(client)
        assert attempt.status in {200, None}
        assert "within" not in (attempt.error or "")
        assert (await post(client)).answer == "ok"
        assert answering.connections == 2
