"""Secrets: Florin's own secrets."""

from pydantic_settings import BaseSettings

from florin.kit.settings.variable import Key, OtherKeys, variable


class SecretSettings(BaseSettings):
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

    jwt_secret_previous: OtherKeys = variable(
        "JWT_SECRET_PREVIOUS",
        "Accepted beside JWT_SECRET while it is changed: the one before, or the one to come."
        " Several with spaces between them.",
        (),
    )
    jwt_refresh_secret_previous: OtherKeys = variable(
        "JWT_REFRESH_SECRET_PREVIOUS", "Accepted beside JWT_REFRESH_SECRET while it is changed.", ()
    )
    code_pepper_previous: OtherKeys = variable(
        "FLORIN_CODE_PEPPER_PREVIOUS",
        "Cards are found by these, too. Keep each for as long as cards made under it live.",
        (),
    )
    key_pepper_previous: OtherKeys = variable(
        "FLORIN_KEY_PEPPER_PREVIOUS",
        "API keys are found by these, too; each that is used moves to FLORIN_KEY_PEPPER.",
        (),
    )
    seal_key_previous: OtherKeys = variable(
        "FLORIN_SEAL_KEY_PREVIOUS", "Opens what was sealed before FLORIN_SEAL_KEY was changed.", ()
    )

    def key_ring(self, name: str) -> tuple[str, ...]:
        """A secret and those accepted beside it while it is changed, the one in use first."""
        return tuple(
            each.get_secret_value()
            for each in (getattr(self, name), *getattr(self, f"{name}_previous"))
        )
