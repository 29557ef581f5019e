"""Settings of the engine that talks to servers; apart from it, so that they are read without the client library."""

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from engage.engine import Side
from engage.models import ModelsConfig


def _address(url: str) -> str:
    parts = urlsplit(url)  # raises ValueError for brackets that do not close, as `port` does for what is no port
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0 or any(map(str.isspace, url)):
        raise ValueError(
            "not a server's address, which begins with http:// or https://, such as http://127.0.0.1:8000/v1"
        )
    return url


class ServerConfig(BaseModel):
    """Where one side's model is served."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    base_urls: tuple[Annotated[str, AfterValidator(_address)], ...] = Field(
        ("http://127.0.0.1:8000/v1",),
        min_length=1,
        description="servers of the same model; requests are spread over them",
    )
    model: str | None = Field(
        None, description="name that the servers know it by; where left out, the side's model of `engine`"
    )
    api_key_env: str = Field("OPENAI_API_KEY", description="environment variable that holds the key; may be unset")


class OpenAIConfig(BaseModel):
    """Servers of both sides."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    policy: ServerConfig = ServerConfig()
    simulator: ServerConfig | None = Field(None, description="as for the policy where left out")
    timeout_s: float = Field(120.0, gt=0.0, le=3600.0, description="seconds that one answer may take")
    retry_s: float = Field(300.0, ge=0.0, le=86_400.0, description="seconds to go on trying one request")
    max_concurrency: int = Field(512, ge=1, le=65_536, description="requests under way at once at most")


def served_names(models: ModelsConfig, config: OpenAIConfig) -> dict[Side, str]:
    """The model's name at the server, per side."""
    return {
        Side.POLICY: config.policy.model or models.policy_model,
        Side.SIMULATOR: (config.simulator or config.policy).model or models.simulator_model,
    }
