"""Keys: Florin's own secrets."""

from pydantic_settings import BaseSettings

from florin.kit.settings.variable import Key, variable


class Keys(BaseSettings):
    """Florin's own secrets"""

    jwt_secret: Key = variable("JWT_SECRET", "Signs access tokens.")
    jwt_refresh_secret: Key = variable("JWT_REFRESH_SECRET", "Signs refresh tokens.")
    code_pepper: Key = variable(
        "FLORIN_CODE_PEPPER",
        "Keys the hash of card codes. If it is lost no card can be spent by code.",
    )
    key_pepper: Key = variable(
        "FLORIN_KEY_PEPPER", "Keys the hash of API keys. If it is lost every API key is void."
    )
    seal_key: Key = variable("FLORIN_SEAL_KEY", "Seals card codes until they are delivered.")
