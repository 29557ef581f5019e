"""Pages of HTML: one file that needs nothing beside it, asks nobody for anything, and shows what was said as text.

Templates, style and script are in `templates/`. The page's content security policy names the hashes of its one style and its one script,
so nothing that a model or a person wrote can run. Data for the script is JSON in a block of its own.
"""

import base64
import hashlib
import json
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any

from engage.pages.writing import DASH, bounded, number, signed, spaced
from engage.visible import visible

_STYLES = ("page.css",)
_EVIDENCE = ("list.js", "data.js", "dialogue.js", "tree.js", "pairs.js", "start.js")
_SCRIPTS = {"review.html.j2": ("list.js", "dialogue.js", "review.js")}
"""By template, in the order in which they are joined; _EVIDENCE for the others."""
_ASKS_ITS_SERVER = {"review.html.j2"}
"""Templates of pages that a server of ours shows, and that ask it and nobody else."""
_ESCAPES = {ord(character): f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"}


def html_page(template: str, **values: Any) -> str:
    """The page of one template. What was said, in `values` too, is escaped, and steering characters in it are made visible.

    An undefined name in a template is an error.
    """
    style, script = _joined(_STYLES), _joined(_SCRIPTS.get(template, _EVIDENCE))
    policy = _policy(style, script) + ("; connect-src 'self'" if template in _ASKS_ITS_SERVER else "")
    return (
        _environment()
        .get_template(template)
        .render(style=_trusted(style), script=_trusted(script), policy=policy, **values)
    )


def json_block(data: Any) -> str:
    """JSON for a `<script type="application/json">`: nothing in it can end the block or begin a comment.

    Numbers that are not finite become null; steering characters in texts are made visible.
    """
    return json.dumps(_plain(data), ensure_ascii=False, separators=(",", ":"), allow_nan=False).translate(_ESCAPES)


def _plain(data: Any) -> Any:
    if isinstance(data, str):
        return visible(data)
    if isinstance(data, float):
        return round(data, 6) if data - data == 0 else None
    if isinstance(data, Mapping):
        return {visible(str(key)): _plain(value) for key, value in data.items()}
    return [_plain(item) for item in data] if isinstance(data, list | tuple) else data


def _policy(style: str, script: str) -> str:
    return (
        f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; img-src data:; base-uri 'none'; "
        "form-action 'none'"
    )


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


@cache
def _joined(names: tuple[str, ...]) -> str:
    folder = resources.files("engage.pages") / "templates"
    return "\n".join((folder / name).read_text(encoding="utf-8") for name in names)


def _trusted(text: str) -> Any:
    from markupsafe import Markup

    return Markup(text)  # a file of this package


def _coded(text: str) -> Any:
    """Text with `commands` between backticks set as code."""
    from markupsafe import Markup, escape

    parts = [escape(visible(part)) for part in text.split("`")]
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if place % 2 else part for place, part in enumerate(parts)
    )


@cache
def _environment() -> Any:
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    made = Environment(
        loader=PackageLoader("engage.pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: dict[str, Any] = {
        "json_block": lambda data: Markup(json_block(data)),
        "coded": _coded,
        "number": number,
        "signed": signed,
        "spaced": spaced,
    }
    made.filters |= filters
    made.globals |= {"DASH": DASH, "bounded": bounded}
    made.finalize = lambda value: visible(value) if type(value) is str else value
    return made
