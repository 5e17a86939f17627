"""Operator process: shows the state of the fleet and sends its alerts, as a part of the fleet."""

from dataclasses import dataclass
from pathlib import Path

from florin.kit.settings.alerts import AlertSettings, MailSettings
from florin.kit.settings.secrets import SecretSettings
from florin.ops.fleet.operator_folder import FACTS
from florin.ops.supervisor.part_spec import PartSpec
from florin.ops.system import http_probe
from florin.ops.topology.app_process import AppProcess

_LIVE = "/health/live"
_RECEIVERS = [
    str(field.validation_alias)
    for section in (MailSettings, AlertSettings)
    for field in section.model_fields.values()
]
# Not the release: after a deployment the supervisor replaces the process when nothing else changes.
_WIRES = (
    *("DATABASE_URL", "FLORIN_OPERATIONS_PORT", "FLORIN_FACTS"),
    *("FLORIN_PUBLIC_URL", *_RECEIVERS, *(f"{name}_FILE" for name in _RECEIVERS)),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorProcess(AppProcess):
    """One process that reads the fleet; its operations port is its only port."""

    folder: Path  # with the facts

    def wanted(self) -> PartSpec:
        # It moves no money and no one signs in there: it gets none of the keys for that.
        keys = {str(field.validation_alias) for field in SecretSettings.model_fields.values()}
        hidden = {name: "" for key in keys for name in (key, f"{key}_FILE")}
        environ = {**hidden, "FLORIN_FACTS": str(self.folder / FACTS)}
        return self.part("operator", environ, wires=_WIRES, ready=_LIVE, alive=self.alive)

    async def alive(self) -> bool:
        return await http_probe.probe(self.address, _LIVE, within_s=3) is not None
