"""Import columns: recognise the columns of an imported file by the names of the usual exports.

A field may be meant by several columns, such as what a card was sold for and what is left on it:
the better name counts, and equally good ones are refused. Names of which exports have no use here
are ignored; any other name is refused, so that no column is lost by a typing mistake. With
`columns=` the caller says what a column is, and the others are ignored.
"""

import csv
import re
from collections.abc import Collection, Mapping
from typing import NamedTuple

from florin.cards.jobs.csv_records import SEPARATORS
from florin.kit.errors import InvalidRequest
from florin.kit.http.body import METADATA_PAIRS_MAX
from florin.kit.http.explanations import shown

FIELDS = (
    "program",
    "amount",
    "code",
    "pin",
    "currency",
    "expires_at",
    "state",
    "recipient_name",
    "recipient_email",
)
METADATA = "metadata."  # and the key

# By field, the names from the best to the weakest. Compared without case and punctuation.
_NAMES: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "program": (("program",),),
    "amount": (
        ("remaining", "remaining balance", "remaining value", "remaining amount", "current balance",
         "current value", "available balance", "balance remaining", "outstanding balance"),
        ("amount", "balance", "card balance", "gift card balance"),
        ("value", "card value"),
    ),
    "code": (
        ("code", "gift card code", "card code", "coupon code", "voucher code", "redemption code"),
        ("card number", "gift card number", "card no", "number", "gan", "gift card",
         "gift card account number", "voucher number", "barcode"),
    ),
    "pin": (("pin", "card pin", "pin code", "security code"),),
    "currency": (("currency", "currency code"),),
    "expires_at": (
        ("expires at", "expires", "expires on", "expiry", "expiry date", "expiration",
         "expiration date", "expire date", "valid until", "valid to", "expires date"),
    ),
    "state": (("state", "status", "card status"), ("enabled", "active", "is active")),
    "recipient_name": (
        ("recipient name", "recipient", "to name"),
        ("name", "to"),
        ("customer name", "customer", "owner", "purchaser name"),
    ),
    "recipient_email": (
        ("recipient email", "recipient e mail", "to email", "email recipient"),
        ("email", "e mail", "email address"),
        ("customer email", "owner email", "purchaser email"),
    ),
}  # fmt: skip
_KNOWN = {
    name: (field, rank)
    for field, ranks in _NAMES.items()
    for rank, names in enumerate(ranks)
    for name in names
}
# What the usual exports have besides, and an import has no use for.
_IGNORED = frozenset(
    name.strip()
    for name in """
    id|card|card id|gift card id|object|created|created at|created on|created date|date created
    created date time|date|date sold|date issued|issued|issued on|issued at|issue date|issued date
    sold|sold on|sold at|purchase date|purchased|purchased on|activated|activated at|activated on
    activation date|date activated|initial|initial balance|initial value|initial amount
    original balance
    original value|original amount|issued amount|face value|purchase price|price|paid|total sold
    total redeemed|total used|redeemed|redeemed amount|redeemed value|used|used amount|spent
    order|order id|order name|order no|order number|invoice|invoice number|sale id|transaction id
    last characters|last 4|last4|last four|type|card type|title|item|product|product name|sku
    from|from name|from email|sender|sender name|sender email|buyer|buyer name|buyer email
    message|note|notes|internal note|comments|delivery|delivery date|delivery method|deliver date
    sent|sent on|send on|scheduled|disabled at|disabled on|expired|disabled reason|updated
    updated at|last used|last used at|last used on|last activity|location|store|outlet|register
    user|user name|user id|staff|employee|customer id|recipient phone|phone|design|template|url
    backing type|tax|tax amount|fee|fees|tags|source|channel|batch|liability|redemptions|key
    """.replace("\n", "|").split("|")
    if name.strip()
)
_WORDS = re.compile(r"[^\W_]+")
_KEY_MAX = 40


class Column(NamedTuple):
    """What a column of the file is: a field, `metadata.` and a key, or None if it is ignored."""

    field: str | None
    name: str


class KnownColumns:
    """The names by which the separator of a file is detected."""

    def __init__(self, given: Mapping[str, str]) -> None:
        self._given = {plain(name) for name in given}

    def __contains__(self, name: object) -> bool:
        words = plain(str(name))
        return words in _KNOWN or words in _IGNORED or words in self._given


def plain(name: str) -> str:
    return " ".join(_WORDS.findall(name.lower())).strip()


def read_columns(text: str | None) -> dict[str, str]:
    """Parse `columns=amount:Balance,code:Card no`: by name of the file, the field that it is.

    Raises InvalidRequest.
    """
    if text is None:
        return {}
    found: dict[str, str] = {}
    try:
        (pairs,) = csv.reader([text], strict=True, skipinitialspace=True)
    except (csv.Error, ValueError):
        pairs = [""]
    for pair in pairs:
        field, colon, name = pair.partition(":")
        field, name = field.strip(), name.strip()
        metadata = field.startswith(METADATA) and 0 < len(field) - len(METADATA) <= _KEY_MAX
        if not colon or not name or not (field in FIELDS or metadata):
            raise InvalidRequest(
                "columns must be pairs of a field and the name of its column, such as"
                " amount:Balance,code:Card no,metadata.order:Order; the fields are"
                f" {', '.join(FIELDS)} and {METADATA}KEY, not {shown(pair)}",
                param="columns",
            )
        if name in found or field in found.values():
            raise InvalidRequest(f"{shown(pair)} is given twice", param="columns")
        found[name] = field
    return found


def match_columns(
    names: list[str], given: Mapping[str, str], *, line: int, may_show: Collection[str]
) -> list[Column]:
    """Return what each column is. `may_show`: the names that a message may repeat.

    Raises InvalidRequest.
    """
    wanted = {plain(name): field for name, field in given.items()}
    if missing := [name for name in given if plain(name) not in map(plain, names)]:
        detail = f"line {line}: there is no column {shown(missing[0])}"
        raise InvalidRequest(detail, param="columns")
    columns: list[Column] = []
    best: dict[str, tuple[int, int]] = {}  # by field: the rank, and the column that has it
    for at, name in enumerate(names):
        field, rank = _field_of(name, wanted)
        if field is None:
            if not given and plain(name) not in _IGNORED:
                raise _unknown(name, line, may_show)
        elif field in best:
            before, other = best[field]
            if rank == before:
                raise _twice(names[other], name, field, line, may_show)
            if rank > before:
                field = None
            else:
                columns[other] = Column(None, columns[other].name)
        if field is not None:
            best[field] = (rank, at)
        columns.append(Column(field, name))
    if sum(each.startswith(METADATA) for each in best) > METADATA_PAIRS_MAX:
        raise InvalidRequest(f"line {line}: a card has at most {METADATA_PAIRS_MAX} metadata pairs")
    return columns


def _field_of(name: str, wanted: Mapping[str, str]) -> tuple[str | None, int]:
    words = plain(name)
    if words in wanted:
        return wanted[words], -1
    if name.lower().startswith(METADATA) and 0 < len(name) - len(METADATA) <= _KEY_MAX:
        return METADATA + name[len(METADATA) :], 0
    field, rank = _KNOWN.get(words, (None, 0))
    # With `columns=` only Florin's own names are recognised besides: the others may mean anything.
    if wanted and (field in wanted.values() or words.replace(" ", "_") not in FIELDS):
        return None, 0
    return field, rank


def _unknown(name: str, line: int, may_show: Collection[str]) -> InvalidRequest:
    show = name in may_show
    return InvalidRequest(
        f"line {line}: {shown(name) if show else 'what is there'} is no column that is known; the"
        f" columns are {', '.join(FIELDS)} and {METADATA}KEY, separated by"
        f" {', '.join(SEPARATORS.values())}, and the names of the usual exports; say what others"
        " are with columns=, such as columns=amount:Balance",
        param=name[:100] if show else None,
    )


def _twice(
    first: str, second: str, field: str, line: int, may_show: Collection[str]
) -> InvalidRequest:
    shows = first in may_show and second in may_show
    both = f"{shown(first)} and {shown(second)}" if shows else "two columns"
    return InvalidRequest(
        f"line {line}: {both} may both be {field}; say which one is, with columns={field}:NAME",
        param=second[:100] if shows else None,
    )
