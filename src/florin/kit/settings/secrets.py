"""Secrets: Florin's own secrets."""

from pydantic_settings import BaseSettings

from florin.kit.settings.variable import Key, OtherKeys, variable


class SecretSettings(BaseSettings):
    """Florin's own secrets"""

    jwt_secret: Key = variable("JWT_SECRET", "Signs access tokens.")
    jwt_refresh_secret: Key = variable("JWT_REFRESH_SECRET", "Signs refresh tokens.")
    code_pepper: Key = variable(
        "FLORIN_CODE_PEPPER",
        "Key of the hash of card codes. Without it no card can be spent by code.",
    )
    key_pepper: Key = variable(
        "FLORIN_KEY_PEPPER", "Key of the hash of API keys. Without it every API key is void."
    )
    seal_key: Key = variable("FLORIN_SEAL_KEY", "Encrypts card codes until they are delivered.")

    jwt_secret_previous: OtherKeys = variable(
        "JWT_SECRET_PREVIOUS",
        "Also accepted while JWT_SECRET is rotated: the previous secret, or the next one. Separate"
        " several with spaces.",
        (),
    )
    jwt_refresh_secret_previous: OtherKeys = variable(
        "JWT_REFRESH_SECRET_PREVIOUS", "Also accepted while JWT_REFRESH_SECRET is rotated.", ()
    )
    code_pepper_previous: OtherKeys = variable(
        "FLORIN_CODE_PEPPER_PREVIOUS",
        "Previous peppers; cards are found by these, too. Keep each while its cards exist.",
        (),
    )
    key_pepper_previous: OtherKeys = variable(
        "FLORIN_KEY_PEPPER_PREVIOUS",
        "Previous peppers; API keys are found by these, too. A used key moves to the current one.",
        (),
    )
    seal_key_previous: OtherKeys = variable(
        "FLORIN_SEAL_KEY_PREVIOUS",
        "Decrypts what was encrypted before FLORIN_SEAL_KEY was rotated.",
        (),
    )

    def key_ring(self, name: str) -> tuple[str, ...]:
        """A secret and those also accepted during its rotation, the current one first."""
        return tuple(
            each.get_secret_value()
            for each in (getattr(self, name), *getattr(self, f"{name}_previous"))
        )
