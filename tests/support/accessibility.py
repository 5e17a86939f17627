"""Accessibility: what axe-core finds wrong with the page that a browser shows."""

import json
from functools import cache
from importlib.resources import files

from tests.support.browser import Browser

_WITHIN_S = 20.0
_FOUND = """JSON.stringify(window.axeFound.violations.map(each =>
  `${each.id}: ${each.help} (${each.nodes.map(node => node.target.join(' ')).join(', ')})`))"""


@cache
def _axe() -> str:
    return files("axe_core_python").joinpath("axe.min.js").read_text("utf-8")


def violations(browser: Browser) -> list[str]:
    """Return the rules of axe-core that the page breaks, each with the elements."""
    browser.evaluate(f"{_axe()}; 0")
    browser.evaluate("window.axeFound = null; axe.run().then(all => { window.axeFound = all }); 0")
    browser.wait_for("window.axeFound !== null", within_s=_WITHIN_S)
    assert browser.evaluate("window.axeFound.passes.length") > 10, "axe did not see the page"
    return list(json.loads(browser.evaluate(_FOUND)))
