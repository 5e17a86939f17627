"""Uvicorn config: what the public and the operations listener of an instance have in common."""

from typing import Any

import uvicorn

from florin.kit.server.protocol import BoundedHttpProtocol


def uvicorn_config(app: Any, **options: Any) -> uvicorn.Config:
    """The configuration of a listener; `options` are further ones of uvicorn."""
    return uvicorn.Config(
        app,
        http=BoundedHttpProtocol,
        ws="none",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,  # TrustedProxies finds the client's address instead
        **options,
    )
