"""Settings: every variable Florin reads, once, typed, with all mistakes told together.

A variable is a field of one of the sections (`process`, `databases`, `secrets`, `integrations`);
what must hold between several is a rule in `validation`. docs/operations/settings.md and
.env.example are generated.
"""

from florin.kit.settings.settings import Settings, SettingsWrong, advice, given, names, read

__all__ = ["Settings", "SettingsWrong", "advice", "given", "names", "read"]
