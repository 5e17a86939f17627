"""The product's own workers, on the module's database."""

from collections.abc import AsyncGenerator
from typing import Any

import pytest

from tests.conftest import Urls
from tests.workers import Crew, crew


@pytest.fixture
async def workers(urls: Urls, owner: Any) -> AsyncGenerator[Crew]:
    await owner.execute("delete from florin.queue_job; delete from florin.outbox")
    # Ticks of schedules: each test asks for its own jobs.
    await owner.execute(
        "insert into florin.queue_tick (schedule, tick)"
        " select s, date_trunc('minute', now()) + n * interval '1 minute'"
        " from unnest(array['expiry', 'tokens', 'codes', 'sheets', 'keys', 'queue']) s,"
        " generate_series(-1440, 10) n on conflict do nothing"
    )
    with crew(urls.app, "florin", "worker") as made:
        yield made
