"""A model's hidden states in human dialogues, as features of regressions. The model reads each dialogue once, as the simulated user does."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engage.corpora import HumanDialogue
from engage.domains import load_domain
from engage.models import ModelRef, has_accelerator, native_dtype, open_model
from engage.simulation import simulator_messages
from engage.training import chat_tokenizer, quiet

States = Mapping[tuple[str, int], NDArray[np.float32]]
"""By dialogue and number of its turns that were read: the state at the end of the last of them, then the mean over its tokens."""

MAX_TOKENS = 4096
"""A dialogue is read up to here; later turns have no states."""


def read_states(
    wanted: Sequence[tuple[HumanDialogue, Sequence[int]]],
    base: ModelRef,
    on_done: Callable[[int], None] = lambda _: None,
) -> States:
    """States of the last and the middle layer of the prompted model; `wanted` says after how many turns of a dialogue."""
    import torch

    found: dict[tuple[str, int], NDArray[np.float32]] = {}
    with quiet(), torch.inference_mode():
        _, template = chat_tokenizer(base)
        model = open_model(base.path, native_dtype(), "sdpa").to("cuda" if has_accelerator() else "cpu").eval()
        for human, lengths in wanted:
            ids, ends = token_ends(human, template)
            row = torch.tensor([ids[:MAX_TOKENS]], device=model.device)
            layers = model(input_ids=row, use_cache=False, output_hidden_states=True, logits_to_keep=1).hidden_states
            chosen = torch.cat([layers[len(layers) // 2][0], layers[-1][0]], dim=-1).float().cpu().numpy()
            for length in lengths:
                begin, end = ends[length - 1], ends[length]
                if end <= len(chosen):
                    found[human.scenario_id, length] = np.concatenate([chosen[end - 1], chosen[begin:end].mean(0)])
            on_done(1)
    return found


def token_ends(human: HumanDialogue, template: Any) -> tuple[list[int], list[int]]:
    """The tokens of the simulator's prompt after the whole dialogue, and the number of them up to each turn's end (0 turns first)."""
    messages = simulator_messages(load_domain(human.domain), human.user_condition, human.dialogue)
    chat = [{"role": message.role, "content": message.content} for message in messages]
    ids = template.prompt_ids(chat)
    return ids, [_common(ids, template.prompt_ids(chat[: 1 + length])) for length in range(len(chat))]


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    """Number of tokens that both begin with."""
    return next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
