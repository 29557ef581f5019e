"""The one way to write numbers, intervals, tables and figures on pages."""

from engage.pages.figures import BASE, CANDIDATE, MUTED, as_text, empty_figure, new_figure
from engage.pages.html import html_page, json_block
from engage.pages.writing import (
    DASH,
    bounded,
    counted,
    difference,
    escaped,
    estimate,
    number,
    page,
    sentence,
    signed,
    spaced,
    table,
)

__all__ = [
    "BASE",
    "CANDIDATE",
    "DASH",
    "MUTED",
    "as_text",
    "bounded",
    "counted",
    "difference",
    "empty_figure",
    "escaped",
    "estimate",
    "html_page",
    "json_block",
    "new_figure",
    "number",
    "page",
    "sentence",
    "signed",
    "spaced",
    "table",
]
