"""Environment: Jinja2 for the pages: everything escaped, an unknown name is an error."""

import re
from functools import cache
from importlib.resources import files
from typing import Any
from urllib.parse import urlencode

from babel.support import NullTranslations
from jinja2 import DictLoader, Environment, StrictUndefined

from florin.kit.http.static_files import static_url
from florin.web.drawing.symbols import SPRITE, PageSymbols
from florin.web.formats import Formats
from florin.web.languages import format_locale, read_catalogue

_BLANK = re.compile(r"\n\s*\n+")
# Gateways to which a form of the storefront may lead on; everything else stays on this origin.
GATEWAYS = (
    "https://checkout.stripe.com",
    "https://www.paypal.com",
    "https://www.sandbox.paypal.com",
)
POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; font-src 'self';"
    f" connect-src 'self'; manifest-src 'self'; form-action 'self' {' '.join(GATEWAYS)};"
    " base-uri 'none'; frame-ancestors 'none'"
)
# Of the page with the camera, whose reader of codes is WebAssembly.
CAMERA_POLICY = POLICY.replace("script-src 'self'", "script-src 'self' 'wasm-unsafe-eval'")


def make_environment(translations: NullTranslations) -> Environment:
    """The environment with the texts of one language."""
    made = Environment(
        loader=DictLoader(_templates()),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.i18n", "jinja2.ext.do"],
    )
    install: Any = made
    install.install_gettext_translations(translations, newstyle=True)
    made.globals["static"] = static_url  # pyright: ignore[reportArgumentType] -- any function
    made.filters["query"] = _query
    made.filters["code_groups"] = _code_groups
    made.filters["short_id"] = _short_id
    return made


@cache
def _environment(language: str) -> Environment:
    return make_environment(read_catalogue(language))


def render_template(
    name: str, language: str, formats: Formats | None = None, **context: Any
) -> str:
    """Render a template to HTML."""
    return render_with(_environment(language), name, language, formats, **context)


def render_with(
    environment: Environment,
    name: str,
    language: str,
    formats: Formats | None = None,
    **context: Any,
) -> str:
    symbols = PageSymbols()
    text = environment.get_template(name).render(
        f=formats or Formats(format_locale(language)),
        language=language,
        icon=symbols.icon,
        coin=symbols.coin,
        mark=symbols.mark,
        art=symbols.art,
        state=symbols.state,
        sprite=SPRITE,
        **context,
    )
    return _BLANK.sub("\n", text.replace(SPRITE, symbols.sprite(), 1))


@cache
def _templates() -> dict[str, str]:
    """Every template by its path, such as `console/cards.html`."""
    found: dict[str, str] = {}

    def add(folder: Any, within: str) -> None:
        for each in folder.iterdir():
            if each.is_dir():
                add(each, f"{within}{each.name}/")
            elif each.name.endswith(".html"):
                found[f"{within}{each.name}"] = each.read_text("utf-8")

    add(files("florin").joinpath("web", "templates"), "")
    return found


def _query(fields: dict[str, Any]) -> str:
    """A query string of the fields that have a value."""
    kept = {name: value for name, value in fields.items() if value not in {None, ""}}
    return f"?{urlencode(kept)}" if kept else ""


def _short_id(text: str) -> str:
    """An id as a column of a table shows it: its kind and its end."""
    kind, line, digits = text.partition("_")
    return f"{kind}_\N{HORIZONTAL ELLIPSIS}{digits[-6:]}" if line and len(digits) == 32 else text  # noqa: PLR2004 -- a UUID


def _code_groups(code: str) -> str:
    """A card's code in groups of four."""
    plain = code.replace("-", "").replace(" ", "")
    return " ".join(plain[at : at + 4] for at in range(0, len(plain), 4))
