"""How simulated users behave beside people at the same places, in the words of arXiv 2603.11245: cooperativeness, frustration, lexical gap.

The first two are rules on words, the same for both sides. They miss much, so a share says little by itself; what counts is how far the
simulator's is from people's.
"""

import re
from collections.abc import Mapping, Sequence
from random import Random

import numpy as np
from numpy.typing import NDArray

from engage.domains.rules.patterns import matches_any, words_of
from engage.experiments.simulator_card.asking import SaidTwice
from engage.seeds import derive_seed
from engage.stats import Estimate, jackknife, rate

_NOT = r"(do ?n['’]?t|do not|wo ?n['’]?t|will not|ca ?n['’]?t|can ?not|could ?n['’]?t|would ?n['’]?t|('m| am) not going to)"
AGREES = (
    r"^\W*((oh|well|ah|um|hmm),? )?(yes|yeah|yep|yup|sure|ok|okay|alright|of course|certainly|definitely|absolutely|exactly|right|true|agreed|correct)\b",
    r"\b(i agree|you(['’]| a)?re right|that(['’]s| is) (true|right|a good (idea|point))|sounds (good|great|like a)|good (idea|point)|makes sense|"
    r"i(['’]ll| will) (try|do|give|donate|think)|i (would|['’]d) (love|like|be (happy|glad|willing)) to)\b",
)
EVADES = (
    r"\b(i (do ?n['’]?t|do not) know|idk|dunno|no idea|why do you (ask|want)|(i['’]?m|i am|am) not sure|hard to say|i(['’]d| would) rather not)\b",
)
ANNOYED = (
    r"\bno,? (thanks|thank you)\b(?! for)|\b(['’]m|am) not interested\b|^\W*(no,? |sorry,? )*(i do ?n['’]?t think so|not interested|not now)\b",
    rf"\bi {_NOT} (really )?(want to |wish to )?(donate|give|talk about|answer|do (that|it|this))\b(?! (any ?)?more)",
    r"^\W*whatever\W*$|\b(leave me alone|stop (asking|telling|saying|pushing|pestering)|enough of this|none of your business|mind your own|go away\W*$|forget it|"
    r"shut up|get lost|fed up with (you|this)|(annoyed (with|by|at)|tired of) you|you(['’]re| are) (so |very |too |being )?(annoying|pushy|rude|useless|wasting)|"
    r"waste of (my )?time|wasting my time|scam|(this|that|it)(['’]s| is) (just )?(ridiculous|useless|pointless|annoying))\b",
    r"\b(you(['’]re| are) not (listening|helping|getting)|you (do ?n['’]?t|do not) (listen|understand|get it|care)|"
    r"(that|this|you) (does ?n['’]?t|do ?n['’]?t|did ?n['’]?t|is ?n['’]?t|are ?n['’]?t|does not|did not|is not|are not) (really )?help(ing|ful)?|"
    r"i (already|just) (told|said))\b",
)
"""Words of annoyance with the conversation, and words that decline. They do not say what a user complains of."""
_SHORT_ANSWERS = {"yes", "no", "yeah", "yep", "nope", "nah", "sometimes", "never", "always", "maybe", "both", "none"}
_SENTENCES = re.compile(r"(?<=[.!?])\s+")
_SELF = re.compile(r"\b(i|i'm|im|my|me|we|our)\b", re.IGNORECASE)
LEAST_ANSWER, LEAST_UNASKED = 3, 6
"""Least words of an answer that is not a number or one of a few short words, and of what a user says of themselves unasked."""
HALVINGS = 10
"""Random halvings of the dialogues over which a lexical gap is averaged."""

Turns = Mapping[str, Sequence[SaidTwice]]
Figures = dict[str, Estimate]


def manner_figures(turns: Turns, seed: int = 0) -> Figures:
    """Figures of people (`human_…`) and of the simulator (`simulated_…`); `turns` by scenario id.

    `cooperative` and `frustrated` are shares of turns, `frustrated_dialogues` one of dialogues; `answers` is the share of turns after
    a question that answer it; `lexical_gap` as in `lexical_gaps`.
    """
    said = [list(turns[name]) for name in sorted(turns) if turns[name]]
    figures: Figures = {}
    for side in ("human", "simulated"):
        cooperative, annoyed, answered, asked = [], [], [], []
        for places in said:
            texts = [(place.before, getattr(place, side)) for place in places]
            cooperative.append(sum(cooperates(before, text) for before, text in texts))
            annoyed.append(sum(matches_any(ANNOYED, text) for _, text in texts))
            asked.append(sum("?" in before for before, _ in texts))
            answered.append(sum("?" in before and _answers(text) for before, text in texts))
        sizes = [len(places) for places in said]
        figures |= {
            f"{side}_cooperative": rate(cooperative, sizes, seed),
            f"{side}_answers": rate(answered, asked, seed),
            f"{side}_frustrated": rate(annoyed, sizes, seed),
            f"{side}_frustrated_dialogues": rate([count > 0 for count in annoyed], [1] * len(said), seed),
        }
    return figures | lexical_gaps(said, seed)


def cooperates(before: str, text: str) -> bool:
    """Whether a user's turn agrees, answers what the turn before asked, or says something of themselves unasked.

    One that declines, evades or is annoyed does none of it.
    """
    if matches_any((*ANNOYED, *EVADES), text):
        return False
    if "?" in before:
        return _answers(text)
    return matches_any(AGREES, text) or (len(_stated(text)) >= LEAST_UNASKED and bool(_SELF.search(text)))


def _answers(text: str) -> bool:
    """Whether a turn agrees or states something, and does not evade; a question in return is no answer."""
    if matches_any(EVADES, text):
        return False
    said = _stated(text)
    short = any(word in _SHORT_ANSWERS or word.isdigit() for word in said)
    return short or len(said) >= LEAST_ANSWER or matches_any(AGREES, text)


def _stated(text: str) -> list[str]:
    """The words of a turn's sentences that are no questions."""
    return [word for one in _SENTENCES.split(text) if not one.rstrip().endswith("?") for word in words_of(one)]


def lexical_gaps(said: Sequence[Sequence[SaidTwice]], seed: int = 0) -> Figures:
    """How far the word frequencies of two halves of the dialogues are from each other: Jensen–Shannon divergence in bits, 0 to 1.

    `human_lexical_gap` compares people with people, the floor that two samples of this size differ by anyway; `simulated_lexical_gap`
    compares people of one half with the simulator in the other. Both second samples are cut to the same number of words. Averaged
    over HALVINGS; intervals by the jackknife over dialogues.
    """
    known: dict[str, int] = {}
    coded = {
        side: [
            np.array(
                [known.setdefault(word, len(known)) for place in places for word in words_of(getattr(place, side))],
                dtype=np.intp,
            )
            for places in said
        ]
        for side in ("human", "simulated")
    }
    halves = []
    for number in range(HALVINGS):
        order = list(range(len(said)))
        Random(derive_seed(seed, "card", "halves", number)).shuffle(order)
        halves.append(np.isin(np.arange(len(said)), order[: len(order) // 2]))

    def gap(side: str, index: NDArray[np.intp]) -> float:
        gaps = []
        for first in halves:
            people = _together(coded["human"], index[first[index]])
            others = {name: _together(words, index[~first[index]]) for name, words in coded.items()}
            size = min(len(words) for words in others.values())
            gaps.append(divergence(people, others[side][:size], len(known)))
        return float(np.mean(gaps)) if gaps else float("nan")

    return {
        f"{side}_lexical_gap": jackknife(len(said), lambda index, side=side: gap(side, index))  # type: ignore[misc]
        for side in coded
    }


def _together(words: Sequence[NDArray[np.intp]], index: NDArray[np.intp]) -> NDArray[np.intp]:
    return np.concatenate([np.empty(0, dtype=np.intp), *(words[i] for i in index)])


def divergence(one: NDArray[np.intp], other: NDArray[np.intp], size: int) -> float:
    """Jensen–Shannon divergence in bits of the frequencies of two samples of the words 0 … size − 1; NaN if one is empty."""
    if not len(one) or not len(other):
        return float("nan")
    p, q = (np.bincount(words, minlength=size) / len(words) for words in (one, other))
    return _entropy((p + q) / 2) - (_entropy(p) + _entropy(q)) / 2


def _entropy(shares: NDArray[np.float64]) -> float:
    present = shares[shares > 0]
    return float(-(present * np.log2(present)).sum())
