"""Merchants: the command that adds a merchant, for installations with closed sign-up."""

import asyncio
import os
from typing import Annotated, Literal

import msgspec
import typer

from florin.cli.options import HomeOption, JsonOption, home_of
from florin.ops.fleet.home import Home
from florin.ops.system.console import OperatorError

_FIELDS = {"email": "--email", "country": "--country", "currency": "--currency"}
_OPTIONS = _FIELDS | {"timezone": "--timezone", "name": "NAME"}


class Invitation(msgspec.Struct, kw_only=True):
    """The owner's invitation: its token, its expiry and the URL that accepts it."""

    token: str
    expires_at: str
    accept: str


def merchant(
    verb: Annotated[Literal["add"], typer.Argument(show_default=False)],
    name: Annotated[str, typer.Argument(metavar="NAME", show_default=False)],
    email: Annotated[str, typer.Option(metavar="A", help="The owner's e-mail address.")],
    country: Annotated[str, typer.Option(metavar="CC", help="ISO 3166, such as NL.")],
    currency: Annotated[str, typer.Option(metavar="C", help="ISO 4217, such as EUR.")],
    timezone: Annotated[
        str, typer.Option(metavar="Z", help="IANA; cards expire at the end of a day in it.")
    ] = "UTC",
    test: Annotated[
        bool, typer.Option("--test", help="Add a test merchant, with its own clock.")
    ] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Add a merchant and print the invitation of its owner."""
    del verb
    chosen = home_of(home)
    _know_home(chosen)
    wanted: dict[str, object] = {
        "name": name,
        "country": country,
        "currency": currency,
        "timezone": timezone,
        "test": test,
    }
    made, user, invitation = asyncio.run(_add(chosen, wanted, email))
    if as_json:
        document = {"merchant": made, "user": user, "invitation": invitation}
        print(msgspec.json.encode(document).decode())
        return
    print(
        f"{made.id}  {made.name}, {made.country}, {made.currency}, {made.timezone}\n"
        f"Invitation of the owner {user.email}, valid until {invitation.expires_at}:\n"
        f"  {invitation.token}\n"
        f"The owner sets a password with this token, once:\n"
        f"  POST {invitation.accept}"
        ' {"token": "…", "password": "…"}'
    )


def _know_home(home: Home) -> None:
    """Set the variables that the environment lacks: the home's database URL and secrets."""
    from florin.cli.database_url import know_engines
    from florin.ops.fleet import secrets

    know_engines(home)
    if home.secrets.exists():
        own = secrets.read_secrets(home)
        os.environ.update(secrets.application_secrets(own, os.environ))
        os.environ.setdefault("FLORIN_ENV", "development")


async def _add(home: Home, wanted: dict[str, object], email: str):  # noqa: ANN202 -- three structs
    from florin.identity.credentials.email_tokens import EmailTokens
    from florin.identity.members import EmailTaken
    from florin.kit.email_address import is_email
    from florin.kit.encryption import Sealer
    from florin.kit.errors import InvalidRequest
    from florin.kit.postgres.database import Database
    from florin.kit.postgres.function_sets import use_installed_functions
    from florin.kit.settings import InvalidSettings, read_settings
    from florin.merchants.merchant import MerchantRequest
    from florin.merchants.registration import invite_owner
    from florin.ops.haproxy import frontend

    if not is_email(email):
        raise OperatorError(f"--email: {email!r} is not an e-mail address, such as a@shop.nl.")
    try:
        settings = read_settings()
        want = msgspec.convert(wanted, MerchantRequest)
    except InvalidSettings as wrong:
        raise OperatorError("\n".join(wrong.mistakes)) from None
    except msgspec.ValidationError as wrong:
        raise OperatorError(f"{wrong}.") from None
    letters = EmailTokens(
        sealer=Sealer(*settings.key_ring("seal_key")),
        peppers=tuple(each.encode() for each in settings.key_ring("key_pepper")),
    )
    database = Database(
        settings.primary_url, name="florin merchant", on_connect=use_installed_functions
    )
    await database.open()
    try:
        made = await invite_owner(database, letters, want, email)
    except EmailTaken:
        raise OperatorError(f"--email: {email} already belongs to a member.") from None
    except InvalidRequest as wrong:
        raise OperatorError(f"{_OPTIONS.get(wrong.param or '', '')}: {wrong.detail}.") from None
    finally:
        await database.close()
    base = settings.public_url or next(iter(frontend.base_urls(home)), "")
    invitation = Invitation(
        token=made.token,
        expires_at=made.expires_at.isoformat(timespec="seconds"),
        accept=f"{base}/api/v1/auth/invitations/accept",
    )
    return made.merchant, made.user, invitation


COMMANDS = (
    (
        "merchant",
        merchant,
        'florin merchant add "Corner Shop" --email owner@shop.nl --country NL --currency EUR',
    ),
)
