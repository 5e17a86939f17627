"""Settings: the typed environment variables of Florin; all errors are reported together.

A variable is a field of one of the sections (`process`, `databases`, `secrets`, `integrations`);
rules between several are in `validation`. docs/operations/settings.md and .env.example are
generated.
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
