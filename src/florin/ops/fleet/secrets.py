"""Secrets: created once, stored in the home for its owner only, passed to parts by environment."""

import base64
import secrets as random
from collections.abc import Mapping

import msgspec

from florin.ops.fleet.home import Home, write_file
from florin.ops.system.console import OperatorError

APPLICATION = (
    "JWT_SECRET",
    "JWT_REFRESH_SECRET",
    "FLORIN_CODE_PEPPER",
    "FLORIN_SEAL_KEY",
    "FLORIN_KEY_PEPPER",
)
PREVIOUS = tuple(f"{name}_PREVIOUS" for name in APPLICATION)  # of an import, after a rotation
ENGINES = (
    "POSTGRES_PASSWORD",
    "OWNER_PASSWORD",
    "APP_PASSWORD",
    "REPLICA_PASSWORD",
    "VALKEY_PASSWORD",
    "VALKEY_OPERATOR_PASSWORD",
)

Secrets = dict[str, str]


def ensure_secrets(home: Home) -> Secrets:
    """Return the home's secrets; create the missing ones."""
    kept = read_secrets(home)
    missing = [name for name in (*APPLICATION, *ENGINES) if name not in kept]
    if missing:
        kept |= {name: _make(name) for name in missing}
        write_file(home.secrets, msgspec.json.format(msgspec.json.encode(kept), indent=2))
    return kept


def read_secrets(home: Home) -> Secrets:
    try:
        return msgspec.json.decode(home.secrets.read_bytes(), type=Secrets)
    except FileNotFoundError:
        return {}
    except PermissionError:
        raise OperatorError(
            f"{home.secrets} belongs to another user; run this command as that user."
        ) from None
    except (OSError, msgspec.DecodeError):
        raise OperatorError(
            f"{home.secrets} cannot be read. Restore it from a backup: without it neither the"
            " database nor the card codes of this home are usable."
        ) from None


def application_secrets(secrets: Secrets, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the application's secrets, except those that the environment sets."""
    return {
        name: secrets[name]
        for name in (*APPLICATION, *PREVIOUS)
        if name in secrets and not environ.get(name) and not environ.get(f"{name}_FILE")
    }


def _make(name: str) -> str:
    if name == "FLORIN_SEAL_KEY":
        return base64.b64encode(random.token_bytes(32)).decode("ascii")
    return random.token_urlsafe(32)
