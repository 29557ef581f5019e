"""Whether an engine answers as the transformers engine does: greedy replies, the survey's probabilities, adapters, its memory.

Both engines round differently, so a greedy reply may leave the other's where two tokens are about as probable. The margin there
is how far their probabilities are apart under the model in float32, in nats: below MARGIN it is rounding. The engines are opened
one after the other, because each takes the whole card.
"""

import asyncio
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

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
    """What one engine said, by adapter: greedy replies, and whether each ended by itself; survey probabilities."""

    replies: dict[str, list[tuple[str, bool]]]
    probabilities: dict[str, list[list[float]]]


@dataclass(frozen=True)
class Difference:
    """Where two greedy replies part, after `tokens` equal tokens: the next token of each, and their `margin` in nats."""

    adapter: str
    prompt: str
    tokens: int
    reference: str
    other: str
    margin: float


@dataclass(frozen=True)
class Agreement:
    """What was compared. `again_difference` is of the survey's probabilities after other adapters had their turn.

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
        """What is more than rounding, in words; empty where the engines agree."""
        found = [
            f"{one.prompt} ({one.adapter}): {one.reference!r} and {one.other!r} are {one.margin:.2f} nats apart"
            for one in self.differences
            if not one.margin < MARGIN
        ]
        if not self.survey_difference <= PROBABILITY:
            found.append(f"a survey probability differs by {self.survey_difference:.3f}")
        if not self.again_difference <= PROBABILITY:
            found.append(f"an adapter asked again differs by {self.again_difference:.3f}")
        if len(self.adapters) > 1 and not self.changed_by_adapter:
            found.append("no adapter changed any reply")
        left = max(self.used_gb[2:], default=0.0) - (self.used_gb[0] if self.used_gb else 0.0)
        if left > FREED_GB:
            found.append(f"{left:.1f} GB are not freed when the engine is closed")
        return found

    def as_json(self) -> dict[str, Any]:
        """By field name, with `agree` and the faults."""
        return {"agree": not self.faults, "faults": self.faults, **asdict(self)}


def agreement_prompts(scenarios: Sequence[Scenario]) -> tuple[list[Prompt], list[tuple[Prompt, tuple[str, ...]]]]:
    """Ten prompts for the policy, and the same scenarios' exit surveys with their choices; evenly over the domains."""
    domains = sorted({scenario.domain for scenario in scenarios})
    by_domain = [[one for one in scenarios if one.domain == name] for name in domains]
    speaking, surveys = [], []
    for number in range(PROMPTS):
        of_domain = by_domain[number % len(domains)]
        one = of_domain[number // len(domains) % len(of_domain)]
        domain, key = load_domain(one.domain), one.scenario_id
        speaking.append(Prompt(key, Side.POLICY, policy_messages(domain, one.opening)))
        asked = survey_messages(domain, one.user_condition, one.opening)
        surveys.append((Prompt(f"{key}/survey", Side.SIMULATOR, asked), tuple(domain.survey.choices)))
    return speaking, surveys


async def ask_all(engine: Engine, scenarios: Sequence[Scenario], adapters: Mapping[str, str], tokens: int) -> Answers:
    """Every prompt greedily and every survey, for one adapter (name to folder, "" for none) after the other."""
    speaking, surveys = agreement_prompts(scenarios)
    sampling = Sampling(temperature=0.0, max_tokens=tokens)
    replies, probabilities = {}, {}
    for name, folder in adapters.items():
        said = await asyncio.gather(*(engine.complete(replace(one, adapter=folder), sampling, [1]) for one in speaking))
        scored = await asyncio.gather(
            *(engine.score(replace(one, adapter=folder), choices) for one, choices in surveys)
        )
        replies[name] = [(one.text, one.finish_reason == "stop") for (one,) in said]
        probabilities[name] = [_normalised(one.logprobs) for one in scored]
    return Answers(replies, probabilities)


def _normalised(logprobs: Sequence[float]) -> list[float]:
    from scipy.special import softmax

    return [float(share) for share in softmax(logprobs)]


def compare(
    open_reference: Opened,
    open_other: Opened,
    scenarios: Sequence[Scenario],
    models: ModelsConfig,
    adapters: Mapping[str, str],
    on_progress: OnProgress = lambda what: None,
    tokens: int = TOKENS,
) -> Agreement:
    """Both engines' answers; `adapters` by name to folder, the first is asked again after the others. Raises EngineError."""
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
    """An engine's answers in each round, and the memory taken while it is open; it is closed in the end."""
    engine = opened()
    try:
        found = [asyncio.run(ask_all(engine, scenarios, adapters, tokens)) for adapters in rounds]
        return found, used_gb()
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
            if at is not None:  # else equal, or one is cut off where the other goes on
                model = model or _loaded(sides.refs[Side.POLICY], folder)
                probable = _next_logprobs(model, [*sides.tokenise(prompt), *one[:at]], template.end_tokens)
                said = [template.tokenizer.decode([token]) if token != END else "(end)" for token in (one[at], two[at])]
                margin = abs(probable[one[at]] - probable[two[at]])
                yield Difference(name, prompt.key, at, said[0], said[1], margin)


def _tokens(template: ChatTemplate, reply: tuple[str, bool]) -> list[int]:
    """A reply as tokens, END after them where it ended by itself."""
    text, ended = reply
    return [*template.tokenizer(text, add_special_tokens=False).input_ids, *([END] if ended else [])]


def _loaded(ref: ModelRef, folder: str) -> Any:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(ref.path, dtype=torch.float32)
    return (PeftModel.from_pretrained(model, folder) if folder else model).eval()


def _next_logprobs(model: Any, ids: Sequence[int], ends: Collection[int]) -> list[float]:
    """Natural-log probability of every token after `ids`, and that of any end of turn as the last entry (END)."""
    import torch

    with torch.inference_mode():
        found = model(torch.tensor([list(ids)])).logits[0, -1].float().log_softmax(-1)
    end = found[sorted(ends)].logsumexp(0)
    return [*found.tolist(), float(end)]


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
    """A copy of an adapter at half its strength: another adapter for the same weights."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(folder, out)
    weights = load_file(out / ADAPTER_WEIGHTS)
    (out / ADAPTER_WEIGHTS).unlink()  # a copy of a read-only file is read-only
    save_file({n: 0.5 * w if "lora_B" in n else w for n, w in weights.items()}, out / ADAPTER_WEIGHTS)
    return str(out)
