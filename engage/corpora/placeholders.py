"""Replaces names, addresses and numbers of people in a conversation by placeholders such as `[name 1]` and `[phone]`.

Plain rules for text in Latin letters, and a list of names (`data/names.txt`). They miss some and replace words that are no names
(tests/fixtures/planted/README.md measures both), and people can be recognised from what they tell. So what is left is not safe to publish.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache, lru_cache
from importlib import resources

KINDS = ("name", "email", "phone", "url", "address", "number")
PLACEHOLDER = re.compile(rf"\[(?:{'|'.join(KINDS)})(?: \d+)?\]")

_TLD = r"(?:com|org|net|io|edu|gov|info|co\.uk|de|fr|ca|ch|at|nl|eu)"
_EMAIL = re.compile(
    r"(?<![\w.+%-])[\w.+%-]+(?:\s?[@＠]|\s?[\[(]\s?at\s?[\])]\s?|\sat\s(?=[\w-]+\sdot\s))[\w-]+(?:(?:\.|\s?[\[(]\s?dot\s?[\])]\s?|\sdot\s)[\w-]+)+",
    re.IGNORECASE,
)
_URL = re.compile(
    rf"(?:\b(?:https?|ftp)://|\bwww\.)[^\s<>\"']*[^\s<>\"').,!?;:]|(?<![\w@.-])(?:[a-z0-9-]+\.)+(?:{_TLD}\b(?:/[^\s<>\"']*[^\s<>\"').,!?;:])?|[a-z]{{2,6}}/[^\s<>\"']*[^\s<>\"').,!?;:])",
    re.IGNORECASE,
)
_TOWN = r"(?:,? (?i:apt|apartment|unit|flat|suite)\.? ?\w+)?(?:, ?[A-Z][\w'-]+(?: [A-Z][\w'-]+){0,2})?(?:,? [A-Z]{2}\b)?(?:,? \d{4,5}(?:-\d{4})?\b)?"
_ADDRESSES = (
    re.compile(
        r"(?<!\w)\d{1,5}[A-Za-z]?,? (?:[\w.'’-]+ ){1,4}?"
        rf"(?:(?i:street|avenue|ave|road|rd|lane|boulevard|blvd|crescent|terrace|highway|parkway)|St|Dr|Drive|Court|Ct|Place|Pl|Way|Square|Sq|Close|Ln)\b\.?{_TOWN}"
    ),
    re.compile(
        r"\b[A-ZÄÖÜ][\wäöüß-]*(?:straße|strasse|str\.|gasse|weg|platz|allee|ufer|damm) ?\d{1,4}[a-z]?\b(?:,? \d{4,5} [A-ZÄÖÜ]\w+)?"
    ),
    re.compile(
        r"(?<!\w)(?:\d{1,4},? )?(?i:rue|avenue|boulevard|calle|avenida|via|piazza|rua|plaza)(?: (?:de|del|della|des|du|da|la|las|los|le|les|l'))* ?[A-ZÀ-Ý][\w'’-]+(?: [A-ZÀ-Ý][\w'’-]+)?,? \d{1,4}\b"
        r"|(?<!\w)\d{1,4},? (?i:rue|avenue|boulevard)(?: (?:de|des|du|la|le|les|l'))* ?[A-ZÀ-Ý][\w'’-]+"
    ),
    re.compile(r"\b(?i:p\.? ?o\.? box) \d+\b|\b[A-Z]{1,2}\d[A-Z\d]? \d[A-Z]{2}\b"),
)
_IBAN = re.compile(r"\b[a-z]{2}\d{2}(?:[ -]?[a-z0-9]{4}){2,7}(?:[ -]?[a-z0-9]{1,4})?\b", re.IGNORECASE)
_IP = re.compile(
    r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?![\w.])"
    r"|(?<![\w:])(?:(?:[0-9a-f]{1,4}:){7}|(?:[0-9a-f]{1,4}:){1,6}(?::[0-9a-f]{1,4}){0,5}:)[0-9a-f]{1,4}(?![\w:])",
    re.IGNORECASE,
)
_DIGITS = re.compile(r"(?<![\w.])(?:\+|\()?\d(?:[\s().\-/–]{0,2}\d){6,}(?!\w)")
_SPOKEN = re.compile(
    r"\b(?:(?:zero|oh|one|two|three|four|five|six|seven|eight|nine|double|triple)\b[\s,-]*){7,}", re.IGNORECASE
)
_LONG = re.compile(r"(?<![\w-])(?=(?:[A-Za-z-]{0,9}\d){5})[A-Za-z0-9][A-Za-z0-9-]{5,40}(?![\w-])")
_HANDLE = re.compile(r"(?<![\w@.])@[A-Za-z_][\w.]*\w")
_WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")
_ENDS = re.compile(r"(?:^|[.!?:;…\n\"“(*]|\s[-–—])\s*$")
_STRONG = re.compile(
    r"(?:\bnames?(?:['’]?s| is)|\bcall(?:ed)? me|\bi am called|\bnamed|\b(?:mr|mrs|ms|mx|dr|prof|sr|sra|herr|frau|mme)\.?|\bmiss|\bprofessor|\bdoctor)\s$",
    re.IGNORECASE,
)
_WEAK = re.compile(
    r"(?:\b(?:i['’]?m|i am|it['’]s|this is|hi|hello|hey|dear|bye|thanks|thank you|regards|sincerely|cheers|aunt|auntie|uncle|cousin|"
    r"(?:brother|sister|husband|wife|son|daughter|boyfriend|girlfriend|friend|boss|manager|colleague|ex|mom|dad|mum),?)),?\s$",
    re.IGNORECASE,
)
_GLUED = re.compile(r"(?=[\w.]*[\d_])[._\d]\w*(?:[._]\w+)*")
"""What makes a name an account's: `.b.99` of `johnny.b.99`."""
LOWER_LETTERS = 5
"""A rarer first name counts without a capital letter from this length on; shorter ones are too often something else."""
_NEVER = """
a an and are as at but by for from god he her him his how i if in is it its me my no not of oh ok okay or our she so that the their them they this
to us was we what when where who why yes you your there here then january february march april may june july august september october november
december monday tuesday wednesday thursday friday saturday sunday christmas easter american british english german
french spanish italian chinese indian mexican canadian african asian european muslim jewish catholic buddhist hindu""".split()  # noqa: SIM905


def replace_personal(texts: Sequence[str]) -> tuple[list[str], Counter[str]]:
    """One conversation's turns with placeholders, and the number of replacements by kind.

    A name has the same number throughout a conversation.
    """
    counts: Counter[str] = Counter()
    plain = [_replace_rules(text, counts) for text in texts]
    names = _Names(plain)
    return [names.replaced(text, counts) for text in plain], counts


def _replace_rules(text: str, counts: Counter[str]) -> str:
    def put(kind: str) -> str:
        counts[kind] += 1
        return f"[{kind}]"

    def number(match: re.Match[str]) -> str:
        written = match[0]
        digits = sum(one.isdigit() for one in written)
        phone = digits <= 15 and (written[0] in "+(0" or not written.isdigit())
        return put("phone" if phone else "number")

    text = _EMAIL.sub(lambda _: put("email"), text)
    text = _URL.sub(lambda _: put("url"), text)
    text = _HANDLE.sub(lambda _: put("name"), text)
    for pattern in _ADDRESSES:
        text = pattern.sub(lambda _: put("address"), text)
    text = _IBAN.sub(lambda match: put("number") if sum(one.isdigit() for one in match[0]) >= 10 else match[0], text)
    text = _IP.sub(lambda _: put("number"), text)
    text = _DIGITS.sub(number, text)
    text = _SPOKEN.sub(lambda _: put("phone") + " ", text)
    return _LONG.sub(lambda _: put("number"), text)


class _Names:
    """The names of one conversation, as sets of folded words by number; found in all its turns before any is replaced."""

    def __init__(self, texts: Sequence[str]) -> None:
        self.numbers: dict[str, int] = {}
        for text in texts:
            for span in _spans(text, frozenset()):
                self._number([folded(word[0]) for word in span])

    def replaced(self, text: str, counts: Counter[str]) -> str:
        """The text with its names as placeholders."""
        parts: list[str] = []
        end = 0
        for span in _spans(text, frozenset(self.numbers)):
            start, stop = span[0].start(), span[-1].end()
            if start < end:  # in what is glued to the name before
                continue
            counts["name"] += 1
            if glued := _GLUED.match(text, stop):
                stop = glued.end()
            own = "'s" if folded(span[-1][0]) != _fold(span[-1][0]) else ""
            parts += [text[end:start], f"[name {self._number([folded(word[0]) for word in span])}]{own}"]
            end = stop
        return "".join([*parts, text[end:]])

    def _number(self, words: Sequence[str]) -> int:
        known = next((self.numbers[word] for word in words if word in self.numbers), None)
        number = known or max(self.numbers.values(), default=0) + 1
        for word in words:
            self.numbers.setdefault(word, number)
        return number


def _spans(text: str, known: frozenset[str]) -> Iterator[list[re.Match[str]]]:
    """Runs of words that are a name; `known` are the conversation's names so far."""
    letters = [one for one in text if one.isalpha()]
    shouted = sum(one.isupper() for one in letters) > 0.6 * len(letters) > 3
    held = [match.span() for match in PLACEHOLDER.finditer(text)]
    run: list[re.Match[str]] = []
    for word in _WORD.finditer(text):
        if any(start <= word.start() < stop for start, stop in held):
            continue
        gap = text[run[-1].end() : word.start()] if run else ""
        follows = gap in (" ", "-") or (gap == ". " and len(run[-1][0]) == 1)  # an initial
        if _is_name(text, word, known, shouted) or (follows and _is_surname(word[0], shouted)):
            if run and not follows:
                yield run
                run = []
            run.append(word)
        elif run:
            yield run
            run = []
    if run:
        yield run


def _is_name(text: str, word: re.Match[str], known: frozenset[str], shouted: bool) -> bool:
    lists, plain = _names(), folded(word[0])
    capital = word[0][0].isupper() and not word[0].isupper() and not shouted  # all capitals: mostly an abbreviation
    before = text[max(0, word.start() - 24) : word.start()]
    if plain in _NEVER or len(plain) < 2:
        return False
    everyday = plain in lists["everyday"]
    ordinary = everyday or plain in _english()
    first = plain in lists["first"] and not ordinary
    if plain in lists["common"] or (first and (capital or len(plain) >= LOWER_LETTERS)):
        return True
    if plain in known and (capital or not ordinary):
        return True
    if _STRONG.search(before) and (capital or not ordinary):
        return True
    if not capital:
        return False
    starts = _ENDS.search(before) is not None
    if starts and not _WEAK.search(before):
        return plain in lists["last"]
    return everyday or not ordinary


def _is_surname(word: str, shouted: bool) -> bool:
    """Whether a word directly after a first name belongs to the name: any capitalised word, except little ones."""
    return word[0].isupper() and not shouted and folded(word) not in _NEVER and len(word) > 1


@lru_cache(maxsize=100_000)
def folded(word: str) -> str:
    """A word as the list of names has it: lower case, without accents and a possessive `'s`."""
    return _fold(word).removesuffix("'s")


def _fold(word: str) -> str:
    plain = unicodedata.normalize("NFKD", word.lower()).replace("’", "'")
    return "".join(one for one in plain if not unicodedata.combining(one)).translate(_LETTERS)


_LETTERS = str.maketrans({"ł": "l", "ø": "o", "đ": "d", "ı": "i"})


@cache
def _names() -> dict[str, frozenset[str]]:
    """`common` first names (found in lower case too), `first` names, `everyday` words that are names too, and `last` names."""
    lists: dict[str, frozenset[str]] = {}
    kind = ""
    for line in (resources.files("engage") / "data" / "names.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("= "):
            kind = line.removeprefix("= ")
        elif not line.startswith("#"):
            lists[kind] = lists.get(kind, frozenset()) | frozenset(line.split())
    return lists


@cache
def _english() -> frozenset[str]:
    """Everyday English words, among which are some names; `common` and `first` names are asked before."""
    return frozenset((resources.files("engage") / "data" / "english_words.txt").read_text(encoding="utf-8").split())
