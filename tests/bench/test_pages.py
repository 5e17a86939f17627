"""The benchmark of pages from the command line, small: every page is answered, all cleaned up."""

import json
from pathlib import Path

import pytest

from tests.bench.command import bench


@pytest.mark.long_form("benchmarks")
def test_the_pages_benchmark_reports_every_page(place: Path) -> None:
    output = bench(place, "pages", "--cards", "2000", "--requests", "5", "--json")
    assert output.returncode == 0, output.stderr + output.stdout
    document = json.loads(output.stdout)
    assert (document["cards"], document["requests"]) == (2000, 5)
    assert {each["status"] for each in document["pages"]} == {200}
    assert sum(each["public"] for each in document["pages"]) == 3
    assert all(each["bytes"] > 0 and each["p95_ms"] > 0 for each in document["pages"])
    assert list(place.iterdir()) == []
