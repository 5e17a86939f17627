"""Doctor: checks of settings, engines, ports and disk, each with what to do about it."""
