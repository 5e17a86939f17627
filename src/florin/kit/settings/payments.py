"""Payments: the installation's own accounts at payment gateways."""

from typing import Annotated, Literal

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
    paypal_client_id: str | None = variable(
        "PAYPAL_CLIENT_ID", "Client id of the installation's account at PayPal.", None
    )
    paypal_client_secret: SecretStr | None = variable(
        "PAYPAL_CLIENT_SECRET", "Secret of that client; both are needed.", None
    )
    paypal_webhook_id: str | None = variable(
        "PAYPAL_WEBHOOK_ID",
        "Id of its webhook, whose address is `/api/v1/hooks/paypal/default`. Without it that"
        " address does not exist, and Florin asks PayPal every few minutes.",
        None,
    )
    paypal_mode: Literal["sandbox", "live"] = variable(
        "PAYPAL_MODE", "Whether that account moves real money.", "sandbox"
    )
    paypal_url: WebUrl | None = variable(
        "PAYPAL_URL", "Another address of PayPal's API, for tests.", None
    )
    stripe_url: WebUrl | None = variable(
        "STRIPE_URL", "Another address of Stripe's API, for tests.", None
    )
