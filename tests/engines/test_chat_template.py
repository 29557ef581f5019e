import pytest
from tiny_models import byte_tokenizer

from engage.errors import ModelError
from engage.models import render

SYSTEM = {"role": "system", "content": "Be kind."}
HELLO = {"role": "assistant", "content": "Hello."}
SAD = {"role": "user", "content": "I am sad."}

BODY = (
    "{% for m in messages %}[{{ m['role'] }}] {{ m['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}[assistant] {% endif %}"
)
NO_SYSTEM = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}" + BODY
DROPS_SYSTEM = BODY.replace("%}[{{", "%}{% if m['role'] != 'system' %}[{{", 1).replace(
    "\n{% endfor", "\n{% endif %}{% endfor", 1
)
USER_FIRST = (
    "{% set first = messages[1] if messages[0]['role'] == 'system' else messages[0] %}"
    "{% if first['role'] != 'user' %}{{ raise_exception('the user begins') }}{% endif %}" + BODY
)


def rendered(template: str, *chat: dict[str, str], prompt: bool = True) -> str:
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = template
    return render(tokenizer, chat, add_generation_prompt=prompt)


def test_a_template_that_takes_the_chat_gets_it_as_it_is() -> None:
    assert rendered(BODY, SYSTEM, HELLO, SAD) == "[system] Be kind.\n[assistant] Hello.\n[user] I am sad.\n[assistant] "
    assert rendered(BODY, SYSTEM, SAD, prompt=False) == "[system] Be kind.\n[user] I am sad.\n"


@pytest.mark.parametrize("template", [NO_SYSTEM, DROPS_SYSTEM], ids=["refuses", "leaves out"])
def test_without_a_system_role_its_text_opens_the_first_user_message(template: str) -> None:
    assert rendered(template, SYSTEM, SAD) == "[user] Be kind.\n\nI am sad.\n[assistant] "


def test_without_a_system_role_an_assistant_who_opens_is_preceded_by_a_stub() -> None:
    assert rendered(NO_SYSTEM, SYSTEM, HELLO, SAD) == (
        "[user] Be kind.\n\n(The conversation begins.)\n[assistant] Hello.\n[user] I am sad.\n[assistant] "
    )


def test_a_template_that_wants_the_user_first_keeps_the_order_of_turns() -> None:
    assert rendered(USER_FIRST, SYSTEM, SAD) == "[system] Be kind.\n[user] I am sad.\n[assistant] "
    assert rendered(USER_FIRST, SYSTEM, HELLO, SAD) == (
        "[user] Be kind.\n\n(The conversation begins.)\n[assistant] Hello.\n[user] I am sad.\n[assistant] "
    )
    assert rendered(USER_FIRST, HELLO, SAD) == (
        "[user] (The conversation begins.)\n[assistant] Hello.\n[user] I am sad.\n[assistant] "
    )


def test_a_template_that_drops_what_the_assistant_says_first_gets_a_stub_before_it() -> None:
    dropping = BODY.replace("in messages", "in messages if m['role'] != 'assistant' or messages[0]['role'] == 'user'")
    assert rendered(dropping, SYSTEM, HELLO, SAD) == (
        "[user] Be kind.\n\n(The conversation begins.)\n[assistant] Hello.\n[user] I am sad.\n[assistant] "
    )


@pytest.mark.parametrize("change", ["[:6]", " | e", " | tojson"])
def test_what_a_template_cuts_off_or_rewrites_is_not_lost_in_silence(change: str) -> None:
    long = {"role": "user", "content": 'It\'s "so" sad.'}
    with pytest.raises(ModelError, match="leaves out or rewrites what was said"):
        rendered(BODY.replace("m['content']", f"m['content']{change}"), SYSTEM, HELLO, long)


def test_white_space_may_be_written_otherwise() -> None:
    said = {"role": "user", "content": " I am\n\nsad. "}
    template = BODY.replace("m['content']", "m['content'].split() | join(' ')")
    assert rendered(template, SYSTEM, said) == "[system] Be kind.\n[user] I am sad.\n[assistant] "


def test_what_is_sampled_from_is_a_prefix_of_what_is_trained_on() -> None:
    reply = {"role": "assistant", "content": "That hurts."}
    for template in (BODY, NO_SYSTEM, DROPS_SYSTEM, USER_FIRST):
        sampled = rendered(template, SYSTEM, HELLO, SAD)
        assert rendered(template, SYSTEM, HELLO, SAD, reply, prompt=False).startswith(sampled + "That hurts.")
