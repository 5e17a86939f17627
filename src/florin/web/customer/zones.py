"""Zones: the time zones that a form offers: one of each offset and rule where many people live."""

from florin.kit.time_zones import iana_zones
from florin.web.formats import Formats

_ZONES = """
Pacific/Honolulu America/Anchorage America/Los_Angeles America/Vancouver America/Denver
America/Phoenix America/Chicago America/Mexico_City America/Bogota America/New_York America/Toronto
America/Halifax America/Santiago America/St_Johns America/Sao_Paulo America/Argentina/Buenos_Aires
Atlantic/Azores Atlantic/Reykjavik Europe/Dublin Europe/Lisbon Europe/London Africa/Casablanca
Africa/Lagos Europe/Amsterdam Europe/Berlin Europe/Brussels Europe/Copenhagen Europe/Madrid
Europe/Oslo Europe/Paris Europe/Prague Europe/Rome Europe/Stockholm Europe/Vienna Europe/Warsaw
Europe/Zurich Africa/Cairo Africa/Johannesburg Asia/Jerusalem Europe/Athens Europe/Bucharest
Europe/Helsinki Europe/Kyiv Africa/Nairobi Asia/Riyadh Europe/Istanbul Europe/Moscow Asia/Tehran
Asia/Dubai Asia/Kabul Asia/Karachi Asia/Kolkata Asia/Kathmandu Asia/Dhaka Asia/Yangon Asia/Bangkok
Asia/Jakarta Asia/Hong_Kong Asia/Manila Asia/Shanghai Asia/Singapore Australia/Perth Asia/Seoul
Asia/Tokyo Australia/Adelaide Australia/Brisbane Australia/Sydney Pacific/Auckland UTC
""".split()  # noqa: SIM905 -- a list of literals would take 60 lines


def list_zones(formats: Formats, *more: str) -> list[tuple[str, str]]:
    """The zones with their names, and `more` if they exist, by name."""
    known = [zone for zone in {*_ZONES, *more} if zone in iana_zones()]
    return sorted(((zone, formats.place(zone)) for zone in known), key=lambda each: each[1])
