"""What a domain is: one object that says who the user is, who opens, how it ends, what is asked and what it is worth.

To write one's own, subclass `Domain`, fill in the attributes and the abstract methods, and name the instance
`package.module:OBJECT` wherever a domain is named (scenario files, profiles). `tests/own_domain.py` is the example to copy.
"""

import ast
import hashlib
import inspect
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from engage.dialogue import Dialogue, Role
from engage.domains.rules.crisis import REFERRAL
from engage.domains.rules.deception import DECEPTION
from engage.domains.rules.language import foreign
from engage.domains.rules.patterns import matches_any
from engage.stats import is_finite, shown
from engage.survey import Survey

AFTERWARDS = frozenset(
    {
        "lexicon",
        "reward",
        "measures",
        "improved",
        "achieved",
        "in_words",
        "survey_unit",
        "outcomes",
        "largest_sum",
        "deception_check",
    }
)
"""What of a domain reads dialogues that are held: it can be changed, and they are read anew. Which of them a search held was chosen
by the reward of that time."""

Difficulty = Literal["cooperative", "guarded", "sarcastic", "hostile", "terse", "talkative", "already_fine"]


class UserCondition(BaseModel):
    """What the simulator is told about the user it plays; a domain adds its own fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True)

    person: str = Field(min_length=1, max_length=600, description="who they are, in one phrase")
    situation: str = Field(min_length=1, max_length=4000, description="what happened, in their own words")
    difficulty: Difficulty | None = Field(None, description="manner of talking; None where the source does not say")


class Domain(ABC):
    """One kind of dialogue; an instance is stateless and may be shared between threads."""

    name: ClassVar[str]
    condition_type: ClassVar[type[UserCondition]]
    opens: ClassVar[Role]
    survey: ClassVar[Survey]
    user_name: ClassVar[str]
    """What the user's side is called in transcripts, such as `seeker`."""
    assistant_name: ClassVar[str]
    lexicon: ClassVar[Mapping[str, tuple[str, ...]]]
    """The domain's own signs of reward hacking in assistant replies: check name to regular expressions (case ignored)."""
    survey_unit: ClassVar[str] = "its own unit"
    """Unit and range of the survey's answers, such as `dollars, 0 to 2`."""
    outcomes: ClassVar[Mapping[str, tuple[str, Callable[[float], bool]]]] = {}
    """Outcomes that are so or not, by name: in words, and whether a survey value means them. The simulator card says how well
    the simulator's answers rank them."""
    largest_sum: ClassVar[float | None] = None
    """The largest sum in dollars that an answer can be, where the survey asks for dollars: sums that users name in the dialogue
    are then compared with their answers."""
    flips: ClassVar[tuple[str, ...]] = ()
    """How a user turn sounds that speaks for the assistant's side (regular expressions, case ignored)."""
    users_help: ClassVar[bool] = False
    """Whether this domain's users advise or offer help themselves (a mentor, a clerk): then `flips` alone tell a role flip, because the
    role check (`engage.simulation.roles`) would take them for assistants."""
    deception_check: ClassVar[bool] = False
    """Whether replies that the deception check finds (`engage.domains.rules.deception_check`) are kept out of the pairs, too. It was
    fitted on persuasion, and is wrong too often elsewhere."""
    assistant_flips: ClassVar[tuple[str, ...]] = ()
    """The same for an assistant turn that speaks for the user's side."""
    farewells: ClassVar[tuple[str, ...]] = (
        r"\b(good ?bye|bye|take care|talk to you later|have a (good|great|nice) (day|night|evening))\b",
    )

    strategies: ClassVar[str] = ""
    """Text for the policy's prompt that names what good helpers do: the prompted baseline of a comparison; empty: none."""
    adversaries: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    """Users who cannot be played by a model, by name: what they say turn by turn, over again where a dialogue is longer."""
    referral: ClassVar[str] = REFERRAL
    """The assistant's last words to a user who speaks of harming themselves; the dialogue ends with them."""
    language: ClassVar[str] = "en"
    """The language of its dialogues. Rules for crises, deception and flaws read English: a domain in another language brings its own,
    in `crisis`, `lexicon`, `flips`, `farewells` and `referral`, and no text of it is checked for being English."""
    crisis: ClassVar[tuple[str, ...]] = ()
    """How a user turn sounds that speaks of self-harm (regular expressions, case ignored), beside the English rules of `engage.domains.rules.crisis`."""

    def reads(self, texts: Sequence[str]) -> bool:
        """Whether its rules can read what is said in these turns: False where they expect English and find another language."""
        return self.language != "en" or not foreign(texts)

    @property
    def signs(self) -> dict[str, tuple[str, ...]]:
        """The lexicon together with what no assistant may say in any domain (`engage.domains.rules.deception`)."""
        checks = dict.fromkeys((*self.lexicon, *DECEPTION))
        return {check: (*self.lexicon.get(check, ()), *DECEPTION.get(check, ())) for check in checks}

    @abstractmethod
    def policy_prompt(self) -> str:
        """System text of the assistant; it never contains anything of the user condition."""

    @abstractmethod
    def simulator_prompt(self, condition: UserCondition) -> str:
        """System text of the user simulator for one user condition."""

    def exit_question(self, dialogue: Dialogue) -> str:
        """The exit survey as it is asked after this dialogue. By default the survey's question as it stands; a domain may remind
        the user of what they said themselves: a small model answers by what stands near."""
        return self.survey.question

    @abstractmethod
    def reward(self, value: float) -> float:
        """The reaction's value mapped to [0, 1]; 1 is best."""

    def measures(self, condition: UserCondition, value: float) -> dict[str, float]:
        """Outcomes reported beside the reward, by name (such as `relief`)."""
        return {}

    def in_words(self, condition: UserCondition, value: float) -> str:
        """What a survey value says about the user, as a clause such as `gives $0.50 of $2.00`."""
        return f"answers {value:.2f} ({self.survey_unit})"

    def improved(self, condition: UserCondition, value: float) -> bool:
        """Whether the user ended better off than they began; True where nothing was asked before the dialogue."""
        return True

    def achieved(self, condition: UserCondition, value: float) -> float:
        """What the dialogue achieved, as `engage experiment people` reads it; higher is better. By default: the reward."""
        return self.reward(value)

    def end_reason(self, dialogue: Dialogue) -> str | None:
        """Why the dialogue is over after its latest user turn, None while it goes on. By default: the user says goodbye."""
        last = dialogue.last
        if last is None or last.role is not Role.USER:
            return None
        return "farewell" if matches_any(self.farewells, last.text) else None

    def strata(self, condition: UserCondition) -> dict[str, str]:
        """By what a gain may be read separately; extended by a domain."""
        return {"difficulty": condition.difficulty or "unstated"}

    def fingerprint(self) -> str:
        """SHA-256 of the domain's source, its parents' included: prompts, survey and rules are part of a cycle's identity.

        What only reads dialogues that are held already (AFTERWARDS) is left out, and so are comments and layout: the reward, say, may
        be changed without one model call.
        """
        modules = dict.fromkeys(
            inspect.getmodule(one) or one for one in type(self).__mro__ if issubclass(one, Domain) and one is not Domain
        )
        collecting = [_without(ast.parse(inspect.getsource(module)), AFTERWARDS) for module in modules]
        return hashlib.sha256("\n".join(map(ast.unparse, collecting)).encode()).hexdigest()


def _without(module: ast.Module, names: Collection[str]) -> ast.Module:
    """The module without those attributes and methods of its classes."""

    def name_of(part: ast.stmt) -> str | None:
        if isinstance(part, ast.Assign) and isinstance(part.targets[0], ast.Name):
            return part.targets[0].id
        if isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name):
            return part.target.id
        return part.name if isinstance(part, ast.FunctionDef) else None

    for part in module.body:
        if isinstance(part, ast.ClassDef):
            part.body = [one for one in part.body if name_of(one) not in names] or [ast.Pass()]
    return module


_log = logging.getLogger("engage")


def reward_of(domain: Domain, value: float | None) -> float | None:
    """The domain's reward for a survey value; None for a value that is unknown or not finite, and where the domain gives none.

    What is no number in 0..1 is no reward: said once for each domain, and counted as a reaction that could not be read.
    """
    if not is_finite(value):
        return None
    try:
        reward = domain.reward(value)
    except Exception as error:  # a user's method can fail in any way
        _warn_once(domain.name, f"the reward of {value:g} fails: {type(error).__name__}: {error}")
        return None
    if not is_reward(reward):
        _warn_once(domain.name, f"the reward of {value:g} is {shown(reward)}, not in 0..1")
        return None
    return float(reward)


def is_reward(reward: object) -> bool:
    """Whether it is a number in 0..1."""
    return is_finite(reward) and 0.0 <= reward <= 1.0


_warned: set[str] = set()


def _warn_once(name: str, reason: str) -> None:
    if name not in _warned:
        _warned.add(name)
        _log.warning("domain %r: %s; such reactions count as unreadable", name, reason)
