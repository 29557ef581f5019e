"""The workers of engage's work pool, as Prefect's server knows them."""

from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

POOL = "engage"


def online(client: Any, since_s: float = 0.0) -> list[str]:
    """Names of the pool's workers that are online and have reported since then (seconds since 1970); empty without a pool."""
    import httpx

    try:
        answer = client.request("POST", "/work_pools/{pool}/workers/filter", path_params={"pool": POOL}, json={})
    except httpx.HTTPStatusError as error:
        if error.response.status_code == 404:
            return []
        raise
    since = datetime.fromtimestamp(since_s, UTC)
    workers = answer.raise_for_status().json()
    alive = [one for one in workers if one["status"] == "ONLINE" and one["last_heartbeat_time"]]
    return [one["name"] for one in alive if datetime.fromisoformat(one["last_heartbeat_time"]) >= since]


def ensure_pool(client: Any) -> None:
    """Create the process work pool if it is missing."""
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.exceptions import ObjectAlreadyExists

    with suppress(ObjectAlreadyExists):
        client.create_work_pool(WorkPoolCreate(name=POOL, type="process"))
