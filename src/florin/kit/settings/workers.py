"""Workers: memory limit, retention and access to the queues."""

from pydantic_settings import BaseSettings

from florin.kit.settings.variable import variable


class WorkerSettings(BaseSettings):
    """Workers and queues"""

    worker_memory_mb: int = variable(
        "FLORIN_WORKER_MEMORY_MB",
        "Memory that a worker, or an isolated job in its own process, may allocate.",
        1024,
        ge=256,
    )
    keys_kept_days: int = variable(
        "FLORIN_KEYS_KEPT_DAYS", "Days for which an idempotency key is kept.", 90, ge=30
    )
    workers_max: int | None = variable(
        "FLORIN_WORKERS_MAX",
        "Only for `florin operator` where another system, such as KEDA, starts the workers: it then"
        " decides their number, up to this one, and serves it at `/workers`.",
        None,
        ge=1,
        le=1_000,
        example="20",
    )
    operators: str = variable(
        "FLORIN_OPERATORS",
        "Merchants whose owners may see the installation's queues and its page `/operator`: ids"
        " with commas, or `any`; in development and test any, else none.",
        "",
        example="mer_01a20e61ab827384bc9d91e5e40eeb26",
    )
