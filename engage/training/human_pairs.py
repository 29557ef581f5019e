"""Pairs from successful human dialogues: the human reply is chosen, the policy's reply at the same place is rejected.

Only dialogues of the train split are used. The policy is asked once per wanted pair; this module stores nothing.
"""

import asyncio
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from types import MappingProxyType

from pydantic import Field

from engage.corpora import CorpusOptions, HumanDialogue, licence_of, read_corpora
from engage.dialogue import Dialogue, Reaction, Role, Trajectory
from engage.domains import load_domain
from engage.domains.rules.crisis import CRISIS
from engage.engines.base import Engine
from engage.engines.recording import CallRecord, RecordingEngine
from engage.errors import EngineError
from engage.files.digest import digest
from engage.scenario import Scenario
from engage.search import CHATS, DialogueRecord
from engage.seeds import derive_seed
from engage.simulation import Policy, SampledTurn, SpeechConfig, find_flaw, policy_messages
from engage.store import StoredDialogue, TrajectoryStore, deceives, read_dialogue
from engage.training.pairs import HumanReply, PreferencePair, human_pairs

TOKENS_PER_WORD = 4 / 3
"""Estimate for finding long texts before tokenising, for English prose and common vocabularies."""


class HumanConfig(CorpusOptions):
    """Human dialogues for preference pairs; `pairs.human_ratio` sets the number of pairs."""

    corpora: tuple[str, ...] = Field(
        (),
        description="human corpora as `esconv:PATH`, `p4g:PATH` or `own:PATH`, and `chat` for the conversations that `engage chat --as assistant --save` "
        "kept in this home; if empty, no human pairs are made and pairs.human_ratio counts as 0",
    )
    min_reward: float = Field(
        0.5,
        ge=0.0,
        le=1.0,
        description="lowest reward of a human dialogue that is used; the user must also have improved",
    )


@dataclass(frozen=True)
class Place:
    """A human reply: the assistant's turn at `index` of a dialogue, after a prefix that ends with the user's."""

    human: HumanDialogue
    index: int

    @property
    def prefix(self) -> Dialogue:
        """The dialogue before the reply."""
        return Dialogue(self.human.dialogue.turns[: self.index])

    @property
    def reply(self) -> str:
        """The human assistant's reply."""
        return self.human.dialogue.turns[self.index].text


@dataclass(frozen=True)
class HumanPairs:
    """Pairs, and counts of how they were made.

    Counts: `dialogues` that went well and `places` in them, `sampled` places where the policy was asked, `accepted` pairs, and
    places left out by reason (those of `UNSPOKEN`, `role_leak`, `flawed`, `deceptive`, `link`, `too_long`, `same_text`, `failed`,
    `crisis`). `used` are the dialogues of the sampled places with the calls they cost.
    """

    pairs: list[PreferencePair] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    used: list[tuple[HumanDialogue, tuple[CallRecord, ...]]] = field(default_factory=list)

    def scenarios(self) -> list[Scenario]:
        """The scenarios of the dialogues used."""
        return [human.scenario for human, _ in self.used]

    def records(self, cycle_id: str) -> list[DialogueRecord]:
        """The dialogues used, in the store's form: purpose, policy and simulator are `human`."""
        return [
            DialogueRecord(cycle_id, "human", "human", "human", 0, _trajectory(human), calls)
            for human, calls in self.used
        ]


def _trajectory(human: HumanDialogue) -> Trajectory:
    reaction = Reaction("human", "" if human.outcome is None else f"{human.outcome:g}", human.outcome)
    reason = load_domain(human.domain).end_reason(human.dialogue) or "ended"
    return Trajectory(human.scenario_id, human.dialogue, reaction, human.reward, human.exchanges, reason)


def read_human(config: HumanConfig, store: TrajectoryStore) -> list[HumanDialogue]:
    """All dialogues of the corpora; ConfigError or CorpusError if one of them is invalid. `store` holds those of CHATS."""
    corpora = read_corpora([name for name in config.corpora if name != CHATS], config)
    kept = _played_chats(store) if CHATS in config.corpora else []
    return [human for corpus in corpora for human in corpus.dialogues] + kept


def _played_chats(store: TrajectoryStore) -> list[HumanDialogue]:
    """Saved conversations in which a person played the assistant: the others hold no reply of a person's."""
    if not store.path.exists():
        return []
    return [_as_human(read_dialogue(store, row["id"])) for row in store.rows("played_chats")]


def _as_human(kept: StoredDialogue) -> HumanDialogue:
    """With a scenario id of its own, as in corpora; the content, and so the split, is that of the scenario it was held on."""
    scenario = replace(kept.scenario, scenario_id=f"{CHATS}-{digest([kept.id])[:12]}")
    return HumanDialogue(scenario, kept.trajectory.dialogue, kept.trajectory.reaction.value, kept.id)


def went_well(human: HumanDialogue, min_reward: float) -> bool:
    """Whether its reward is known and at least `min_reward`, and the user ended better off than at the start."""
    if human.outcome is None or human.reward is None or human.reward < min_reward:
        return False
    return load_domain(human.domain).improved(human.user_condition, human.outcome)


def reply_places(dialogues: Iterable[HumanDialogue]) -> Iterator[Place]:
    """Every reply after the opening, so that a policy can meet the same prefix."""
    for human in dialogues:
        for index in range(len(human.scenario.opening.turns), len(human.dialogue.turns)):
            if human.dialogue.turns[index].role is Role.ASSISTANT:
                yield Place(human, index)


_LINK = re.compile(
    r"https?:|www\.|\b(?-i:URL|EMAIL|PHONE)\b|\b[\w.-]+@[\w-]+\.\w|[\[<](?:url|link|email|phone|name|removed|redacted)[\]>]",
    re.IGNORECASE,
)
"""An address, or what a corpus puts in the place of one: a policy that learns it invents addresses."""


def drop_reason(place: Place, speech: SpeechConfig, max_length: int) -> str | None:
    """Why a human reply must not be trained on; None if it may. Asks no language model.

    Too long: more than the policy's own `max_tokens`, or with its prompt more than `max_length` tokens (both estimated).
    """
    domain, prefix = load_domain(place.human.domain), place.prefix
    if place.human.crisis:
        return CRISIS
    flaw = find_flaw(domain, prefix, Role.ASSISTANT, place.reply)
    if flaw:
        return flaw if flaw in {"empty", "thought", "role_leak"} else "flawed"
    if deceives(place.human.domain, place.reply):
        return "deceptive"
    if _LINK.search(place.reply):
        return "link"
    told = sum(_tokens(message.content) for message in policy_messages(domain, prefix))
    said = _tokens(place.reply)
    return "too_long" if said > speech.policy.max_tokens or told + said > max_length else None


def _tokens(text: str) -> float:
    return TOKENS_PER_WORD * len(text.split())


async def draw_human_pairs(
    engine: Engine,
    dialogues: Iterable[HumanDialogue],
    wanted: int,
    *,
    config: HumanConfig,
    speech: SpeechConfig,
    max_length: int,
    seed: int,
    adapter: str | None,
) -> HumanPairs:
    """At most `wanted` pairs: places are sampled with `seed` among all usable ones, and the policy is asked once at each.

    Places that give no pair (the policy says the same or nothing usable, or the request fails) are counted and not replaced. Raises
    EngineError if every request failed for good.
    """
    good = [human for human in dialogues if human.split == "train" and went_well(human, config.min_reward)]
    places = sorted(reply_places(good), key=lambda place: (place.human.scenario_id, place.index))
    Random(derive_seed(seed, "human")).shuffle(places)
    left: Counter[str] = Counter()
    chosen: list[Place] = []
    for place in places:
        if len(chosen) >= wanted:
            break
        reason = drop_reason(place, speech, max_length)
        if reason:
            left[reason] += 1
        else:
            chosen.append(place)
    asked = await asyncio.gather(*(_ask(engine, place, speech, seed, adapter) for place in chosen))
    failures = [answer for answer, _ in asked if isinstance(answer, EngineError)]
    if failures and len(failures) == len(chosen):
        raise failures[0]
    replies = [_judged(place, answer, left) for place, (answer, _) in zip(chosen, asked, strict=True)]
    pairs = human_pairs([reply for reply in replies if reply is not None])
    counts = {"dialogues": len(good), "places": len(places), "sampled": len(chosen), "accepted": len(pairs), **left}
    return HumanPairs(pairs, counts, _used(chosen, [calls for _, calls in asked]))


async def _ask(
    engine: Engine, place: Place, speech: SpeechConfig, seed: int, adapter: str | None
) -> tuple[SampledTurn | EngineError, tuple[CallRecord, ...]]:
    recorder = RecordingEngine(engine)
    policy = Policy(recorder, load_domain(place.human.domain), speech, adapter)
    scenario_id = place.human.scenario_id
    request_seed = derive_seed(seed, scenario_id, "human", place.index)
    try:
        drawn = (await policy.replies(place.prefix, f"{scenario_id}/human/{place.index}", [request_seed]))[0]
    except EngineError as error:
        return error, tuple(recorder.calls)
    return drawn, tuple(recorder.calls)


def _judged(place: Place, answer: SampledTurn | EngineError, left: Counter[str]) -> HumanReply | None:
    """The place with the policy's answer; None, and counted, if they make no pair."""
    if isinstance(answer, EngineError):
        left["failed"] += 1
        return None
    reason = answer.turn.flaw if answer.turn.unspoken or answer.turn.flaw == "role_leak" else None
    if answer.turn.text.strip().lower() == place.reply.strip().lower():
        reason = "same_text"
    if reason:
        left[reason] += 1
        return None
    human = place.human
    return HumanReply(human.domain, human.scenario_id, human.split, place.prefix, place.reply, answer.turn.text)


def _used(
    places: Sequence[Place], calls: Sequence[tuple[CallRecord, ...]]
) -> list[tuple[HumanDialogue, tuple[CallRecord, ...]]]:
    found: dict[str, tuple[HumanDialogue, tuple[CallRecord, ...]]] = {}
    for place, made in zip(places, calls, strict=True):
        _, before = found.get(place.human.scenario_id, (place.human, ()))
        found[place.human.scenario_id] = (place.human, (*before, *made))
    return list(found.values())


def pair_licences(
    pairs: Iterable[PreferencePair], scenarios: Iterable[Scenario], sources: Mapping[str, str] = MappingProxyType({})
) -> dict[str, str]:
    """Licences of the texts behind the pairs, by the source names of an adapter's card; `sources` maps the ids of further scenarios to their sources."""
    source_of = {**sources} | {scenario.scenario_id: scenario.source for scenario in scenarios}
    terms: dict[str, set[str]] = {}
    for pair in pairs:
        terms.setdefault(pair.source_name, set()).add(licence_of(source_of.get(pair.scenario_id, "")))
    return {name: "; ".join(sorted(found)) for name, found in terms.items()}
