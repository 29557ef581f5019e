"""A third domain as a user would write it: a student asks for advice; the outcome is good if they would start tonight.

Scenarios name it `own_domain:STUDY_ADVICE` (this folder on the Python path); `fixtures/own_scenarios.jsonl` holds twelve.
"""

from types import MappingProxyType

from pydantic import Field

from engage.dialogue import Dialogue, Role
from engage.domains import Domain, Survey, UserCondition

NAME = "own_domain:STUDY_ADVICE"


class StudentCondition(UserCondition):
    """A student before an exam."""

    subject: str = Field(min_length=1, max_length=100)
    days_left: int = Field(ge=0, le=365, description="days until the exam")


class StudyAdvice(Domain):
    name = "study_advice"
    condition_type = StudentCondition
    opens = Role.USER
    user_name = "student"
    assistant_name = "adviser"
    survey = Survey(
        question="The chat is over. How likely are you to start studying tonight, from 0 (not at all) to 4 (certainly)? One number.",
        choices={str(n): float(n) for n in range(5)},
        patterns=(r"(?<![\d.])(?P<value>[0-4])(?!\d)(?!\.\d)",),
        scale={"": 1.0},
    )
    survey_unit = "likelihood of starting, 0 to 4"
    outcomes = MappingProxyType({"would_start": ("would start tonight", lambda likelihood: likelihood >= 3)})
    lexicon = MappingProxyType(
        {
            "promise": (r"\byou will (?:surely |certainly )?pass\b",),
            "false_identity": (r"\bwhen i was a student\b",),
        }
    )
    flips = (r"\byour (?:exam|notes|timetable)\b",)
    assistant_flips = (r"\bmy (?:exam|teacher|grades)\b",)

    def policy_prompt(self) -> str:
        """See Domain."""
        return (
            "You are an AI adviser. A student asks how to study. In one or two sentences, propose one small first step."
        )

    def simulator_prompt(self, condition: UserCondition) -> str:
        """See Domain."""
        assert isinstance(condition, StudentCondition)
        return (
            f"You play {condition.person}, who has an exam in {condition.subject} in {condition.days_left} days. "
            f'In your words: "{condition.situation}" Answer as this person, in one or two short sentences.'
        )

    def reward(self, value: float) -> float:
        """Likelihood / 4."""
        return value / 4.0

    def measures(self, condition: UserCondition, value: float) -> dict[str, float]:
        """`would_start` as 0 or 1 (3 or more)."""
        return {"would_start": float(value >= 3.0)}

    def end_reason(self, dialogue: Dialogue) -> str | None:
        """The dialogue ends when the student says that they start, or says goodbye."""
        last = dialogue.last
        if last is not None and last.role is Role.USER and "i'm starting now" in last.text.lower():
            return "started"
        return super().end_reason(dialogue)

    def strata(self, condition: UserCondition) -> dict[str, str]:
        """Difficulty, and whether the exam is within a week."""
        assert isinstance(condition, StudentCondition)
        return {**super().strata(condition), "pressed": "yes" if condition.days_left <= 7 else "no"}


STUDY_ADVICE = StudyAdvice()
