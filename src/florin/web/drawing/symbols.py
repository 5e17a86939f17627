"""Symbols: the icons, coins and marks of one page. A page contains only those that it uses."""

import re
from functools import cache
from importlib.resources import files

from markupsafe import Markup

_SYMBOL = re.compile(r'<symbol id="([\w-]+)".*?</symbol>', re.DOTALL)
SPRITE = Markup("<!--sprite-->")  # a place in a page: the last thing that is written

# A state of a card, a job, a delivery or an order: its coin, whose shape repeats the word.
_COINS = {
    "active": "full", "pending": "wait", "blocked": "barred", "expired": "clip", "closed": "off",
    "queued": "wait", "running": "half", "finished": "check", "failed": "cross",
    "open": "half", "captured": "check", "voided": "off", "invited": "wait", "removed": "off",
    "revoked": "off", "on": "full", "paused": "barred", "disabled": "off",
    "waiting": "wait", "due": "wait", "sending": "half", "sent": "check", "delivered": "check",
    "bounced": "cross", "cancelled": "off", "retrying": "half",
    "placed": "wait", "paid": "full", "fulfilled": "check", "lapsed": "clip", "review": "barred",
    "created": "wait", "processing": "half", "refunded": "off",
    "asked": "wait", "done": "check", "won": "check", "lost": "cross", "disputed": "barred",
    "enabled": "full",
}  # fmt: skip
_PLAIN = {"off": "", "empty": "", "check": "full"}  # the colour of a coin, where it differs


@cache
def _symbols() -> dict[str, str]:
    text = files("florin").joinpath("web", "templates", "symbols.svg").read_text("utf-8")
    return {match[1]: match[0] for match in _SYMBOL.finditer(text)}


class PageSymbols:
    """Draws symbols and remembers which ones the page used."""

    def __init__(self) -> None:
        self._used: set[str] = set()

    def icon(self, name: str, *, flip: bool = False, css: str = "") -> Markup:
        """An icon, decorative: a word is next to it. `flip`: mirrored from right to left."""
        return self._use(f"i-{name}", css=f"i{' i--flip' if flip else ''}{' ' if css else ''}{css}")

    def coin(self, kind: str) -> Markup:
        return self._use(f"s-{kind}", box="0 0 20 20")

    def mark(self) -> Markup:
        return self._use("mark", box="0 0 24 24")

    def art(self) -> Markup:
        """The drawing of a card, in the colours of its merchant."""
        return self._use("d-rosette", box="0 0 340 214")

    def state(self, state: str, word: str) -> Markup:
        """A state as a coin and a word."""
        coin = _COINS.get(state, "empty")
        css = _PLAIN.get(coin, coin)
        return Markup('<span class="state{}">{}{}</span>').format(
            f" state--{css}" if css else "", self.coin(coin), word
        )

    def sprite(self) -> str:
        """The symbols that the page used, to be written where SPRITE is."""
        drawn = "".join(_symbols()[name] for name in sorted(self._used))
        return f'<svg width="0" height="0" class="vh" aria-hidden="true"><defs>{drawn}</defs></svg>'

    def _use(self, name: str, *, css: str = "", box: str = "") -> Markup:
        if name not in _symbols():
            raise KeyError(name)
        self._used.add(name)
        if box:
            drawn = Markup('<svg viewBox="{}" aria-hidden="true"><use href="#{}"/></svg>')
            return drawn.format(box, name)
        drawn = Markup('<svg class="{}" aria-hidden="true"><use href="#{}"/></svg>')
        return drawn.format(css, name)
