"""Whether a night's pairs hold for a simulated user whom the search never met: `engage experiment transfer`.

That user reads the search's finished conversations in the user's place and answers the exit survey; nothing is said anew. For each pair, the
mean of its rewards over the conversations through the rejected reply is subtracted from the mean over those through the chosen reply. The search's
own difference is selected: pairs are accepted because it is large. The other user's tells how much of it does not hang on who answers. It is a lower hurdle
than an evaluation: the words are the search's user's, and luck in them (a pair is accepted for few conversations) counts for both. Units: scenarios.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from engage.domains import load_domain, reward_of
from engage.engines.base import Engine
from engage.evaluation.simulators import in_metrics
from engage.files.kept import Kept
from engage.pages import estimate, page, table
from engage.search import BatchResult, gather
from engage.seeds import derive_seed
from engage.simulation import SpeechConfig, UserSimulator
from engage.stats import Estimate, rate, ratio
from engage.store import read_dialogue
from engage.store.reader import StoreReader

SEARCH = "the search's user"
SAVE_EVERY = 64
"""Answers between two writes of the file that keeps them."""
Rewards = dict[str, float | None]
"""By trajectory id: the reward of the answer, None if it could not be read."""


@dataclass(frozen=True)
class Conversation:
    """One conversation through one reply of a pair; `side` is chosen or rejected, `reward` the search's own."""

    pair_id: str
    domain: str
    scenario_id: str
    side: str
    trajectory_id: str
    reward: float


@dataclass(frozen=True)
class Reading:
    """What one user says of the pairs: mean difference in reward, and the share of pairs with a difference above 0."""

    difference: Estimate
    confirmed: Estimate
    pairs: int


def reading(conversations: Sequence[Conversation], rewards: Mapping[str, float | None]) -> Reading:
    """The figures of one user; a pair counts if both of its replies have a readable answer. Scenarios are resampled."""
    sides: dict[tuple[str, str], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for one in conversations:
        reward = rewards.get(one.trajectory_id)
        if reward is not None:
            sides[one.scenario_id, one.pair_id][one.side].append(reward)
    by_scenario: dict[str, list[float]] = defaultdict(list)
    for (scenario_id, _), side in sides.items():
        if side["chosen"] and side["rejected"]:
            by_scenario[scenario_id].append(fmean(side["chosen"]) - fmean(side["rejected"]))
    differences = [by_scenario[name] for name in sorted(by_scenario)]
    sizes = [len(some) for some in differences]
    return Reading(
        ratio([sum(some) for some in differences], sizes),
        rate([sum(one > 0 for one in some) for some in differences], sizes),
        sum(sizes),
    )


@dataclass(frozen=True)
class Transfer:
    """The pairs' conversations, and what each held-out user (by its label) answered after them."""

    conversations: tuple[Conversation, ...]
    answers: Mapping[str, Rewards]

    @property
    def readings(self) -> dict[str, Reading]:
        """By user; the search's own first."""
        own: Rewards = {one.trajectory_id: one.reward for one in self.conversations}
        found = {SEARCH: reading(self.conversations, own)}
        return found | {name: reading(self.conversations, given) for name, given in self.answers.items()}

    @property
    def lines(self) -> list[str]:
        """One line for each user."""
        return [
            f"{name}: chosen − rejected {estimate(one.difference, '{:+.3f}')}, above 0 in {estimate(one.confirmed, '{:.2f}')} of {one.pairs} pairs"
            for name, one in self.readings.items()
        ]

    def metrics(self) -> dict[str, float | None]:
        """The figures by MLflow metric name."""
        found: dict[str, float | None] = {}
        for name, one in self.readings.items():
            prefix = f"transfer/{'search' if name == SEARCH else in_metrics(name)}"
            found[f"{prefix}/pairs"] = one.pairs
            for what, figure in (("difference", one.difference), ("confirmed", one.confirmed)):
                found |= {f"{prefix}/{what}": figure.value, f"{prefix}/{what}_low": figure.low}
                found[f"{prefix}/{what}_high"] = figure.high
        return found


def transfer_page(cycle_id: str, found: Transfer) -> str:
    """The page, in Markdown."""
    rows = []
    for domain in dict.fromkeys(one.domain for one in found.conversations):
        part = Transfer(tuple(one for one in found.conversations if one.domain == domain), found.answers)
        rows += [
            (domain, name, f"{one.pairs}", estimate(one.difference, "{:+.3f}"), estimate(one.confirmed, "{:.2f}"))
            for name, one in part.readings.items()
        ]
    head = ("domain", "who answers", "pairs", "chosen − rejected", "share above 0")
    return page([f"# Do the pairs of {cycle_id} transfer?", table(head, rows), _WHAT])


_WHAT = """\
Held-out simulated users read the search's finished conversations in the user's place and answered the exit survey; nothing was said anew. For each pair
that training may use: the mean reward over the conversations through the chosen reply, minus that over those through the rejected one. The 95 % intervals
resample scenarios.

The search's own difference is selected: pairs are accepted because it is large. If the interval of a held-out user holds 0, the pairs may show what only
the search's user rewards, and a training on them can hardly gain with the held-out one. If it does not, the users agree on what was said. It does not say
that the chosen reply made the difference: luck in these few conversations counts for both users. `engage experiment credit` holds new ones."""


def kept_answers(path: Path) -> Kept:
    """The answers that are kept: rewards by trajectory id, None for one that could not be read."""
    return Kept(path, "trajectory_id", "reward", "the simulator is asked again")


async def ask_survey(
    engine: Engine,
    store: StoreReader,
    trajectory_ids: Sequence[str],
    speech: SpeechConfig,
    adapter: str | None,
    path: Path,
    on_done: Callable[[int], Any] = lambda _: None,
) -> BatchResult:
    """Keep in `path` the rewards of this simulator's answers after the dialogues that it lacks; `adapter` is a folder, None or "" as in prompts.

    `on_done` gets numbers of answered dialogues. The result names the dialogues whose request failed for good.
    """
    kept, new = kept_answers(path), Rewards()
    answered = kept.read()
    missing = [one for one in trajectory_ids if one not in answered]
    on_done(len(trajectory_ids) - len(missing))

    async def one(trajectory_id: str) -> tuple[str, float | None]:
        stored = read_dialogue(store, trajectory_id)
        domain, condition = load_domain(stored.scenario.domain), stored.scenario.user_condition
        user = UserSimulator(engine, domain, speech, condition, adapter)
        seed = derive_seed(stored.seed, stored.scenario.scenario_id, "transfer", stored.simulation or 0)
        answer = await user.react(stored.trajectory.dialogue, f"{trajectory_id}/transfer", seed)
        return trajectory_id, reward_of(domain, answer.value)

    def keep(answer: tuple[str, float | None]) -> None:
        new[answer[0]] = answer[1]
        if len(new) % SAVE_EVERY == 0:
            kept.add(new)
        on_done(1)

    try:
        return await gather(engine, missing, one, keep, str)
    finally:
        kept.add(new)
