"""Databases: PostgreSQL, Valkey or Redis, and where secrets may come from."""

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
        "DATABASE_URL_PRIMARY", "The primary, where it is named apart from the replicas.", None
    )
    database_url_replica: PostgresUrls | None = variable(
        "DATABASE_URL_REPLICA",
        "Replicas for lists and reports; several with commas between them. Needs REDIS_URL.",
        None,
        example="postgresql://florin_app:…@db-2.example.com/florin,postgresql://florin_app:…@db-3.example.com/florin",
    )
    database_url_owner: PostgresUrl | None = variable(
        "DATABASE_URL_OWNER",
        "The role that owns the schema. Only `florin migrate` uses it; give it to nothing else.",
        None,
        example="postgresql://florin_owner:…@db.example.com/florin",
    )
    redis_url: RedisUrl | None = variable(
        "REDIS_URL",
        "Valkey or Redis, for what can be rebuilt. Without it each instance counts for itself, and"
        " replicas are not read. `redis://host`, `redis+sentinel://host,host/NAME`,"
        " `redis+cluster://host,host`; with TLS `rediss…`.",
        None,
        example="rediss://florin:…@cache.example.com:6379/0",
    )

    @property
    def primary_url(self) -> str:
        found = self.database_url_primary or self.database_url
        assert found is not None, "a rule requires one of them"
        return found.get_secret_value()

    @property
    def replica_urls(self) -> list[str]:
        return urls_of(self.database_url_replica) if self.database_url_replica else []


class SecretManagerSettings(BaseSettings):
    """Secret manager"""

    secrets_from: str | None = variable(
        "FLORIN_SECRETS_FROM",
        "Where variables that are not set are looked for: `aws:SECRET_ID` (AWS Secrets Manager, one"
        " JSON object of variables; region and credentials as boto3 finds them), `gcp:PROJECT_ID`"
        " (Google Secret Manager, a secret a variable), `azure:https://VAULT.vault.azure.net`"
        " (Azure Key Vault, a secret a variable, with `-` for `_`).",
        None,
        pattern=r"^(aws|gcp|azure):\S+$",
        example="aws:prod/florin",
    )
