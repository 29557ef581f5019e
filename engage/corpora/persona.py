"""Describes a participant of PersuasionForGood in plain language: who they are, and their clear traits.

Columns as in the corpus's table of participants. Missing answers, and answers that say little (`Other`), are omitted.
"""

from collections.abc import Mapping

SITUATION = "I am doing a paid task online."
MAX_TRAITS = 4
CLEARLY = 0.75
"""Least distance of a clear score from the middle of its scale, in half widths: 4.5 on 1..5, 5.4 on 1..6."""

_NOUNS = {"Male": "man", "Female": "woman"}
_PHRASES = {
    "marital.x": {"Married": "married", "Unmarried": "unmarried"},
    "employment.x": {"Employed for wages": "employed for wages"},
    "edu.x": {
        "Less than four-year college": "less than four-year college",
        "Four-year college": "four-year college",
        "Postgraduate": "postgraduate",
    },
    "ideology.x": {"Liberal": "liberal", "Moderate": "politically moderate", "Conservative": "conservative"},
    "religion.x": {"Atheist": "atheist", "Catholic": "Catholic", "Protestant": "Protestant"},
}
_TRAITS = {
    # column: upper end of the scale (from 1), said if high, said if low
    "extrovert.x": (5, "I am outgoing.", "I am quiet and keep to myself."),
    "agreeable.x": (5, "I am warm with people.", "I am not one to please people."),
    "conscientious.x": (5, "I am orderly and keep my word.", "I am not very organised."),
    "neurotic.x": (5, "I worry a lot.", "I hardly ever worry."),
    "open.x": (5, "I am curious about new ideas.", "I like what I know."),
    "care.x": (6, "I cannot bear to see someone suffer.", "Other people's suffering does not move me much."),
    "fairness.x": (6, "It matters to me that people are treated fairly.", "I do not think much about what is fair."),
    "loyalty.x": (6, "I am loyal to my own people.", "Loyalty to a group means little to me."),
    "authority.x": (6, "I respect authority.", "Authority means little to me."),
    "purity.x": (6, "I care about what is decent and pure.", "Ideas of purity mean little to me."),
    "freedom.x": (
        6,
        "Everyone should be free to choose for themselves.",
        "Freedom of choice is not what I care about most.",
    ),
    "conform.x": (6, "I follow the rules.", "I do not care for rules."),
    "tradition.x": (6, "I keep to traditions.", "Traditions mean little to me."),
    "benevolence.x": (6, "I like to help the people around me.", "Helping others is not what I am about."),
    "universalism.x": (6, "I care about everyone in the world, and nature.", "The wider world is not my concern."),
    "self_direction.x": (6, "I decide for myself.", "I do not mind being told what to do."),
    "stimulation.x": (6, "I want excitement.", "I do not need excitement."),
    "hedonism.x": (6, "I want to enjoy life.", "Pleasure is not important to me."),
    "achievement.x": (6, "I want to succeed.", "Success is not important to me."),
    "power.x": (6, "I like to have money and a say.", "Money and power are not important to me."),
    "security.x": (6, "I want to be safe.", "I do not need much safety."),
    "rational.x": (5, "I think things through before I decide.", "I do not weigh things up for long."),
    "intuitive.x": (5, "I decide by my gut.", "I do not trust my gut."),
}


def describe_person(row: Mapping[str, str]) -> str | None:
    """For example `a 30-year-old man, unmarried, employed for wages, four-year college, liberal, atheist`; None if nothing is known."""
    age = _number(row.get("age.x"))
    noun = _NOUNS.get(row.get("sex.x", ""), "person")
    known = [phrases[row[column]] for column, phrases in _PHRASES.items() if row.get(column) in phrases]
    if age is not None and 18 <= age < 100:  # a few gave an age of 3
        years = str(int(age))
        article = "an" if years == "18" or years.startswith("8") else "a"
        return ", ".join([f"{article} {years}-year-old {noun}", *known])
    if known or noun != "person":
        return ", ".join([f"a {noun}", *known])
    return None


def describe_situation(row: Mapping[str, str]) -> str:
    """In their own words: what they do, and their strongest traits (at most MAX_TRAITS; ties in the table's order)."""
    clear: list[tuple[float, str]] = []
    for column, (top, high, low) in _TRAITS.items():
        score = _number(row.get(column))
        if score is not None:
            lean = (2 * score - top - 1) / (top - 1)  # -1 at the lower end, 1 at the upper
            if CLEARLY <= abs(lean) <= 1:
                clear.append((abs(lean), high if lean > 0 else low))
    strongest = sorted(clear, key=lambda trait: -trait[0])[:MAX_TRAITS]
    return " ".join([SITUATION, *(text for _, text in strongest)])


def _number(text: str | None) -> float | None:
    try:
        return float(text or "")
    except ValueError:
        return None
