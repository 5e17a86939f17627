"""Settings: every variable Florin reads, once, typed, with all mistakes told together.

A variable is a field of one of the sections (`process`, `databases`, `secrets`, `integrations`);
what must hold between several is a rule in `validation`. docs/operations/settings.md and
.env.example are generated.
"""

from florin.kit.settings.settings import (
    InvalidSettings,
    Settings,
    read_settings,
    read_variable,
    settings_advice,
    variable_names,
)

__all__ = [
    "InvalidSettings",
    "Settings",
    "read_settings",
    "read_variable",
    "settings_advice",
    "variable_names",
]
