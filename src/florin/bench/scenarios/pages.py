"""Pages: how long a page of a large merchant takes, what it weighs, and what it costs the CPU.

One instance is asked for one page at a time, so there is no waiting for each other in a figure. It
is measured at the client, over loopback, and contains the client's own part.
"""

import asyncio
import statistics
import time
from uuid import UUID

import httpx
import msgspec

from florin.bench.environment import cpu_usage
from florin.bench.environment.servers import BenchInstance, BenchServers, bench_servers
from florin.bench.harness import current_commit, run_measurement
from florin.bench.scenarios.page_merchant import (
    PUBLIC,
    PageMerchant,
    aged_space_mb,
    make_page_merchant,
)
from florin.ops.postgres import server as postgres
from florin.ops.system.console import OperatorError, voice

CARDS = 1_000_000
REQUESTS = 200  # of each page, after the first
P95_MS, PUBLIC_CPU_MS = 100.0, 5.0
_OK = 200
_SETTINGS = {"FLORIN_ENV": "development"}  # in production the test gateway is refused


class PageFigures(msgspec.Struct, frozen=True, kw_only=True):
    """One page. `bytes`: of its HTML, as sent without compression; `first_ms`: the first request,
    before anything of the page was looked up; `cpu_ms`: of the instance, for each request.
    """

    page: str
    public: bool
    status: int
    bytes: int
    first_ms: float
    p50_ms: float
    p95_ms: float
    cpu_ms: float

    @property
    def met(self) -> bool:
        return self.p95_ms <= P95_MS and (not self.public or self.cpu_ms <= PUBLIC_CPU_MS)


class PageBenchResult(msgspec.Struct, frozen=True, kw_only=True):
    cards: int
    requests: int
    pages: list[PageFigures]
    cores: int
    model: str
    postgres: str
    commit: str

    @property
    def right(self) -> bool:
        return all(each.status == _OK for each in self.pages)


def main(*, cards: int | None, requests: int, as_json: bool) -> int:
    """Serve `florin bench pages`; return 1 when a page was not answered."""
    found = asyncio.run(
        run_measurement(_measure(cards or CARDS, requests or REQUESTS, current_commit()))
    )
    print(msgspec.json.encode(found).decode() if as_json else format_page_figures(found))
    return 0 if found.right else 1


async def _measure(cards: int, requests: int, measured: str) -> PageBenchResult:
    async with bench_servers(measured) as bench:
        await bench.start_postgres(space_mb=aged_space_mb(cards))
        running = await bench.start_instance(settings=_SETTINGS)
        async with httpx.AsyncClient(
            base_url=f"http://{running.address}",
            headers={"sec-fetch-site": "same-origin", "accept-encoding": "identity"},
            timeout=120,
        ) as person:
            shop = await make_page_merchant(bench, person, cards)
            pages = [
                await _look(person, running, name, path, requests)
                for name, path in shop.pages.items()
            ]
            await _require_cards(bench, shop, cards)
        return PageBenchResult(
            cards=cards,
            requests=requests,
            pages=pages,
            cores=cpu_usage.core_count(),
            model=cpu_usage.cpu_model(),
            postgres=bench.server.version(),
            commit=measured,
        )


async def _look(
    person: httpx.AsyncClient, running: BenchInstance, name: str, path: str, requests: int
) -> PageFigures:
    voice.status(f"{name} …")
    took: list[float] = []
    status, size = _OK, 0
    before = 0.0
    for number in range(requests + 1):
        if number == 1:
            before = cpu_usage.process_cpu_s(running.pid)
        begun = time.perf_counter()
        answer = await person.get(path)
        took.append((time.perf_counter() - begun) * 1000)
        size = len(answer.content)
        if answer.status_code != _OK:
            status = answer.status_code
    used_s = cpu_usage.process_cpu_s(running.pid) - before
    first, *others = took
    return PageFigures(
        page=name,
        public=name in PUBLIC,
        status=status,
        bytes=size,
        first_ms=round(first, 2),
        p50_ms=round(statistics.median(others), 2),
        p95_ms=round(statistics.quantiles(others, n=20)[-1], 2),
        cpu_ms=round(used_s * 1000 / requests, 2),
    )


async def _require_cards(bench: BenchServers, shop: PageMerchant, cards: int) -> None:
    """The merchant has as many cards as were asked for. Raises OperatorError."""
    merchant: UUID = shop.merchant
    admin = await bench.admin(postgres.DATABASE)
    try:
        count = "select count(*) from florin.card where merchant = $1"
        found = await admin.fetchval(count, merchant)
    finally:
        await admin.close()
    if found < cards:
        raise OperatorError(f"The merchant has {found:,} cards instead of {cards:,}.")


def format_page_figures(result: PageBenchResult) -> str:
    lines = [
        f"pages: {result.cards:,} cards of one merchant, each page {result.requests} times",
        "",
        f"  {'page':<26}{'bytes':>9}{'first':>10}{'p50':>10}{'p95':>10}{'CPU':>10}",
    ]
    for each in result.pages:
        mark = "" if each.met else "   above its target"
        mark = f"   status {each.status}" if each.status != _OK else mark
        lines.append(
            f"  {each.page:<26}{each.bytes:>9,}{each.first_ms:>7.1f} ms{each.p50_ms:>7.1f} ms"
            f"{each.p95_ms:>7.1f} ms{each.cpu_ms:>7.1f} ms{mark}"
        )
    met = sum(each.met for each in result.pages)
    lines += [
        "",
        f"Targets: p95 <= {P95_MS:g} ms, CPU of public pages <= {PUBLIC_CPU_MS:g} ms;",
        f"met by {met} of {len(result.pages)} pages.",
        f"{result.cores} cores, {result.model}; {result.postgres}; commit {result.commit}.",
    ]
    return "\n".join(lines)
