"""Attempts: what is repeated, under which key, and what is raised in the end.

The server is a real one on a socket whose answers a script says.
"""

import json
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from florin_client import ApiError, AsyncFlorin, Florin, OutcomeUnknown, Unreachable
from florin_client.errors import CardNotFound, InsufficientFunds, QuotaExceeded
from florin_client.testing import LosingTransport

CARD: dict[str, Any] = {
    "id": "crd_1",
    "created_at": "2026-12-01T00:00:00Z",
    "issued_at": "2026-12-01T00:00:00Z",
    "expires_at": None,
    "program": "prg_1",
    "state": "active",
    "currency": "EUR",
    "balance": 5,
    "held": 0,
    "available": 5,
    "last4": "1234",
    "metadata": {},
    "new": [1],
}
HANG_UP = "hang up"
Answer = Any  # HANG_UP, or (status, body) or (status, body, headers)


@dataclass(slots=True)
class Script:
    """Answers one after the other; the last one is repeated. `asked`: the requests so far."""

    answers: list[Answer]
    url: str = ""
    asked: list[tuple[str, str, dict[str, str], bytes]] = field(
        default_factory=list[tuple[str, str, dict[str, str], bytes]]
    )

    @property
    def keys(self) -> set[str | None]:
        return {headers.get("idempotency-key") for _, _, headers, _ in self.asked}


@contextmanager
def serving(*answers: Answer) -> Generator[Script]:
    script = Script(list(answers))

    class Scripted(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            script.asked.append((self.command, self.path, headers, body))
            answer = script.answers.pop(0) if len(script.answers) > 1 else script.answers[0]
            if answer == HANG_UP:
                self.close_connection = True
                return
            status, found = answer[:2]
            more: dict[str, str] = answer[2] if len(answer) > 2 else {}
            sent = found if isinstance(found, bytes) else json.dumps(found).encode()
            self.send_response(status)
            for name, value in more.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(sent)))
            self.end_headers()
            self.wfile.write(sent)

        do_GET = do_POST = do_PATCH = do_DELETE = answer  # noqa: N815 -- names of http.server

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 -- its name there
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Scripted)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    script.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield script
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def client(script: Script, budget_s: float = 5) -> Generator[Florin]:
    with Florin(script.url, "flk_1", budget_s=budget_s, http=plain()) as florin:
        yield florin


def plain() -> httpx.Client:
    return httpx.Client(verify=False, timeout=5)  # noqa: S501 -- there is no TLS


def problem(status: int, code: str, **more: Any) -> Answer:
    body = {"code": code, "detail": code, "status": status, "request_id": "r1"}
    return (status, body | more, {"retry-after": "0"})


def test_a_write_keeps_its_key_over_lost_answers_and_unknown_outcomes() -> None:
    answers: list[Answer] = [
        HANG_UP,
        problem(503, "outcome_unknown"),
        (502, b"<html>"),
        (201, CARD),
    ]
    with serving(*answers) as script, client(script) as florin:
        made = florin.issue_card("prg_1", 500)
        other = florin.issue_card("prg_1", 500)
    assert len(script.asked) == 5
    first = {headers["idempotency-key"] for _, _, headers, _ in script.asked[:4]}
    assert len(first) == 1
    assert len(script.keys) == 2, "another call has another key"
    assert {body for _, _, _, body in script.asked} == {b'{"program":"prg_1","amount":500}'}
    assert made.raw["new"] == [1]
    assert made == other


def test_an_unknown_outcome_names_its_key_and_can_be_sent_again() -> None:
    with serving(HANG_UP) as script, client(script, budget_s=0.3) as florin:
        with pytest.raises(OutcomeUnknown) as unknown:
            florin.issue_card("prg_1", 500, idempotency_key="order-7")
        assert unknown.value.idempotency_key == "order-7"
        script.answers[:] = [(201, CARD)]
        assert florin.send(unknown.value.call).id == "crd_1"
    assert script.keys == {"order-7"}
    assert len(script.asked) > 2


@pytest.mark.parametrize("answer", [problem(429, "rate_limited"), problem(401, "unauthenticated")])
def test_a_refusal_that_comes_before_the_key_leaves_the_outcome_unknown(answer: Answer) -> None:
    with serving(HANG_UP, answer) as script, client(script, budget_s=0.5) as florin:
        with pytest.raises(OutcomeUnknown):
            florin.load("crd_1", 5)


def test_a_refusal_of_the_money_is_definite_also_after_a_lost_answer() -> None:
    refused = problem(402, "insufficient_funds", available=3)
    with serving(HANG_UP, refused) as script, client(script) as florin:
        with pytest.raises(InsufficientFunds) as caught:
            florin.redeem(5, "EUR", card="crd_1")
    assert (caught.value.available, caught.value.request_id) == (3, "r1")
    assert len(script.asked) == 2


def test_a_write_without_keys_is_sent_once_unless_nothing_happened() -> None:
    with serving(HANG_UP) as script, client(script) as florin:
        with pytest.raises(OutcomeUnknown, match="read the state"):
            florin.rotate_secret("whe_1")
        assert len(script.asked) == 1
        script.answers[:] = [problem(503, "overloaded"), problem(429, "rate_limited")]
        script.answers.append((200, CARD | {"url": "u", "events": [], "state": "enabled"}))
        assert florin.rotate_secret("whe_1").url == "u"
    assert len(script.asked) == 4


def test_retry_after_is_kept_and_ends_the_call_where_it_is_longer_than_the_budget() -> None:
    late = (429, {"code": "rate_limited", "detail": "d"}, {"retry-after": "30"})
    with serving(late) as script, client(script, budget_s=5) as florin:
        with pytest.raises(ApiError) as refused:
            florin.get_card("crd_1")
    assert (refused.value.code, refused.value.retry_after_s) == ("rate_limited", 30)
    assert len(script.asked) == 1


def test_a_quota_is_not_tried_again() -> None:
    with serving(problem(429, "quota_exceeded")) as script, client(script) as florin:
        with pytest.raises(QuotaExceeded):
            florin.create_key("k", ["cards:read"])
    assert len(script.asked) == 1


def test_no_server_is_unreachable_and_no_unknown_outcome() -> None:
    with serving((200, {})) as script:
        url = script.url
    with Florin(url, budget_s=0.3, http=plain()) as florin, pytest.raises(Unreachable):
        florin.load("crd_1", 5)


def test_an_error_has_its_class_and_names_its_fields() -> None:
    wrong = {"errors": [{"param": "amount", "detail": "too large"}], "code": "invalid_request"}
    with serving((404, {"code": "card_not_found"}), (422, wrong)) as script:
        with client(script) as florin:
            with pytest.raises(CardNotFound):
                florin.look_up(code="ABCD")
            with pytest.raises(ApiError, match=r"invalid_request \(amount\)"):
                florin.load("crd_1", 5)


def test_reads_send_the_position_of_the_latest_write() -> None:
    with serving((201, CARD, {"florin-consistency": "p1"})) as script, client(script) as florin:
        florin.issue_card("prg_1", 5)
        florin.get_card("crd_1")
    assert "florin-consistency" not in script.asked[0][2]
    assert script.asked[1][2]["florin-consistency"] == "p1"


def test_ids_and_filters_are_written_as_the_document_says() -> None:
    page: dict[str, Any] = {"object": "list", "data": [CARD], "has_more": False}
    with serving((200, page)) as script, client(script) as florin:
        list(florin.list_cards.all(state="active", created_gte="2026-01-01", program=None))
        florin.card_entries.make("a/b?c")
        with pytest.raises(ValueError, match="an id is empty"):
            florin.get_card("")
    assert script.asked[0][1] == "/api/v1/cards?state=active&created%5Bgte%5D=2026-01-01"
    assert florin.card_entries.make("a/b?c").path == "/cards/a%2Fb%3Fc/entries"


def test_a_batch_needs_a_key_for_each_item() -> None:
    with serving((200, {})) as script, client(script) as florin:
        with pytest.raises(ValueError, match="idempotency_key"):
            florin.redeem_batch([{"card": "crd_1", "amount": 1, "currency": "EUR"}])
    assert script.asked == []


def test_a_file_appears_only_once_it_is_whole(tmp_path: Path) -> None:
    short = (200, b"card,code\n", {"content-length": "9999"})
    path = tmp_path / "codes.csv"
    with serving(short, (200, b"card,code\ncrd_1,X\n")) as script, client(script) as florin:
        assert florin.take_job_codes.save(path, "job_1").read_text() == "card,code\ncrd_1,X\n"
        assert path.stat().st_mode & 0o077 == 0
        with pytest.raises(FileExistsError):
            florin.take_job_codes.save(path, "job_1")
        script.answers[:] = [(410, {"code": "codes_taken"})]
        with pytest.raises(ApiError):
            florin.take_job_codes.save(tmp_path / "again.csv", "job_1")
    assert [each.name for each in tmp_path.iterdir()] == ["codes.csv"]


def test_a_file_that_is_uploaded_is_read_again_for_each_attempt(tmp_path: Path) -> None:
    file = tmp_path / "cards.csv"
    file.write_bytes(b"amount\n" + b"2500\n" * 500_000)
    job: dict[str, Any] = {"kind": "import", "state": "queued", "codes": "none", "errors": []}
    job |= {"id": "job_1", "created_at": CARD["created_at"], "done": 0, "total": 2}
    with serving(HANG_UP, (202, job)) as script, client(script) as florin:
        assert florin.import_cards(file, count=2).id == "job_1"
    assert [len(body) for *_, body in script.asked] == [file.stat().st_size] * 2
    assert script.asked[0][2]["content-type"] == "text/csv"
    assert len(script.keys) == 1


async def test_the_asynchronous_client_has_the_same_rules(tmp_path: Path) -> None:
    file = tmp_path / "cards.csv"
    file.write_bytes(b"amount\n2500\n")
    http = httpx.AsyncClient(verify=False, timeout=5)  # noqa: S501 -- there is no TLS
    with serving(HANG_UP, (201, CARD)) as script:
        async with AsyncFlorin(script.url, "flk_1", budget_s=1, http=http) as florin:
            assert (await florin.issue_card("prg_1", 500)).id == "crd_1"
            assert len(script.keys) == 1
            script.answers[:] = [HANG_UP]
            with pytest.raises(OutcomeUnknown):
                await florin.import_cards(file, idempotency_key="move-1")
            script.answers[:] = [(200, b"a,b\n")]
            saved = await florin.export_cards.save(tmp_path / "out.csv")
    assert saved.read_bytes() == b"a,b\n"
    assert script.asked[2][3] == file.read_bytes()


def test_a_lost_answer_can_be_tried_out() -> None:
    transport = LosingTransport(1, httpx.HTTPTransport(verify=False))
    with serving((201, CARD)) as script:
        with Florin(script.url, "k", http=httpx.Client(transport=transport)) as florin:
            florin.issue_card("prg_1", 5)
    assert (len(script.asked), len(script.keys)) == (2, 1)
