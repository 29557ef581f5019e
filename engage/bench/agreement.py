"""Compares an engine with the transformers engine: greedy replies, survey probabilities, adapters, memory.

The engines round differently, so two greedy replies may part where two tokens are almost equally probable. The margin of a
difference is the distance of these two tokens' log-probabilities under the model in float32; a margin below MARGIN nats counts as
rounding. The engines are opened one after the other, because each takes the whole card.
"""

import asyncio
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from engage.bench.search import in_turn
from engage.domains import load_domain
from engage.engines.base import Engine, Prompt, Sampling, Side
from engage.engines.model_sides import ModelSides
from engage.models import ADAPTER_WEIGHTS, ChatTemplate, ModelRef, ModelsConfig, release_memory, used_gb
from engage.scenario import Scenario
from engage.simulation import policy_messages, survey_messages

MARGIN, PROBABILITY = 0.1, 0.02
FREED_GB = 0.5
END = -1
PROMPTS, TOKENS = 10, 48
OnProgress = Callable[[str], None]
Opened = Callable[[], Engine]


@dataclass(frozen=True)
class Answers:
    """One engine's answers by adapter name: greedy replies with a flag (the model ended the turn itself), and survey probabilities."""

    replies: dict[str, list[tuple[str, bool]]]
    probabilities: dict[str, list[list[float]]]


@dataclass(frozen=True)
class Difference:
    """Two greedy replies that part after `tokens` equal tokens: the next token of each, and their `margin` in nats."""

    adapter: str
    prompt: str
    tokens: int
    reference: str
    other: str
    margin: float


@dataclass(frozen=True)
class Agreement:
    """The result of a comparison.

    `again_difference` and `again_equal` compare the first adapter's answers with its answers after the other adapters were used.
    `used_gb` is the cards' memory before the engine was opened, while it was open, after it was closed, and after it was opened
    and closed once more; empty without NVIDIA's driver.
    """

    adapters: tuple[str, ...]
    replies: int
    equal_replies: int
    changed_by_adapter: int
    differences: tuple[Difference, ...]
    survey_difference: float
    again_difference: float
    again_equal: int
    used_gb: tuple[float, ...]

    @property
    def faults(self) -> list[str]:
        """One sentence for each difference that is more than rounding; empty if the engines agree."""
        faults = [
            f"{one.prompt} ({one.adapter}): {one.reference!r} and {one.other!r} are {one.margin:.2f} nats apart"
            for one in self.differences
            if not one.margin < MARGIN
        ]
        if not self.survey_difference <= PROBABILITY:
            faults.append(f"a survey probability differs by {self.survey_difference:.3f}")
        if not self.again_difference <= PROBABILITY:
            faults.append(f"an adapter asked again differs by {self.again_difference:.3f}")
        if len(self.adapters) > 1 and not self.changed_by_adapter:
            faults.append("no adapter changed any reply")
        left = max(self.used_gb[2:], default=0.0) - (self.used_gb[0] if self.used_gb else 0.0)
        if left > FREED_GB:
            faults.append(f"{left:.1f} GB are not freed when the engine is closed")
        return faults

    def as_json(self) -> dict[str, Any]:
        """The fields by name, with `agree` and `faults` in front."""
        return {"agree": not self.faults, "faults": self.faults, **asdict(self)}


def agreement_prompts(scenarios: Sequence[Scenario]) -> tuple[list[Prompt], list[tuple[Prompt, tuple[str, ...]]]]:
    """Ten policy prompts, and the exit surveys of the same scenarios with their choices; the domains take turns."""
    speaking, surveys = [], []
    for one in in_turn(scenarios, PROMPTS):
        domain, key = load_domain(one.domain), one.scenario_id
        speaking.append(Prompt(key, Side.POLICY, policy_messages(domain, one.opening)))
        asked = survey_messages(domain, one.user_condition, one.opening)
        surveys.append((Prompt(f"{key}/survey", Side.SIMULATOR, asked), tuple(domain.survey.choices)))
    return speaking, surveys


async def ask_all(engine: Engine, scenarios: Sequence[Scenario], adapters: Mapping[str, str], tokens: int) -> Answers:
    """Ask every prompt (greedily) and every survey with each adapter in turn; `adapters` maps a name to a folder ("": no adapter)."""
    from scipy.special import softmax

    speaking, surveys = agreement_prompts(scenarios)
    sampling = Sampling(temperature=0.0, max_tokens=tokens)
    replies, probabilities = {}, {}
    for name, folder in adapters.items():
        said = await asyncio.gather(*(engine.complete(replace(one, adapter=folder), sampling, [1]) for one in speaking))
        scored = await asyncio.gather(
            *(engine.score(replace(one, adapter=folder), choices) for one, choices in surveys)
        )
        replies[name] = [(one.text, one.finish_reason == "stop") for (one,) in said]
        probabilities[name] = [softmax(one.logprobs).tolist() for one in scored]
    return Answers(replies, probabilities)


def compare(
    open_reference: Opened,
    open_other: Opened,
    scenarios: Sequence[Scenario],
    models: ModelsConfig,
    adapters: Mapping[str, str],
    on_progress: OnProgress = lambda what: None,
    tokens: int = TOKENS,
) -> Agreement:
    """Ask both engines and compare. `adapters` maps names to folders; the first is asked again after the others. Raises EngineError."""
    first = dict([next(iter(adapters.items()))])
    on_progress("asking the transformers engine")
    ours, _ = _asked_once(open_reference, scenarios, [adapters], tokens)
    memory = [used_gb()]
    on_progress("asking the other engine")
    (theirs, again), while_open = _asked_once(open_other, scenarios, [adapters, first], tokens)
    memory += [while_open, used_gb()]
    on_progress("opening the other engine again")
    _asked_once(open_other, scenarios, [first], tokens)
    memory.append(used_gb())
    on_progress("measuring margins")
    parted = list(_differences(scenarios, models, adapters, ours[0], theirs))
    return _summary(ours[0], theirs, again, parted, [gb for gb in memory if gb is not None])


def _asked_once(
    opened: Opened, scenarios: Sequence[Scenario], rounds: Sequence[Mapping[str, str]], tokens: int
) -> tuple[list[Answers], float | None]:
    """Open an engine, ask it in each round, close it: the answers by round, and the cards' memory (GB) while it was open."""
    engine = opened()
    try:
        answers = [asyncio.run(ask_all(engine, scenarios, adapters, tokens)) for adapters in rounds]
        return answers, used_gb()
    finally:
        engine.close()
        release_memory()


def _differences(
    scenarios: Sequence[Scenario], models: ModelsConfig, adapters: Mapping[str, str], ours: Answers, theirs: Answers
) -> Iterator[Difference]:
    sides = ModelSides(models)
    template = sides.templates[Side.POLICY]
    for name, folder in adapters.items():
        model = None
        for prompt, mine, other in zip(
            agreement_prompts(scenarios)[0], ours.replies[name], theirs.replies[name], strict=True
        ):
            one, two = (_tokens(template, reply) for reply in (mine, other))
            at = next((place for place, (a, b) in enumerate(zip(one, two, strict=False)) if a != b), None)
            if at is not None:  # None: they are equal, or one is a prefix of the other
                model = model or _loaded(sides.refs[Side.POLICY], folder)
                probable = _next_logprobs(model, [*sides.tokenise(prompt), *one[:at]], template.end_tokens)
                said = [template.tokenizer.decode([token]) if token != END else "(end)" for token in (one[at], two[at])]
                margin = abs(probable[one[at]] - probable[two[at]])
                yield Difference(name, prompt.key, at, said[0], said[1], margin)


def _tokens(template: ChatTemplate, reply: tuple[str, bool]) -> list[int]:
    """A reply as tokens, followed by END if the model ended the turn itself."""
    text, ended = reply
    return [*template.tokenizer(text, add_special_tokens=False).input_ids, *([END] if ended else [])]


def _loaded(ref: ModelRef, folder: str) -> Any:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(ref.path, dtype=torch.float32)
    return (PeftModel.from_pretrained(model, folder) if folder else model).eval()


def _next_logprobs(model: Any, ids: Sequence[int], ends: Collection[int]) -> list[float]:
    """Natural-log probability of every next token after `ids`; the last entry (END) is that of any end of turn."""
    import torch

    with torch.inference_mode():
        logprobs = model(torch.tensor([list(ids)])).logits[0, -1].float().log_softmax(-1)
    return [*logprobs.tolist(), float(logprobs[sorted(ends)].logsumexp(0))]


def _summary(
    ours: Answers, theirs: Answers, again: Answers, parted: Sequence[Difference], memory: Sequence[float]
) -> Agreement:
    first = next(iter(again.replies))
    names = list(ours.replies)
    return Agreement(
        adapters=tuple(names),
        replies=sum(map(len, ours.replies.values())),
        equal_replies=sum(
            a == b for name in names for a, b in zip(ours.replies[name], theirs.replies[name], strict=True)
        ),
        changed_by_adapter=sum(
            a != b for name in names[1:] for a, b in zip(theirs.replies[first], theirs.replies[name], strict=True)
        ),
        differences=tuple(parted),
        survey_difference=max(_largest(ours.probabilities[name], theirs.probabilities[name]) for name in names),
        again_difference=_largest(theirs.probabilities[first], again.probabilities[first]),
        again_equal=sum(a == b for a, b in zip(theirs.replies[first], again.replies[first], strict=True)),
        used_gb=tuple(memory),
    )


def _largest(one: Sequence[Sequence[float]], two: Sequence[Sequence[float]]) -> float:
    return max(abs(a - b) for rows in zip(one, two, strict=True) for a, b in zip(*rows, strict=True))


def halved(folder: str, out: Path) -> str:
    """Copy an adapter to `out` at half its strength, to have a second adapter for the same base; returns the folder."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(folder, out)
    weights = load_file(out / ADAPTER_WEIGHTS)
    (out / ADAPTER_WEIGHTS).unlink()  # a copy of a read-only file is read-only
    save_file({n: 0.5 * w if "lora_B" in n else w for n, w in weights.items()}, out / ADAPTER_WEIGHTS)
    return str(out)
