"""One fleet of the product's own processes for the tests of the page; each leaves it as it was."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.ops.conftest import TestFleet, until

ROOT = Path(__file__).parents[3]


class PageFleet(TestFleet):
    """A fleet with the page on its operations port."""

    __test__ = False

    @property
    def base(self) -> str:
        return f"http://{self.part('balancer').operations}"

    def state(self) -> dict[str, Any]:
        answer = httpx.get(f"{self.base}/operator/state", timeout=5)
        assert answer.status_code == 200
        return answer.json()

    def shown(
        self, ask: Callable[[dict[str, Any]], object], what: str, within_s: float = 30
    ) -> Any:
        """Wait until the document says so; return the document."""

        def look() -> dict[str, Any] | None:
            state = self.state()
            return state if ask(state) else None

        return until(look, what, within_s)


def shown_part(state: dict[str, Any], name: str) -> dict[str, Any]:
    return next(part for part in state["parts"] if part["name"] == name)


@pytest.fixture(scope="module")
def page_fleet() -> Iterator[PageFleet]:
    folder = Path(tempfile.mkdtemp(prefix="florin test "))
    folder.chmod(0o711)
    fleet = PageFleet(folder)
    fleet.workers, fleet.whole = "1", True
    fleet.environ["FLORIN_CHECKOUT"] = str(ROOT)  # its release holds the runbooks
    try:
        fleet.up()
        fleet.shown(lambda state: state["summary"]["level"] == "ok", "all to be well")
        yield fleet
    finally:
        fleet.clean_up()
        shutil.rmtree(folder, ignore_errors=True)
