"""Payments: the installation's own accounts at payment gateways."""

from typing import Annotated

from pydantic import AfterValidator, SecretStr
from pydantic_settings import BaseSettings

from florin.kit.settings.variable import WebUrl, variable

STRIPE_KEYS = ("sk_test_", "sk_live_", "rk_test_", "rk_live_")


def _stripe_key(value: SecretStr) -> SecretStr:
    if not value.get_secret_value().startswith(STRIPE_KEYS):
        raise ValueError(f"begins with one of {', '.join(STRIPE_KEYS)}")
    return value


class PaymentSettings(BaseSettings):
    """Payments"""

    stripe_secret_key: Annotated[SecretStr, AfterValidator(_stripe_key)] | None = variable(
        "STRIPE_SECRET_KEY",
        "Secret or restricted key of the installation's account at Stripe. The package"
        " `florin[stripe]` must be installed.",
        None,
    )
    stripe_webhook_secret: SecretStr | None = variable(
        "STRIPE_WEBHOOK_SECRET",
        "Signing secret of its webhook, whose address is `/api/v1/hooks/stripe/default`. Without it"
        " that address does not exist, and Florin asks Stripe every few minutes.",
        None,
    )
    stripe_url: WebUrl | None = variable(
        "STRIPE_URL", "Another address of Stripe's API, for tests.", None
    )
