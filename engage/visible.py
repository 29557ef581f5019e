"""Makes foreign text (file names, ids, what models, servers and people said) safe to show on a terminal or a page.

Characters that move the cursor, change colours, write to the clipboard or change the writing direction become escapes, such as `\\x1b`
or `\\u202e`. Tabs, line ends and emoji stay. It does not escape the markup of a page: templates do.
"""

import re

STEERING = re.compile(
    "(?P<flag>\U0001f3f4[\U000e0020-\U000e007f]+)"  # the flags of England, Scotland and Wales are spelt in tags
    "|[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"
)
"""Matches a character that steers, or (group `flag`) a flag that is spelt with such characters and stays."""


def visible(text: str) -> str:
    """The text with every steering character replaced by its escape."""
    return STEERING.sub(lambda match: match[0] if match["flag"] else _escape(match[0]), text)


def _escape(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
