"""Odd answers of servers are read as far as possible; error messages are read in any layout."""

import json
import math

import pytest

from engage.engines.openai.answers import Failed, Unreadable, read_answer
from engage.engines.openai.complaints import complaint_of
from engage.engines.openai.token_counts import shared


def answer(*choices, usage=None, **more):
    return json.dumps({"choices": list(choices), "usage": usage, **more})


def choice(content="Hi.", index=0, reason="stop", logprobs=None, **message):
    said = {"role": "assistant", "content": content, **message}
    return {"index": index, "finish_reason": reason, "message": said, "logprobs": logprobs}


def only(text):
    (reply,) = read_answer(text).replies
    return reply


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (" Hi. ", "Hi."),
        (None, ""),
        (2, "2"),
        (2.5, "2.5"),
        ([{"type": "text", "text": "Hi "}, {"type": "text", "text": "there."}], "Hi there."),
        ([{"type": "output_text", "text": {"value": "Hi."}}], "Hi."),
        (["Hi ", "there."], "Hi there."),
        ([{"type": "thinking", "thinking": "Hm."}, {"type": "text", "text": "Hi."}], "Hi."),
        ({"type": "text", "text": "Hi."}, "Hi."),
        ([], ""),
        ([{"type": "image_url", "image_url": {}}], ""),
        ("half \ud83d", "half ?"),
        ("<s> Hi.</s><pad><pad>", "Hi."),
        ("<|begin_of_text|>Hi.<|eot_id|>\n", "Hi."),
        ("Hi.<|im_end|>\n<|im_start|>user", "Hi.<|im_end|>\n<|im_start|>user"),  # the model went on: a flaw
    ],
)
def test_content_is_read_in_every_form(content, text):
    assert only(answer(choice(content))).text == text


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (choice(reason=None), "stop"),
        (choice(reason="length"), "length"),
        (choice(reason="MAX_TOKENS"), "length"),
        (choice("", reason="content_filter"), "content_filter"),
        (choice(None, refusal="I can't help with that."), "refusal"),
        (choice([{"type": "refusal", "refusal": "No."}]), "refusal"),
        (choice("Hi.", refusal=None, reasoning_content="Hm."), "stop"),
        (choice(None, reasoning_content="The user is", reason="length"), "thought"),
        (choice("", reasoning="The user is"), "thought"),
        (choice(""), "stop"),
    ],
)
def test_the_reason_why_a_reply_ends_or_is_empty(given, reason):
    assert only(answer(given)).reason == reason


@pytest.mark.parametrize(
    ("given", "usage", "reason"),
    [
        ([choice(reason=None)], {"completion_tokens": 16}, "length"),
        ([choice(reason=None)], {"completion_tokens": 15}, "stop"),
        ([choice(reason=None)], None, "stop"),  # nobody knows
        ([choice(reason="stop")], {"completion_tokens": 16}, "stop"),
        ([choice(reason=None)] * 2, {"completion_tokens": 16}, "stop"),  # of both replies together
        ([choice("", reason=None, reasoning="Hm")], {"completion_tokens": 16}, "thought"),
    ],
)
def test_a_reply_as_long_as_its_limit_that_ends_without_a_reason_was_cut_off(given, usage, reason):
    assert {reply.reason for reply in read_answer(answer(*given, usage=usage), limit=16).replies} == {reason}


def test_log_probabilities_too_tell_that_the_limit_cut_a_reply_off():
    text = answer(choice(reason=None, logprobs=logprobs(-0.1, -0.1)), choice(reason=None, logprobs=logprobs(-0.1)))
    assert [reply.reason for reply in read_answer(text, limit=2).replies] == ["length", "stop"]


def test_choices_are_taken_in_the_order_of_their_index():
    text = answer(choice("c", 2), choice("a", 0), choice("b", 1))
    assert [reply.text for reply in read_answer(text).replies] == ["a", "b", "c"]
    assert [reply.text for reply in read_answer(answer(choice("x", None), choice("y", None))).replies] == ["x", "y"]


def test_a_choice_without_a_message_is_skipped():
    text = answer(
        {"index": 0, "message": None}, None, choice("b", 1), {"index": 2, "finish_reason": "error", "message": {}}
    )
    assert only(text).text == "b"


@pytest.mark.parametrize(
    ("usage", "counts"),
    [
        ({"prompt_tokens": 20, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 16}}, (20, 16, 3)),
        ({"prompt_tokens": 20.0, "completion_tokens": "3"}, (20, 0, 3)),
        (None, (None, None, None)),
        ("none", (None, None, None)),
        ([], (None, None, None)),
        ({"prompt_tokens": 20, "total_tokens": 20}, (20, 0, None)),
        ({"prompt_tokens": None, "completion_tokens": None}, (None, None, None)),
        ({"prompt_tokens": 0, "completion_tokens": 0}, (None, None, None)),
        ({"prompt_tokens": -5, "completion_tokens": 10**12}, (None, None, None)),
        ({"prompt_tokens": True, "completion_tokens": float("inf")}, (None, None, None)),
        ({"prompt_tokens": 20, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 99}}, (20, 20, 3)),
    ],
)
def test_invalid_token_counts_are_unknown_and_never_zero(usage, counts):
    found = read_answer(answer(choice(), usage=usage))
    assert (found.prompt_tokens, found.cached_tokens, found.completion_tokens) == counts


def logprobs(*values, top=()):
    return {
        "content": [
            {"token": "x", "logprob": value, "top_logprobs": list(top) if i == 0 else []}
            for i, value in enumerate(values)
        ]
    }


@pytest.mark.parametrize(
    ("usage", "counted"),
    [
        ({"prompt_tokens": 50, "completion_tokens": 900, "total_tokens": 950}, 900),  # 898 of them are a thought
        ({"prompt_tokens": 50, "completion_tokens": 2, "total_tokens": 950}, 900),  # thoughts are in the total alone
        ({"prompt_tokens": 50, "total_tokens": 950}, 900),
        (
            {"prompt_tokens": 50, "completion_tokens": 1, "total_tokens": 51},
            2,
        ),  # fewer than there are log-probabilities
        ({"prompt_tokens": 50, "completion_tokens": 0, "total_tokens": 0}, 2),
        ({"total_tokens": 950}, 2),
        (None, 2),
    ],
)
def test_tokens_of_a_thought_are_counted_beside_those_of_the_reply(usage, counted):
    text = answer(choice("Hello there", logprobs=logprobs(-0.1, -0.2), reasoning_content="Hm."), usage=usage)
    assert read_answer(text).completion_tokens == counted


def test_tokens_that_only_the_total_holds_are_counted_without_log_probabilities():
    usage = {"prompt_tokens": 50, "completion_tokens": 2, "total_tokens": 950}
    assert read_answer(answer(choice(), usage=usage)).completion_tokens == 900
    assert read_answer(answer(choice(""), usage={"completion_tokens": 0})).completion_tokens == 0


@pytest.mark.parametrize(
    ("total", "lengths", "counts"),
    [
        (9, [1, 1, 1], [3, 3, 3]),
        (11, [2, 5], [4, 7]),
        (10, [2, 5], [4, 6]),  # 3 more: 2 and 1
        (7, [2, 5], [2, 5]),
        (5, [0, 0], [3, 2]),
        (0, [0], [0]),
    ],
)
def test_tokens_beyond_the_known_ones_are_shared_over_the_replies(total, lengths, counts):
    assert shared(total, lengths) == counts


@pytest.mark.parametrize(
    ("values", "mean"),
    [
        ((-0.5, -1.5), -1.0),
        ((-0.5, math.nan), None),
        ((-0.5, -math.inf), None),
        ((-0.5, -9999.0), None),
        ((-0.5, None), None),
        ((-0.5, "x"), None),
        ((-0.5, 3.0), None),
        ((0.001,), 0.0),
        ((10**400, -0.5), None),
        ((), None),
    ],
)
def test_a_mean_log_probability_is_finite_or_unknown(values, mean):
    assert only(answer(choice(logprobs=logprobs(*values)))).mean_logprob == mean


def test_listed_tokens_without_a_probability_are_ignored():
    top = [
        {"token": t, "logprob": p} for t, p in [("1", -0.5), ("2", math.nan), ("3", None), (4, -1.0), ("5", -math.inf)]
    ]
    assert only(answer(choice(logprobs=logprobs(-0.5, top=[*top, "7"])))).top == (("1", -0.5), ("5", -math.inf))
    as_table = {"content": [{"token": "1", "logprob": -0.5, "top_logprobs": {"1": -0.5, "2": -1.0}}]}
    assert only(answer(choice(logprobs=as_table))).top == (("1", -0.5), ("2", -1.0))
    for odd in (
        None,
        [],
        "x",
        {"content": None},
        {"content": "x"},
        {"content": [None]},
        {"tokens": ["1"], "token_logprobs": [-1.0]},
    ):
        assert only(answer(choice(logprobs=odd))).top == ()


@pytest.mark.parametrize(
    ("values", "impossible"),
    [
        ((0.0,) * 5, True),  # placeholders: each token with probability 1
        ((0.9, 0.08, 0.009, 0.004, 0.001), True),  # probabilities
        ((0.004, 0.003), True),
        ((2.3, 0.3), True),  # negative log-probabilities
        ((-0.5, -0.5, -1.5), True),  # 0.61 + 0.61 + 0.22
        ((0.0001, -9.0), False),
        ((-0.6931, -0.6931), False),  # rounded halves
        ((0.0, -9999.0, -math.inf), False),
    ],
)
def test_listed_probabilities_that_sum_to_more_than_one_are_none(values, impossible):
    top = [{"token": str(i), "logprob": value} for i, value in enumerate(values, 1)]
    reply = only(answer(choice(logprobs=logprobs(-0.5, top=top))))
    assert bool(reply.top) is not impossible
    assert reply.unscored == (
        "gives impossible log-probabilities (above 0, or of more than 1 in all)" if impossible else ""
    )


def test_a_stream_that_nobody_asked_for_is_put_together():
    events = [
        {"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}]},
        {"choices": [{"index": 1, "delta": {"content": "Yes"}}, {"index": 0, "delta": {"content": "Hi "}}]},
        {"choices": [{"index": 0, "delta": {"content": "there."}, "finish_reason": "length"}]},
        {"choices": [], "usage": {"prompt_tokens": 20, "completion_tokens": 4}},
    ]
    text = ": keep-alive\n\n" + "".join(f"data: {json.dumps(event)}\n\n" for event in events) + "data: [DONE]\n\n"
    found = read_answer(text)
    assert [(reply.text, reply.reason) for reply in found.replies] == [("Hi there.", "length"), ("Yes", "stop")]
    assert (found.prompt_tokens, found.completion_tokens) == (20, 4)


@pytest.mark.parametrize("mark", ["\u2028", "\u0085"])
def test_a_stream_is_cut_at_line_ends_only(mark):
    event = {"choices": [{"index": 0, "delta": {"content": f"Hi{mark}there."}}]}
    shown = json.dumps(event, ensure_ascii=False)
    assert only(f"data: {shown}\r\n\r\ndata: [DONE]\r\n\r\n").text == f"Hi{mark}there."


def test_a_stream_is_whole_with_its_mark_or_its_reasons_to_end():
    begun = {"choices": [{"index": 0, "delta": {"content": "Hi."}}]}
    ended = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    assert only(f"data: {json.dumps(begun)}\n\ndata: [DONE]\n\n").text == "Hi."
    assert only(f"data: {json.dumps(begun)}\n\ndata: {json.dumps(ended)}\n\n").text == "Hi."


@pytest.mark.parametrize("reason", ["abort", "cancelled", "insufficient_system_resource", "Interrupted", "timeout"])
def test_a_reply_that_was_broken_off_is_no_reply(reason):
    assert only(answer(choice("I am so", 0, reason=reason), choice("b", 1))).text == "b"
    with pytest.raises(Unreadable, match="without a reply"):
        read_answer(answer(choice("I am so", reason=reason)))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "answers with nothing"),
        ("  \n", "answers with nothing"),
        ("<html><head><title>502 Bad Gateway</title></head></html>", "a page: 502 Bad Gateway"),
        ('{"choices": [{"index"', "cannot be read"),
        ("[" * 5000, "cannot be read"),
        ("null", "answers with"),
        ("[]", "answers with a list"),
        ("3", "answers with a number"),
        ('"busy"', "answers with a text"),
        ("{}", "without a reply"),
        ('{"choices": {}}', "without a reply"),
        ('{"choices": "none"}', "without a reply"),
        ('{"choices": [null]}', "without a reply"),
        ("data: [DONE]\n\n", "without a reply"),
        ("data: {\n\n", "a stream that cannot be read"),
        ('data: {"choices": [{"index": 0, "delta": {"content": "I am so"}}]}\n\n', "a stream that breaks off"),
    ],
)
def test_a_response_that_is_no_answer_is_one_sentence(text, said):
    with pytest.raises(Unreadable, match=said):
        read_answer(text)


@pytest.mark.parametrize(
    "said",
    [
        {"object": "error", "message": "The model is loading", "code": 503},
        {"detail": "The model is loading"},
        {"errors": [{"message": "The model is loading"}]},
        {"success": False, "msg": "The model is loading", "choices": []},
    ],
)
def test_an_error_of_any_layout_with_status_200_is_in_the_servers_words(said):
    with pytest.raises(Failed, match=r"^The model is loading$"):
        read_answer(json.dumps(said))


def test_an_error_with_status_200_quotes_the_provider():
    body = {
        "choices": None,
        "error": {"message": "Provider returned error", "code": 429, "metadata": {"raw": "rate-limited upstream"}},
    }
    with pytest.raises(Failed) as raised:
        read_answer(json.dumps(body))
    assert (str(raised.value), raised.value.complaint.status) == (
        "Provider returned error (rate-limited upstream)",
        429,
    )
    late = {
        "index": 0,
        "finish_reason": "error",
        "error": {"message": "upstream went away", "code": 502},
        "message": {"content": "Hi"},
    }
    with pytest.raises(Failed, match="upstream went away"):
        read_answer(answer(late))


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"error": {"message": "no", "type": "x", "code": None}}, "no"),
        (
            {"error": "Input validation error: `n` must be 1", "error_type": "validation"},
            "Input validation error: `n` must be 1",
        ),
        ([{"error": {"code": 400, "message": "Unknown name"}}], "Unknown name"),
        (
            {"detail": [{"loc": ["body", "n"], "msg": "Extra inputs are not permitted"}]},
            "n: Extra inputs are not permitted",
        ),
        ({"detail": "Not Found"}, "Not Found"),
        ({"object": "error", "message": "top_p must be in (0, 1]"}, "top_p must be in (0, 1]"),
        ({"errors": [{"message": "quota"}]}, "quota"),
        ("<html><title>413 Too Large</title></html>", "a page: 413 Too Large"),
        ("plain words\non two lines", "plain words on two lines"),
        ({"error": {}}, '{"error": {}}'),
        ({"error": {"code": "9" * 5000}}, '{"code": "' + "9" * 290),
        ([], "[]"),
        (None, "null"),
    ],
)
def test_complaints_of_every_layout_are_in_the_servers_own_words(body, words):
    assert complaint_of(body if isinstance(body, str) else json.dumps(body)).words == words
