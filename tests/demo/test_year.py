"""Year: months of a shop's life under the test clock, on an instance and a worker."""

import asyncio

from florin.demo.year import run_year
from tests.support.instance import Instance
from tests.support.page_client import page_client, sign_in
from tests.support.workers import Crew


async def test_a_year_fills_the_charts_of_the_console(api: Instance, workers: Crew) -> None:
    workers.start()
    outcome = await asyncio.to_thread(run_year, base=api.base, months=2)
    assert outcome["proof"]["balanced"]
    made = outcome["counts"]
    assert made["cards"] == 27 + 5  # nine in a usual month; December has three times as many
    assert made["orders"] == 9 + 2
    assert made["redemptions"] > 0
    person = outcome["sign_in"]
    async with page_client(api) as browser:
        await sign_in(browser, person["email"], person["password"])
        page = await browser.get("/console")
        # Two months with sales and redemptions: four bars in the chart, at least.
        assert page.text.count('class="a" d="M') >= 2
        assert page.text.count('class="bl" d="M') >= 2
        orders = await browser.get("/console/orders")
        assert orders.text.count('href="/console/orders/ord_') == made["orders"]
