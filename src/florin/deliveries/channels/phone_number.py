"""Phone number: read into E.164, the form in which it is stored and given to a gateway."""

from typing import Annotated
from uuid import UUID

from msgspec import Meta

from florin.kit.postgres.database import Reader, Tx

NO_NUMBER = "this is no telephone number that exists; give it as in +49 1512 3456789"
Phone = Annotated[
    str,
    Meta(
        min_length=4,
        max_length=32,
        pattern=r"^[0-9+(][0-9 ()./-]*$(?!\n)",
        description="A mobile number: in international form, or as it is dialled in the"
        " merchant's country.",
        examples=["+49 1512 3456789"],
    ),
]


def read_phone(text: str, country: str | None = None) -> str | None:
    """The number in E.164, such as `+4915123456789`; None if it is none that can exist. `country`:
    the ISO 3166 code of the country in which a number without `+` is dialled.
    """
    import phonenumbers  # its tables take 20 ms to import; only messages by SMS need them

    try:
        number = phonenumbers.parse(text, country)
    except phonenumbers.NumberParseException:
        return None
    if number.extension or not phonenumbers.is_valid_number(number):
        return None
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


async def read_local_phone(reader: Reader | Tx, merchant: UUID, text: str) -> str | None:
    """As `read_phone`, in the country of a merchant."""
    row = await reader.one("select country from florin.merchant where id = $1", merchant)
    assert row is not None, "merchants are never deleted"
    return read_phone(text, row["country"])
