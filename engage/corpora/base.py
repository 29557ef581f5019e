"""The common form of human corpora: dialogues with their real outcome, each with a scenario to simulate it from.

Knows no file format.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from engage.dialogue import Dialogue, Role, Turn
from engage.domains import Domain, UserCondition, load_domain, reward_of
from engage.domains.rules.cleaning import clean_turns, without_markup
from engage.domains.rules.crisis import holds_crisis
from engage.errors import CorpusError, ScenarioError
from engage.files.digest import LATER, ordered_digest
from engage.files.refusal import boolean_taken, first_refusal
from engage.scenario import MAX_LINE_BYTES, NOT_ENGLISH, UNREAD, Scenario, Split, check_words, is_read

LICENCES = {
    "esconv": "CC BY-NC 4.0, non-commercial (ESConv, Liu et al. 2021)",
    "p4g": "Apache-2.0 (PersuasionForGood, Wang et al. 2019)",
    "engage": "Apache-2.0",
}
"""Licences by a scenario's source; everything made from a source, weights included, keeps its terms."""

OPENING_WORDS, OPENING_USER_TURNS = 5, 3


class CorpusOptions(BaseModel):
    """Options of the readers."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    any_language: bool = Field(
        False,
        description="also accept dialogues that are not in English; the rules for crises, deception and flaws do not work on them",
        json_schema_extra=LATER,
    )
    donation_unit: Literal["dollars", "cents"] | None = Field(
        None,
        description="unit of the donations in PersuasionForGood; None: dollars, but a table that looks like cents is refused",
        json_schema_extra=LATER,
    )


BY_DEFAULT = CorpusOptions()


@dataclass(frozen=True)
class HumanDialogue:
    """A dialogue between two people; `dialogue` begins with the scenario's opening, and its sides alternate.

    `outcome` is the user's own answer on the survey's scale (final intensity 1..5, dollars 0..2), None if there is none.
    `origin` is file and place; `corpus_id` is the corpus's own id for the dialogue, '' if it has none. `scores` are the user's own
    scores of the assistant during the talk (1..5, 5 is best): the place in `dialogue.turns` of the user turn that carries the score, and
    the score. Each such turn answers an assistant's turn; most dialogues have none.
    """

    scenario: Scenario
    dialogue: Dialogue
    outcome: float | None
    origin: str
    corpus_id: str = ""
    scores: tuple[tuple[int, float], ...] = ()

    @property
    def scenario_id(self) -> str:
        return self.scenario.scenario_id

    @property
    def domain(self) -> str:
        return self.scenario.domain

    @property
    def user_condition(self) -> UserCondition:
        return self.scenario.user_condition

    @property
    def split(self) -> Split:
        return self.scenario.split

    @property
    def licence(self) -> str:
        return licence_of(self.scenario.source)

    @property
    def reward(self) -> float | None:
        """The outcome mapped to [0, 1] by the domain."""
        return reward_of(load_domain(self.domain), self.outcome)

    @property
    def crisis(self) -> bool:
        """Whether a user speaks of self-harm, by the rules of all domains and of this one."""
        return holds_crisis(self.dialogue, load_domain(self.domain).crisis)

    @property
    def exchanges(self) -> int:
        """Assistant replies after the opening."""
        return sum(turn.role is Role.ASSISTANT for turn in self.dialogue.turns[len(self.scenario.opening.turns) :])


@dataclass(frozen=True)
class Corpus:
    """Result of reading: the accepted dialogues, the places of dropped ones by reason, and counts of remarks on accepted ones."""

    source: str
    dialogues: tuple[HumanDialogue, ...]
    dropped: Mapping[str, tuple[str, ...]]
    remarks: Mapping[str, int]

    def scenarios(self) -> list[Scenario]:
        """One scenario per dialogue, in the corpus's order."""
        return [dialogue.scenario for dialogue in self.dialogues]


def licence_of(source: str) -> str:
    """The licence of a scenario's source, `not stated` for an unknown source."""
    return LICENCES.get(source, "not stated")


def merge_turns(said: Iterable[tuple[Role, str]]) -> tuple[tuple[Turn, ...], list[int]]:
    """Turns on one line each, and for each of `said` the place of the turn that holds it.

    Consecutive turns of one side are joined, and empty turns are removed (their place is that of the turn before; -1 if there is none).
    """
    turns: list[Turn] = []
    places: list[int] = []
    for role, words in said:
        text = " ".join(words.split())
        if text and turns and turns[-1].role is role:
            turns[-1] = Turn(role, f"{turns[-1].text} {text}")
        elif text:
            turns.append(Turn(role, text))
        places.append(len(turns) - 1)
    return tuple(turns), places


def _side(domain: Domain, role: Role) -> str:
    return domain.user_name if role is Role.USER else domain.assistant_name


def placed_scores(turns: Sequence[Turn], places: Sequence[int], scores: Mapping[int, float]) -> dict[int, float]:
    """Scores by the place of the user turn that carries them, from scores by the number of what was said; of two in one turn, the later.

    A score before any turn of the assistant is about nothing, and is left out.
    """
    placed = {places[number]: score for number, score in sorted(scores.items())}
    return {place: score for place, score in placed.items() if place > 0 and turns[place].role is Role.USER}


def find_opening(turns: tuple[Turn, ...]) -> Dialogue:
    """The turns up to the user's first one that is more than a greeting; empty if the user says nothing.

    More than a greeting means at least OPENING_WORDS words. If none of the user's first OPENING_USER_TURNS turns has as many, the
    opening ends with the first.
    """
    spoken = [place for place, turn in enumerate(turns) if turn.role is Role.USER][:OPENING_USER_TURNS]
    said = [place for place in spoken if len(turns[place].text.split()) >= OPENING_WORDS]
    return Dialogue(turns[: (said or spoken)[0] + 1] if spoken else ())


@dataclass
class Gathering:
    """Collects the dialogues of one corpus one by one, and records what is left out.

    `name` is the domain's name in scenarios (default: its own); `folder` holds the file being read, for error messages.
    """

    source: str
    domain: Domain
    options: CorpusOptions = BY_DEFAULT
    name: str = ""
    folder: Path = Path()
    taken: dict[str, HumanDialogue] = field(default_factory=dict)
    dropped: dict[str, list[str]] = field(default_factory=dict)
    remarks: dict[str, int] = field(default_factory=dict)
    seen: dict[str, str] = field(default_factory=dict)

    def drop(self, place: str, reason: str) -> None:
        self.dropped.setdefault(reason, []).append(place)

    def remark(self, what: str) -> None:
        """Count a remark on an accepted dialogue."""
        self.remarks[what] = self.remarks.get(what, 0) + 1

    def take(
        self,
        place: str,
        said: Iterable[tuple[Role, str]],
        condition: Mapping[str, Any],
        outcome: float | None,
        remarks: Iterable[str] = (),
        corpus_id: str = "",
        scores: Mapping[int, float] = MappingProxyType({}),
    ) -> None:
        """Accept a dialogue, or drop it if it makes no valid scenario of the domain. CorpusError for a duplicate.

        `scores` are the user's scores of the assistant by the number of the turn in `said`. The id is a hash of the whole content, so that the same dialogue has the same id in every file and layout.
        """
        where = str(self.folder / place)
        cleaned, removed, doubt = clean_turns(where, said)
        condition = {name: _words(f"{where}: {name}", value, removed) for name, value in condition.items()}
        if doubt:
            return self.drop(place, doubt)
        turns, places = merge_turns(cleaned)
        if corpus_id:
            self._once(where, corpus_id)
        late = bool(turns) and turns[0].role is not self.domain.opens
        turns, places = (turns[1:], [place - 1 for place in places]) if late else (turns, places)
        opening = find_opening(turns)
        if len(turns) <= len(opening.turns) or not opening.turns:
            return self.drop(place, "no reply after the opening")
        checked = checked_condition(self.domain.condition_type, condition)
        if isinstance(checked, str):
            return self.drop(place, checked)
        scenario = Scenario("", self.name or self.domain.name, checked, opening, self.source)
        scenario_id = f"{self.source}-{ordered_digest([scenario.content_hash, [[t.role, t.text] for t in turns]])[:12]}"
        scenario = replace(scenario, scenario_id=scenario_id)
        self._once(where, scenario_id)
        read = self.domain.reads([turn.text for turn in turns]) and is_read(scenario, self.domain)
        if reason := self._no_scenario(scenario, read):
            return self.drop(place, reason)
        self.taken[scenario_id] = HumanDialogue(
            scenario, Dialogue(turns), outcome, place, corpus_id, tuple(placed_scores(turns, places, scores).items())
        )
        late_turn = f"the {_side(self.domain, self.domain.opens.other)}'s first turn left out: the {_side(self.domain, self.domain.opens)} opens"
        for remark in (
            *([late_turn] if late else []),
            *remarks,
            *(["no outcome: a scenario, but never a pair"] if outcome is None else []),
            *([] if read else [UNREAD]),
            *+removed,
        ):
            self.remark(remark)

    def _once(self, where: str, mark: str) -> None:
        """Raise CorpusError for a repeated id, the corpus's own or the scenario's."""
        if mark in self.seen:
            raise CorpusError(f"{where}: the same dialogue as {self.seen[mark]}; take one of the two out")
        self.seen[mark] = where

    def _no_scenario(self, scenario: Scenario, read: bool) -> str | None:
        """Why the dialogue gives no valid scenario, or cannot be read by the rules; None if it is good."""
        try:
            check_words(scenario, self.domain, self.options.any_language or read)
        except ScenarioError as error:
            return str(error)
        if not (read or self.options.any_language):
            return NOT_ENGLISH
        long = len(scenario.as_json().encode()) > MAX_LINE_BYTES
        return f"its scenario has more than {MAX_LINE_BYTES} bytes" if long else None

    def corpus(self, path: Path) -> Corpus:
        """All accepted dialogues; CorpusError if there are none."""
        if not self.taken:
            reasons = "; ".join(
                f"{reason} ({len(places)}, first at {places[0]})" for reason, places in self.dropped.items()
            )
            raise CorpusError(f"{path}: no dialogue that can be used: {reasons or 'it holds none'}")
        dropped = {reason: tuple(places) for reason, places in self.dropped.items()}
        return Corpus(self.source, tuple(self.taken.values()), dropped, dict(self.remarks))


def _words(where: str, value: Any, removed: Counter[str]) -> Any:
    """A value of a user condition; of a text, what is said, on one line."""
    return " ".join(without_markup(where, value, removed).split()) if isinstance(value, str) else value


def checked_condition(kind: type[UserCondition], condition: Mapping[str, Any]) -> UserCondition | str:
    """The user condition, or why a domain refuses it."""
    try:
        checked = kind.model_validate(condition)
    except ValidationError as error:
        return first_refusal(error).rule
    odd = boolean_taken(condition, checked)
    return f"{odd}: true and false are no numbers" if odd else checked
