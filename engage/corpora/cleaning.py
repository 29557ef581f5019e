"""Removes what a website or an export wrote around people's turns: HTML, labels such as `User:`, invisible characters.

Each kind of removal is counted. A lone surrogate or a control character, which no person types, is a CorpusError.
"""

import html
import re
from collections import Counter
from collections.abc import Iterable, Sequence

from engage.dialogue import Role
from engage.errors import CorpusError
from engage.files.reading import unprintable

HTML, LABEL, INVISIBLE = "HTML removed", "the speakers' labels removed, such as `User:`", "invisible characters removed"
Said = tuple[Role, str]

_LABELS = {
    Role.USER: "user|human|seeker|help[- ]?seeker|persuadee|speaker|usr|client",
    Role.ASSISTANT: "assistant|supporter|helper|persuader|listener|sys|ai|bot|chatbot|ai assistant|counsell?or|therapist",
}
_LABEL_ENDS = r"[\s*_\])>]*(?:[:：](?!//)|[\])>](?=\s)|\s[-–—>](?=\s))[\s*_]*"
_LABEL = {
    role: re.compile(rf"^[\s*_\[(<#>-]*(?:{names}){_LABEL_ENDS}", re.IGNORECASE) for role, names in _LABELS.items()
}
_SYSTEM = re.compile(r"^[\s*_\[(<#>-]*system[\s*_\])>]*[:：]", re.IGNORECASE)
_INSIDE = re.compile(rf"\n[\s*_\[(<#>-]*(?:{'|'.join(_LABELS.values())}|system)[\s*_\])>]*[:：](?!//)", re.IGNORECASE)
_ANY_LABEL = re.compile(r"^\s*([^\W\d_][\w .'-]{0,30}?)\s*[:：](?!//|[)(DPp/|*\]])\s*(?=\S)")
LABELLED_TURNS = 3
"""A name with a colon is a label if at least this many turns of a side, and more than half of them, begin with it."""

_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,30});")
_TAG = re.compile(
    r"<!--.*?-->|<(script|style)\b[^<>]*>.*?</\1\s*>|</?(?:a|abbr|address|article|b|big|blockquote|body|br|center|cite|code|div|em|"
    r"figure|font|footer|form|h[1-6]|head|header|hr|html|i|iframe|img|input|ins|kbd|label|li|link|main|mark|meta|nav|ol|p|pre|q|s|"
    r"samp|script|section|small|span|strike|strong|style|sub|sup|table|tbody|td|tfoot|th|thead|title|tr|tt|u|ul|video|wbr)"
    r"(?:\s[^<>]*|\s*/)?>",
    re.IGNORECASE | re.DOTALL,
)
_INVISIBLE = re.compile("[\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff]")
ESCAPED_AT_MOST = 4


def clean_turns(where: str, said: Iterable[Said]) -> tuple[list[Said], Counter[str], str | None]:
    """The cleaned turns, the number of changed turns by kind, and why the speakers cannot be told apart (None: they can).

    `where` (file and place) begins the message of a CorpusError.
    """
    counts: Counter[str] = Counter()
    cleaned = [
        (role, _without_markup(f"{where}: turn {index}", text, counts)) for index, (role, text) in enumerate(said)
    ]
    names = {role: _own_label(role, cleaned) for role in Role}
    turns: list[Said] = []
    for role, text in cleaned:
        rest = _without_label(role, text, names[role])
        if _SYSTEM.match(rest) or _LABEL[role.other].match(rest):
            return [], counts, "a turn begins with another speaker's label"
        if _INSIDE.search(rest):
            return [], counts, "a turn holds another speaker's words"
        counts[LABEL] += rest != text
        turns.append((role, rest))
    return turns, +counts, None


def check_text(where: str, text: str) -> None:
    """CorpusError for a lone surrogate or a control character, which would reach prompts and terminals."""
    if wrong := unprintable(text):
        raise CorpusError(f"{where}: {wrong}")


def _without_markup(where: str, text: str, counts: Counter[str]) -> str:
    check_text(where, text)
    shown = text
    for _ in range(ESCAPED_AT_MOST):  # a text that was exported twice is escaped twice
        before, shown = shown, _ENTITY.sub(lambda match: html.unescape(match[0]), shown)
        if shown == before:
            break
    shown = _TAG.sub(lambda tag: "\n" if tag[0][1:3].lower() in ("br", "p>", "/p") else " ", shown)
    if shown != text:
        counts[HTML] += 1
        shown = shown.replace("\xa0", " ")
        check_text(where, shown)
    visible = _INVISIBLE.sub("", shown)
    counts[INVISIBLE] += visible != shown
    return visible


def _without_label(role: Role, text: str, own: str | None) -> str:
    """The text without its side's label, even a repeated one."""
    while True:
        match = _LABEL[role].match(text)
        if match is None and own is not None:
            match = named if (named := _ANY_LABEL.match(text)) and named[1].lower() == own else None
        if match is None:
            return text
        text = text[match.end() :]


def _own_label(role: Role, said: Sequence[Said]) -> str | None:
    """The name (in lower case) that labels the side's turns; None if there is none."""
    turns = [text for side, text in said if side is role]
    names = Counter(match[1].lower() for text in turns if (match := _ANY_LABEL.match(text)))
    name, often = names.most_common(1)[0] if names else ("", 0)
    return name if often >= LABELLED_TURNS and 2 * often > len(turns) else None
