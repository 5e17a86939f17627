"""Backups: where backups go besides the disk that they are copies of."""

from pydantic import SecretStr
from pydantic_settings import BaseSettings

from florin.kit.settings.variable import WebUrl, variable


class BackupSettings(BaseSettings):
    """Backups (`florin up`, `florin backup`, `florin restore`)"""

    backup_url: str | None = variable(
        "BACKUP_URL",
        "S3-compatible storage that backups and the log are passed on to; needs `florin[s3]`.",
        None,
        pattern=r"^s3://[a-z0-9][a-z0-9.-]+(/\S*)?$",
        example="s3://florin-backups/production",
    )
    backup_endpoint: WebUrl | None = variable(
        "BACKUP_ENDPOINT",
        "Where the storage answers, if it is not Amazon's.",
        None,
        example="https://s3.eu-central-2.example.com",
    )
    backup_region: str | None = variable(
        "BACKUP_REGION", "Its region.", None, example="eu-central-1"
    )
    backup_access_key_id: str | None = variable(
        "BACKUP_ACCESS_KEY_ID",
        "Who signs in there; without it as boto3 finds credentials (a role of the machine).",
        None,
    )
    backup_secret_access_key: SecretStr | None = variable(
        "BACKUP_SECRET_ACCESS_KEY", "Belongs to the key.", None
    )
