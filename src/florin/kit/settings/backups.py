"""Backups: the external storage of backups."""

from pydantic import SecretStr
from pydantic_settings import BaseSettings

from florin.kit.settings.variable import WebUrl, variable


class BackupSettings(BaseSettings):
    """Backups (`florin up`, `florin backup`, `florin restore`)"""

    backup_url: str | None = variable(
        "BACKUP_URL",
        "S3-compatible storage to which backups and the log are copied; needs `florin[s3]`.",
        None,
        pattern=r"^s3://[a-z0-9][a-z0-9.-]+(/\S*)?$",
        example="s3://florin-backups/production",
    )
    backup_endpoint: WebUrl | None = variable(
        "BACKUP_ENDPOINT",
        "URL of the storage, if it is not Amazon's.",
        None,
        example="https://s3.eu-central-2.example.com",
    )
    backup_region: str | None = variable(
        "BACKUP_REGION", "Region of the storage.", None, example="eu-central-1"
    )
    backup_access_key_id: str | None = variable(
        "BACKUP_ACCESS_KEY_ID",
        "Access key of the storage; by default boto3 finds credentials (a role of the machine).",
        None,
    )
    backup_secret_access_key: SecretStr | None = variable(
        "BACKUP_SECRET_ACCESS_KEY", "Secret of the access key.", None
    )
