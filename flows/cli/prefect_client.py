"""A client of the configured Prefect server, or of the one that `engage up` started; its errors as one sentence."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from engage.errors import ConfigError
from engage.masking import mask_urls
from flows.cli.started import use_own_server


@contextmanager
def connected() -> Iterator[Any]:
    """Prefect's synchronous client; ConfigError if no server is configured, or if it does not answer."""
    use_own_server()
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    import httpx
    from prefect.client.orchestration import get_client
    from prefect.settings import get_current_settings

    url = get_current_settings().api.url
    if not url:
        raise ConfigError(
            "no Prefect server is configured; `.venv/bin/engage up` starts one with a worker, or set PREFECT_API_URL to yours, such as "
            "http://127.0.0.1:4200/api (`.venv/bin/prefect server start`); then try again"
        )
    try:
        with get_client(sync_client=True) as client:
            yield client
    except httpx.HTTPError as error:
        raise ConfigError(
            f"the Prefect server at {mask_urls(url)} does not answer ({mask_urls(str(error))}); start it or correct "
            "PREFECT_API_URL"
        ) from error
