"""Forms: the fields that a page sent, strictly parsed."""

from collections.abc import Mapping
from urllib.parse import parse_qsl

from florin.kit.errors import InvalidRequest
from florin.kit.http.litestar_adapter import AnyRequest

FIELDS_MAX = 64
_SECRET = ("password", "secret")  # in names of fields
_FORM = "application/x-www-form-urlencoded"


class PageForm:
    """The fields of a form. A field that is missing reads as the empty text."""

    def __init__(self, fields: Mapping[str, list[str]]) -> None:
        self._fields = fields

    def text(self, name: str) -> str:
        """A field without the space around it."""
        return self.secret(name).strip()

    def secret(self, name: str) -> str:
        """A field exactly as it was typed."""
        return next(iter(self._fields.get(name, ())), "")

    def optional(self, name: str) -> str | None:
        return self.text(name) or None

    def all(self, name: str) -> list[str]:
        return self._fields.get(name, [])

    def ticked(self, name: str) -> bool:
        return name in self._fields

    def repeatable(self) -> list[tuple[str, str]]:
        """Its fields, to be sent again from another page; none if one of them is a secret."""
        if any(part in name for name in self._fields for part in _SECRET):
            return []
        return [(name, value) for name, values in self._fields.items() for value in values]

    def whole(self, name: str) -> int | None:
        """A whole number, as a person types it; None if it is not one."""
        digits = self.text(name).replace(",", "").replace(".", "").replace(" ", "")
        return int(digits) if digits.isascii() and digits.isdecimal() and len(digits) < 16 else None  # noqa: PLR2004 -- more than any count


def is_form(request: AnyRequest) -> bool:
    """Whether it was sent by a form without files."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return kind == _FORM


async def read_form(request: AnyRequest) -> PageForm:
    """Read a form. Raises InvalidRequest for another media type, too many fields, or text that is
    not UTF-8 or contains U+0000.
    """
    if not is_form(request):
        raise InvalidRequest(f"Content-Type must be {_FORM}", param="Content-Type")
    body = await request.body()
    try:
        pairs = parse_qsl(
            body.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=bool(body),
            errors="strict",
            max_num_fields=FIELDS_MAX,
        )
    except ValueError:
        raise InvalidRequest("The form cannot be read; send it from its page") from None
    fields: dict[str, list[str]] = {}
    for name, value in pairs:
        if "\0" in value:
            raise InvalidRequest("text must not contain the character U+0000", param=name)
        # Browsers send line breaks as CRLF; they are stored as one character.
        fields.setdefault(name, []).append(value.replace("\r\n", "\n"))
    return PageForm(fields)
