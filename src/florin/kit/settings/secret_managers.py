"""Secret managers: read variables that are not in the environment from a cloud's secret manager,
once at startup.

The clients are those of pydantic-settings; their packages are optional and imported only here.
"""

from collections.abc import Iterable
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from pydantic_settings import (
    AWSSecretsManagerSettingsSource,
    AzureKeyVaultSettingsSource,
    BaseSettings,
    GoogleSecretManagerSettingsSource,
)

_PACKAGES = {
    "aws": ("boto3", "florin[aws]"),
    "gcp": ("google.cloud.secretmanager", "florin[gcp]"),
    "azure": ("azure.keyvault.secrets", "florin[azure]"),
}


class SecretManagerUnreachable(Exception):
    """The secret manager cannot be read; the message has no secrets."""


def read_secrets(place: str, wanted: Iterable[str], kind: type[BaseSettings]) -> dict[str, str]:
    """Return the wanted variables that exist there. Raises SecretManagerUnreachable."""
    cloud, _, where = place.partition(":")
    if cloud not in _PACKAGES or not where:
        return {}  # reported by the variable itself
    module, package = _PACKAGES[cloud]
    if not _installed(module):
        raise SecretManagerUnreachable(
            f"{cloud} needs packages that are not installed: pip install '{package}'"
        )
    try:
        held: dict[str, Any] = _OPEN[cloud](where, kind)()
    except Exception as error:  # noqa: BLE001 -- each cloud has its own errors
        # Their text can contain parts of requests, so only the type is reported.
        raise SecretManagerUnreachable(f"{place} cannot be read ({type(error).__name__})") from None
    return {name: str(held[name]) for name in wanted if held.get(name)}


def _aws(where: str, kind: type[BaseSettings]) -> Any:
    return AWSSecretsManagerSettingsSource(kind, where, case_sensitive=True)


def _gcp(where: str, kind: type[BaseSettings]) -> Any:
    return GoogleSecretManagerSettingsSource(kind, project_id=where, case_sensitive=True)


def _azure(where: str, kind: type[BaseSettings]) -> Any:
    credential: Any = import_module("azure.identity").DefaultAzureCredential()
    return AzureKeyVaultSettingsSource(
        kind, where, credential, dash_to_underscore=True, case_sensitive=True
    )


_OPEN = {"aws": _aws, "gcp": _gcp, "azure": _azure}


def _installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False
