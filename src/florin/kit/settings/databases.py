"""Databases: PostgreSQL, Valkey or Redis, and the secret manager."""

from pydantic_settings import BaseSettings

from florin.kit.settings.variable import PostgresUrl, PostgresUrls, RedisUrl, urls_of, variable


class DatabaseSettings(BaseSettings):
    """PostgreSQL and Valkey"""

    database_url: PostgresUrl | None = variable(
        "DATABASE_URL",
        "PostgreSQL, as the role of the application. `?connection_limit=20&pool_timeout=20`"
        " (connections, seconds) bounds the pool. This or DATABASE_URL_PRIMARY is required.",
        None,
        example="postgresql://florin_app:…@db.example.com/florin?connection_limit=20&pool_timeout=20",
    )
    database_url_primary: PostgresUrl | None = variable(
        "DATABASE_URL_PRIMARY", "The primary, if it is configured separately from replicas.", None
    )
    database_url_replica: PostgresUrls | None = variable(
        "DATABASE_URL_REPLICA",
        "Replicas for lists and reports; separate several with commas. Needs REDIS_URL.",
        None,
        example="postgresql://florin_app:…@db-2.example.com/florin,postgresql://florin_app:…@db-3.example.com/florin",
    )
    database_url_owner: PostgresUrl | None = variable(
        "DATABASE_URL_OWNER",
        "The role that owns the schema. Set it only for `florin migrate`.",
        None,
        example="postgresql://florin_owner:…@db.example.com/florin",
    )
    redis_url: RedisUrl | None = variable(
        "REDIS_URL",
        "Valkey or Redis, for data that can be rebuilt. Without it each instance counts alone and"
        " replicas are not read. `redis://host`, `redis+sentinel://host,host/NAME`,"
        " `redis+cluster://host,host`; with TLS `rediss…`.",
        None,
        example="rediss://florin:…@cache.example.com:6379/0",
    )

    @property
    def primary_url(self) -> str:
        url = self.database_url_primary or self.database_url
        assert url is not None, "a rule requires one of them"
        return url.get_secret_value()

    @property
    def replica_urls(self) -> list[str]:
        return urls_of(self.database_url_replica) if self.database_url_replica else []


class SecretManagerSettings(BaseSettings):
    """Secret manager"""

    secrets_from: str | None = variable(
        "FLORIN_SECRETS_FROM",
        "Secret manager for variables that are not set: `aws:SECRET_ID` (AWS Secrets Manager, one"
        " JSON object of variables; region and credentials as boto3 finds them), `gcp:PROJECT_ID`"
        " (Google Secret Manager, one secret per variable), `azure:https://VAULT.vault.azure.net`"
        " (Azure Key Vault, one secret per variable, with `-` for `_`).",
        None,
        pattern=r"^(aws|gcp|azure):\S+$",
        example="aws:prod/florin",
    )
