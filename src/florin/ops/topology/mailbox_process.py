"""Mailbox process: keeps the mails of a development fleet, as a part of the fleet."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from florin.kit.settings.alerts import MailSettings
from florin.kit.settings.secrets import SecretSettings
from florin.ops.fleet.operator_folder import MAILBOX
from florin.ops.supervisor.part_spec import PartSpec
from florin.ops.system import http_probe
from florin.ops.topology.app_process import HOST, AppProcess

_SENDER = "SMTP_FROM"
_SERVER = [
    name
    for field in MailSettings.model_fields.values()
    if (name := str(field.validation_alias)) != _SENDER
]
_WIRES = ("SMTP_PORT", "FLORIN_MAILBOX")


def mail_environ(environ: Mapping[str, str], port: int) -> dict[str, str]:
    """Return the environment with the mailbox as the mail server of all processes."""
    server = {name for each in _SERVER for name in (each, f"{each}_FILE")}
    kept = {name: value for name, value in environ.items() if name not in server}
    return kept | {"SMTP_HOST": HOST, "SMTP_PORT": str(port), "SMTP_TLS": "off"}


@dataclass(frozen=True, slots=True, kw_only=True)
class MailboxProcess(AppProcess):
    """One process that takes mails by SMTP, its only port."""

    folder: Path  # shared with the operator process

    def wanted(self) -> PartSpec:
        # It only writes files: it gets no keys and no database.
        keys = {str(field.validation_alias) for field in SecretSettings.model_fields.values()}
        names = {*keys, "DATABASE_URL", "DATABASE_URL_REPLICA", "REDIS_URL"}
        hidden = {name: "" for key in names for name in (key, f"{key}_FILE")}
        environ = {**hidden, "FLORIN_MAILBOX": str(self.folder / MAILBOX)}
        part = self.part("mailbox", environ, wires=_WIRES, ready="")
        return replace(part, operations=None, ready=self.listens)

    async def listens(self) -> bool:
        return await http_probe.is_listening(self.address)
