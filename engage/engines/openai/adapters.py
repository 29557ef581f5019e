"""Loads LoRA adapters into a server, through vLLM's own endpoint; other servers cannot."""

from collections.abc import Sequence
from pathlib import Path

import openai

from engage.engines.openai.clients import Server
from engage.engines.openai.complaints import complaint_of, error_in
from engage.engines.openai.status import Refused
from engage.masking import mask

WITH_ADAPTERS = "start vLLM with --enable-lora and VLLM_ALLOW_RUNTIME_LORA_UPDATING=True, or set policy_adapter and simulator_adapter to bare"


async def load_adapter(server: Server, name: str, folder: Path, secrets: Sequence[str]) -> None:
    """Load an adapter under a name; it may be loaded already. Raises Refused if the server cannot."""
    async with server.loading:
        if name in server.adapters:
            return
        body = {"lora_name": name, "lora_path": str(folder.resolve())}
        try:
            said = error_in(await server.client.post("/load_lora_adapter", body=body, cast_to=str))
        except openai.NotFoundError:
            raise Refused(f"{server.url} cannot load adapters: {WITH_ADAPTERS}") from None
        except openai.BadRequestError as error:
            words = mask(complaint_of(error.response.text).words, secrets)
            if "already" not in words:
                raise Refused(f"{server.url} cannot load the adapter {folder}: {words}") from None
        else:
            if said and "already" not in said:  # LM Studio answers with status 200 at paths that it does not have
                raise Refused(f"{server.url} cannot load adapters: {WITH_ADAPTERS} ({mask(said, secrets)})")
        server.adapters.add(name)
