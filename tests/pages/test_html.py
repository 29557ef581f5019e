"""Pages of HTML: nothing that was said runs or ends a block, and the policy admits the page's own style and script alone."""

import base64
import hashlib
import json
import re

import jinja2
import pytest

from engage.pages import html_page, json_block

HOSTILE = "</script><script>alert(1)</script> <!-- & \u2028 \u2029 \x00 \x1b[31m \u202e"
EMPTY = {"title": "t", "cycle_id": "c1", "evidence": {}, "thresholds": "", "sample_note": ""}


def test_data_in_a_page_cannot_end_its_block():
    block = json_block({"said": HOSTILE})
    assert not set(block) & set("<>&\u2028\u2029\x00\x1b\u202e")
    assert json.loads(block) == {
        "said": "</script><script>alert(1)</script> <!-- & \\u2028 \\u2029 \\x00 \\x1b[31m \\u202e"
    }


def test_numbers_that_are_none_become_null():
    assert json_block([float("nan"), float("inf"), 0.1234567891, 2, True, None]) == "[null,null,0.123457,2,true,null]"


def test_what_was_said_is_text_in_a_template():
    page = html_page("scenario.html.j2", **{**EMPTY, "title": HOSTILE, "sample_note": HOSTILE})
    assert "<script>alert" not in page and "\x1b" not in page and "\u202e" not in page
    assert page.count("<title>&lt;/script&gt;&lt;script&gt;alert(1)") == 1


def test_the_policy_names_the_hashes_of_the_one_style_and_the_one_script():
    page = html_page("scenario.html.j2", **EMPTY)
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', page)[1].replace("&#39;", "'")
    for name, tag in (("style", "style"), ("script", "script")):
        (text,) = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        found = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{name}-src 'sha256-{found}'" in policy
    assert policy.startswith("default-src 'none';") and "unsafe" not in policy


def test_a_page_asks_nobody_for_anything():
    page = html_page("scenario.html.j2", **EMPTY)
    assert not re.search(r"(src|href)=[\"']?(https?:)?//|url\(|@import|style=|\son\w+=", page)


def test_a_template_that_names_what_is_not_there_is_an_error():
    with pytest.raises(jinja2.UndefinedError, match="sample_note"):
        html_page("scenario.html.j2", **{name: value for name, value in EMPTY.items() if name != "sample_note"})
