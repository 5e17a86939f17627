"""Content: a message, laid out once as HTML and once as plain text."""

from dataclasses import dataclass
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from florin.deliveries.look import HOUSE, MerchantLook

LOGO_ID = "logo@florin"  # Content-ID (RFC 2392)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """A PDF that goes with a message."""

    name: str
    content: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class CardTile:
    """The picture of a card: an amount, the kind of card and its last day, as text."""

    amount: str
    title: str
    validity: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageContent:
    """What a message says, in its reader's language, as plain text. `quote` is the personal message
    of a giver; `button` the label and address of its one link. The image of the look is a part of
    its own, which the HTML names by LOGO_ID.
    """

    locale: str
    subject: str
    sender: str
    preview: str
    heading: str
    tile: CardTile | None = None
    quote: str | None = None
    code: tuple[str, ...] = ()  # what it is, the code, and the PIN if there is one
    button: tuple[str, str] | None = None
    paragraphs: tuple[str, ...] = ()
    footer: str
    attachment: Attachment | None = None
    look: MerchantLook = HOUSE


def render_html(content: MessageContent) -> str:
    return _templates().get_template("mail.html").render(mail=content, logo_id=LOGO_ID)


def render_text(content: MessageContent) -> str:
    return _templates().get_template("mail.txt").render(mail=content)


@cache
def _templates() -> Environment:
    return Environment(
        loader=PackageLoader("florin.deliveries", "templates"),
        autoescape=select_autoescape(("html",)),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
