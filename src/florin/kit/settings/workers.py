"""Workers: what workers may use, how long things are kept, who sees the queues."""

from pydantic_settings import BaseSettings

from florin.kit.settings.variable import variable


class WorkerSettings(BaseSettings):
    """Workers and queues"""

    worker_memory_mb: int = variable(
        "FLORIN_WORKER_MEMORY_MB",
        "What a worker, or a job that runs in a process of its own, may allocate.",
        1024,
        ge=256,
    )
    keys_kept_days: int = variable(
        "FLORIN_KEYS_KEPT_DAYS", "For how many days an idempotency key is remembered.", 90, ge=30
    )
    operators: str = variable(
        "FLORIN_OPERATORS",
        "Merchants whose owners see the installation's queues: ids with commas between, or `any`;"
        " in development and test any, else none.",
        "",
        example="mer_01a20e61ab827384bc9d91e5e40eeb26",
    )
