import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from engage.files.refusal import first_refusal


class Small(BaseModel):
    model_config = ConfigDict(extra="forbid")
    n: int = Field(le=5)
    inner: dict[str, int] = {}


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"n": 7}, "above.n: input should be less than or equal to 5 (got 7)"),
        ({}, "above.n: missing"),
        ({"n": 1, "m": 2}, "above.m: unknown field"),
        ({"n": 1, "inner": {"a\nb": "x"}}, r"above.inner.'a\nb': input should be a valid integer, unable to parse string as an integer (got 'x')"),
        ({"n": "9" * 200}, f"above.n: input should be less than or equal to 5 (got '{'9' * 59})"),
    ],
)  # fmt: skip
def test_what_is_refused_is_one_sentence(given, sentence):
    with pytest.raises(ValidationError) as refused:
        Small.model_validate(given)
    assert first_refusal(refused.value).sentence("above") == sentence
