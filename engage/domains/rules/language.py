"""Whether a text is in English, the language of the rules for crises, deception and flaws. Uses no model.

It counts the share of words that are in `data/english_words.txt` (the words of our own scenarios and dialogues, and common words of
chats). In another script, two letters count as one unknown word. It does not name the other language, and it mostly accepts texts
of fewer than FEWEST_WORDS words in Latin script.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from importlib import resources

FEWEST_WORDS = 4
LONG_TURN, WINDOW_WORDS = 7, 12
KNOWN_IN_PART, KNOWN_IN_ALL = 0.35, 0.5
"""Least share of known words in a part (a turn of at least LONG_TURN words, or neighbouring turns of WINDOW_WORDS words together) and
in a whole dialogue. Of 2,100 human dialogues about feelings or charity, four are below: three of random keys, one in romanised Tamil.
"""

_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
_NOT_TEXT = re.compile(r"https?://\S+|www\.\S+|\S+@\S+\.\S+")
_ACCENT = re.compile("[\u00c0-\u024f\u1e00-\u1eff]")
_OTHER_SCRIPT = re.compile("[^\\W\\d_\u0000-\u024f\u1e00-\u1eff\ua720-\ua7ff\uab30-\uab6f\ufb00-\ufb06\uff21-\uff5a]")


def foreign(texts: Sequence[str]) -> bool:
    """Whether a dialogue's turns are not in English: as a whole, in some part, or by one turn's script."""
    counted = [_count(text) for text in texts]
    if any(_other_script(text) for text in texts) or _too_few(_sum(counted), KNOWN_IN_ALL, WINDOW_WORDS):
        return True
    return any(_too_few(part, KNOWN_IN_PART) for part in (_sum(counted), *_parts(counted)))


def foreign_turn(text: str) -> bool:
    """Whether one turn is not in English; three words are enough if none is known, two if one has an accent."""
    known, words = counted = _count(text)
    none_known = not known and words >= (2 if _ACCENT.search(text) else 3)
    return none_known or _other_script(text) or _too_few(counted, KNOWN_IN_PART)


def _too_few(counted: tuple[int, int], share: float, from_words: int = FEWEST_WORDS) -> bool:
    known, words = counted
    return words >= from_words and known < share * words


def _parts(counted: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Counts of each long turn, and of the shortest run of turns from each turn on that has WINDOW_WORDS words."""
    for first, turn in enumerate(counted):
        if turn[1] >= LONG_TURN:
            yield turn
        known = words = 0
        for one in counted[first:]:
            known, words = known + one[0], words + one[1]
            if words >= WINDOW_WORDS:
                yield known, words
                break


def _sum(counted: Iterable[tuple[int, int]]) -> tuple[int, int]:
    pairs = list(counted)
    return sum(known for known, _ in pairs), sum(words for _, words in pairs)


def _count(text: str) -> tuple[int, int]:
    """Known words, and all words, without addresses. Other scripts may write a sentence without spaces: two letters are a word."""
    words = _WORD.findall(_NOT_TEXT.sub(" ", text).lower().replace("’", "'"))
    return sum(word in _known() for word in words), sum(max(1, len(_OTHER_SCRIPT.findall(word)) // 2) for word in words)


def _other_script(text: str) -> bool:
    """Whether at least two letters, and a third of all letters, are of another script; a Greek letter or a kaomoji is not enough."""
    others = len(_OTHER_SCRIPT.findall(text))
    return others >= 2 and 3 * others >= sum(character.isalpha() for character in text)


@cache
def _known() -> frozenset[str]:
    return frozenset((resources.files("engage") / "data" / "english_words.txt").read_text(encoding="utf-8").split())
