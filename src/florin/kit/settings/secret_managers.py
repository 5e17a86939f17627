"""Secret managers: secret managers of clouds, asked once at the start for what the environment
lacks.

The clients are pydantic-settings' own; their packages are optional and imported only here.
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
    """The manager cannot be asked; one sentence, without secrets."""


def read_secrets(place: str, wanted: Iterable[str], kind: type[BaseSettings]) -> dict[str, str]:
    """Return those of the wanted variables that the manager has. Raises Unreachable."""
    cloud, _, where = place.partition(":")
    if cloud not in _PACKAGES or not where:
        return {}  # told by the variable itself
    module, package = _PACKAGES[cloud]
    if not _installed(module):
        raise SecretManagerUnreachable(
            f"{cloud} needs packages that are not installed: pip install '{package}'"
        )
    try:
        held: dict[str, Any] = _OPEN[cloud](where, kind)()
    except Exception as error:  # noqa: BLE001 -- each cloud has errors of its own
        # Their text can hold parts of requests, so only the kind is told.
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
