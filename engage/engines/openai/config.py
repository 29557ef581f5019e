"""Settings of the server engine, in a module of their own so that reading them does not import the client library."""

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import parse_qsl, unquote, urlsplit, urlunsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainSerializer

from engage.engines.base import Side
from engage.masking import MASK, mask_table, mask_urls
from engage.models import ModelsConfig

_OURS = ("model", "messages", "n", "stream")
"""Fields that the engine sets in each request."""


@dataclass(frozen=True)
class AddressParts:
    """An address without its secrets, and the headers and query that carry them to the server."""

    url: str
    headers: Mapping[str, str]
    query: Mapping[str, str]
    secrets: tuple[str, ...]


def address_parts(url: str) -> AddressParts:
    """Split an address: name and password become a header; `url`, which errors and logs show, has neither them nor the query."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    clean = urlunsplit((parts.scheme, host, parts.path, "", ""))
    query = dict(parse_qsl(parts.query))
    if parts.username is None and parts.password is None:
        return AddressParts(clean, {}, query, tuple(query.values()))
    name, password = unquote(parts.username or ""), unquote(parts.password or "")
    token = base64.b64encode(f"{name}:{password}".encode()).decode()
    secrets = (*query.values(), password or name, parts.password or "", token)
    return AddressParts(clean, {"Authorization": f"Basic {token}"}, query, secrets)


def _address(url: str) -> str:
    if f"{MASK}@" in url or f"={MASK}" in url:
        raise ValueError(
            f"its password is masked ({MASK}): write it, or use the key's environment variable (api_key_env)"
        )
    try:
        parts = urlsplit(url)  # urlsplit and `port` raise ValueError
        good = (
            parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and not any(map(str.isspace, url))
        )
    except ValueError:
        good = False
    if not good:
        raise ValueError(
            "not a server's address, which begins with http:// or https://, such as http://127.0.0.1:8000/v1"
        )
    return url


def _not_ours(given: Any) -> Any:
    for name in given:
        if name in _OURS[: 2 if isinstance(given, tuple) else None]:
            raise ValueError(f"{name} is set by the engine in each request; leave it out")
    return given


Address = Annotated[str, AfterValidator(_address), PlainSerializer(mask_urls, when_used="json")]
"""A server's address; its password is masked in JSON, which Prefect and MLflow store."""


class ServerConfig(BaseModel):
    """The servers of one side's model, and the request fields that are never sent or always added."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    base_urls: tuple[Address, ...] = Field(
        ("http://127.0.0.1:8000/v1",),
        min_length=1,
        repr=False,
        description="addresses of servers that serve the same model; requests are spread over them",
    )
    model: str | None = Field(
        None, description="the model's name on the servers; if unset, policy_model or simulator_model of `engine`"
    )
    api_key_env: str = Field(
        "OPENAI_API_KEY", description="name of the environment variable with the API key; the variable may be unset"
    )
    omit: Annotated[tuple[str, ...], AfterValidator(_not_ours)] = Field(
        (),
        description="request parameters that are never sent, such as n, seed, temperature, top_p, logprobs, top_logprobs, "
        "max_tokens (max_completion_tokens is sent instead). Parameters that a server refuses are detected at the start anyway",
    )
    extra_body: Annotated[dict[str, Any], AfterValidator(_not_ours), PlainSerializer(mask_table, when_used="json")] = (
        Field(
            {},
            repr=False,
            description="extra fields of every request, such as {chat_template_kwargs = {enable_thinking = false}}",
        )
    )


class OpenAIConfig(BaseModel):
    """Servers of both sides."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    policy: ServerConfig = ServerConfig()
    simulator: ServerConfig | None = Field(None, description="servers of the simulator; if unset, the policy's")
    timeout_s: float = Field(120.0, gt=0.0, le=3600.0, description="maximum seconds for one answer")
    retry_s: float = Field(
        300.0,
        ge=0.0,
        le=86_400.0,
        description="seconds to keep retrying a request after its first failure; a server's Retry-After is respected within this time",
    )
    max_concurrency: int = Field(512, ge=1, le=65_536, description="maximum number of requests at the same time")


def served_names(models: ModelsConfig, config: OpenAIConfig) -> dict[Side, str]:
    """The model's name on the server, by side."""
    return {
        Side.POLICY: config.policy.model or models.policy_model,
        Side.SIMULATOR: (config.simulator or config.policy).model or models.simulator_model,
    }


def asked_with(config: OpenAIConfig) -> dict[Side, str]:
    """Digest of what `omit` and `extra_body` change in a side's requests; only sides with a change."""
    sides = {Side.POLICY: config.policy, Side.SIMULATOR: config.simulator or config.policy}
    changes = {side: [sorted(server.omit), server.extra_body] for side, server in sides.items()}
    return {
        side: hashlib.sha256(json.dumps(change, sort_keys=True, default=str).encode()).hexdigest()[:16]
        for side, change in changes.items()
        if any(change)
    }
