"""Asks a server which models it has, before requests are sent to it."""

import asyncio
from collections.abc import Sequence

import openai

from engage.engines.openai.clients import Server
from engage.engines.openai.complaints import complaint_of
from engage.engines.openai.models import listed_models, look_up, neutral_sampling
from engage.engines.openai.status import key_refused
from engage.errors import ConfigError
from engage.masking import mask


class Unreachable(Exception):
    """Nothing answers at a server's address."""


async def check_server(
    server: Server, model: str, key_env: str, secrets: Sequence[str], timeout_s: float
) -> str | None:
    """Check that a server has the model, and note what switches off its own sampling.

    Returns a notice if the server lists the model under another name, None if it cannot say so yet (502 to 504).

    Raises Unreachable; ConfigError if the server refuses the key, does not serve the model or is of another kind.
    """
    try:
        async with asyncio.timeout(timeout_s):
            text = await server.client.get("/models", cast_to=str)
    except (openai.AuthenticationError, openai.PermissionDeniedError):
        raise ConfigError(key_refused(server.url, key_env)) from None
    except (openai.APIConnectionError, TimeoutError):
        raise Unreachable(
            f"no server answers at {server.url}: start it, or correct base_urls of engine.openai.policy (or simulator)"
        ) from None
    except openai.InternalServerError as error:
        return None if error.status_code in (502, 503, 504) else ""
    except Exception:  # many servers offer no list; the first request shows what is wrong
        return ""
    names = listed_models(text)
    if names is None:
        words = mask(complaint_of(text).words[:100], secrets)
        raise ConfigError(
            f"{server.url} is not an OpenAI-compatible server (it answers with {words!r}): correct base_urls"
        )
    server.neutral = neutral_sampling(text)
    listed = look_up(server.url, model, names)
    if listed.problem:
        raise ConfigError(listed.problem)
    return listed.notice
