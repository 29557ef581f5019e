"""Removes what a website or an export wrote around people's turns: HTML, labels such as `User:`, invisible characters, escapes such
as `\\u2019`, wrong decoding (`â€™`).

Each kind of removal is counted. A lone surrogate or a control character, which no person types, is a CorpusError.
"""

import html
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from engage.dialogue import Role
from engage.domains.rules.patterns import LOOK_ALIKES
from engage.errors import CorpusError
from engage.files.reading import unprintable

HTML, LABEL, INVISIBLE = "HTML removed", "the speakers' labels removed, such as `User:`", "invisible characters removed"
ESCAPES, DECODED = "escapes such as `\\n` or `\\u2019` replaced", "wrongly decoded characters put right, such as `â€™`"
NO_WORDS = "turns of an empty cell left out, such as `nan`"
LOST = "a character was lost or wrongly decoded, such as `â€™`; export the conversation as UTF-8"
MAX_TURN = 4_000
"""Characters of a turn; a dialogue with a longer one is left out."""
Said = tuple[Role, str]

_LABELS = {
    Role.USER: r"(?:user|human|seeker|help[- ]?seeker|persuadee|usr|client|customer|visitor|prompter)(?:[ #_-]?\d{1,3})?|speaker",
    Role.ASSISTANT: r"(?:assistant|supporter|helper|persuader|sys|ai|gpt|bot|chatbot|ai assistant|agent|counsell?or|therapist)"
    r"(?:[ #_-]?\d{1,3})?|listener",
}
_TIME = r"(?:\d{4}-\d\d-\d\d[T ,]+)?\d{1,2}:\d\d(?::\d\d)?(?: ?[ap]\.?m\.?)?"
_STAMP = re.compile(rf"^\s*(?:\[{_TIME}\]|\({_TIME}\))\s*", re.IGNORECASE)
_LABEL_ENDS = r"[\s*_\])>]*(?:[:：](?!//)|[\])>](?=\s)|\s[-–—>](?=\s))[\s*_]*"
_LABEL = {
    role: re.compile(rf"^(?:\s*{_TIME}\b)?[\s*_\[(<#>,|–—-]*(?:{names}){_LABEL_ENDS}", re.IGNORECASE)
    for role, names in _LABELS.items()
}
_SYSTEM = re.compile(r"^[\s*_\[(<#>-]*system[\s*_\])>]*[:：]", re.IGNORECASE)
_INSIDE = re.compile(rf"\n[\s*_\[(<#>-]*(?:{'|'.join(_LABELS.values())}|system)[\s*_\])>]*[:：](?!//)", re.IGNORECASE)
_ANY_LABEL = re.compile(r"^\s*([^\W\d_][\w .'-]{0,30}?)\s*[:：](?!//|[)(DPp/|*\]])\s*(?=\S)")
LABELLED_TURNS = 3
"""A name with a colon is a label if at least this many turns of a side, and more than half of them, begin with it."""

_ENTITY = re.compile(r"&(?:#\d{1,7};?|#[xX][0-9a-fA-F]{1,6};|(?:amp|lt|gt|quot|nbsp)\b;?|[A-Za-z][A-Za-z0-9]{1,30};)")
_TAG = re.compile(
    r"<!--.*?-->|<(script|style)\b[^<>]*>.*?</\1\s*>|</?(?:a|abbr|address|article|b|big|blockquote|body|br|center|cite|code|div|em|"
    r"figure|font|footer|form|h[1-6]|head|header|hr|html|i|iframe|img|input|ins|kbd|label|li|link|main|mark|meta|nav|ol|p|pre|q|s|"
    r"samp|script|section|small|span|strike|strong|style|sub|sup|table|tbody|td|tfoot|th|thead|title|tr|tt|u|ul|video|wbr)"
    r"(?:\s[^<>]*|\s*/)?>",
    re.IGNORECASE | re.DOTALL,
)
_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\u3164\ufeff\uffa0\ufff9-\ufffb]|"
    "(?<![\U0001f3f4\U000e0020-\U000e007f])[\U000e0000-\U000e007f]+"  # the flags of England, Scotland and Wales are spelt in tags
)
_ESCAPE = re.compile(r"""(?<![:\\])(?:\\(?:[nrt"'/]|u[0-9a-fA-F]{4}))+""")
_HIGH = (
    "[\x80-\xbf" + bytes(one for one in range(0x80, 0xA0) if one not in b"\x81\x8d\x8f\x90\x9d").decode("cp1252") + "]"
)
_MISREAD = re.compile(f"(?:[ÂÃ]{_HIGH}|â{_HIGH}{{2}}|ð{_HIGH}{{3}}|ï[»¿¼½]{_HIGH})+")
"""UTF-8 of accented letters, printed signs and emoji, read as Windows-1252."""
_EMPTY = re.compile(r"\s*(?:nan|null|<na>|\[(?:deleted|removed)\])\s*", re.IGNORECASE)
ESCAPED_AT_MOST = 4


def clean_turns(where: str, said: Iterable[Said]) -> tuple[list[Said], Counter[str], str | None]:
    """The cleaned turns, the number of changed turns by kind, and why the speakers cannot be told apart (None: they can).

    `where` (file and place) begins the message of a CorpusError.
    """
    counts: Counter[str] = Counter()
    given = list(said)
    if any(len(text) > MAX_TURN for _, text in given):
        return [], Counter(), f"a turn has more than {MAX_TURN} characters"
    cleaned = [
        (role, without_markup(f"{where}: turn {index}", text, counts)) for index, (role, text) in enumerate(given)
    ]
    if any("\ufffd" in text or _MISREAD.search(text) or "â€" in text for _, text in cleaned):
        return [], Counter(), LOST
    names = {role: _own_label(role, cleaned) for role in Role}
    turns: list[Said] = []
    for role, text in cleaned:
        rest = _without_label(role, text, names[role])
        read = rest.translate(LOOK_ALIKES)
        if _SYSTEM.match(read) or _LABEL[role.other].match(read):
            return [], Counter(), "a turn begins with another speaker's label"
        if _INSIDE.search(read):
            return [], Counter(), "a turn holds another speaker's words"
        counts[LABEL] += rest != text
        turns.append((role, rest))
    return turns, +counts, None


def unclean(opening: Sequence[Said], condition: Mapping[str, Any]) -> str | None:
    """What an export wrote around the words of a scenario, as a refusal: an import removes it, but a scenario is played as it stands."""
    cleaned, _, doubt = clean_turns("opening", opening)
    if doubt:
        return f"opening: {doubt}"
    said = [(f"opening[{index}].text", text, cleaned[index][1]) for index, (_, text) in enumerate(opening)]
    for name, value in condition.items():
        said.append((f"user_condition.{name}", str(value), without_markup(name, str(value), Counter())))
    for place, text, words in said:
        if words != text:
            return f"{place}: holds HTML, a label, an escape or an invisible character; write {words!r:.80}"
    return None


def check_text(where: str, text: str) -> None:
    """CorpusError for a lone surrogate or a control character, which would reach prompts and terminals."""
    if wrong := unprintable(text):
        raise CorpusError(f"{where}: {wrong}")


def without_markup(where: str, text: str, counts: Counter[str]) -> str:
    """The text without what is no speech, whatever its speaker; what was removed is added to `counts`. CorpusError as `check_text`."""
    decoded = _decoded(text)
    counts[DECODED] += decoded != text
    check_text(where, decoded)
    shown = _ESCAPE.sub(lambda match: _unescaped(match[0]), decoded)
    counts[ESCAPES] += shown != decoded
    shown = _without_html(where, shown, counts)
    visible = _INVISIBLE.sub("", shown)
    counts[INVISIBLE] += visible != shown
    if _EMPTY.fullmatch(visible):
        counts[NO_WORDS] += 1
        return ""
    return visible


def _decoded(text: str) -> str:
    """The text with what was read as Windows-1252, even repeatedly, read as UTF-8."""
    for _ in range(ESCAPED_AT_MOST):
        before, text = text, _MISREAD.sub(lambda match: _as_utf8(match[0]), text)
        if text == before:
            break
    return text


def _as_utf8(text: str) -> str:
    raw = b"".join(one.encode("latin-1" if ord(one) < 0x100 else "cp1252") for one in text)
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return text


def _unescaped(escape: str) -> str:
    """The characters that a JSON escape names; the escape itself for half a character or a control character."""
    characters = str(json.loads('"' + escape.replace("\\'", "'") + '"'))
    return escape if unprintable(characters) else characters


def _without_html(where: str, text: str, counts: Counter[str]) -> str:
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
    return shown


def _without_label(role: Role, text: str, own: str | None) -> str:
    """The text without its side's label, even a repeated one."""
    while True:
        read = text.translate(LOOK_ALIKES)
        match = _STAMP.match(text) or _LABEL[role].match(read)
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
