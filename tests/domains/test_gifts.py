"""Sums in what persuadees say: which of them are gifts, in the reminder of the exit survey and in a free answer to it."""

import pytest

from engage.dialogue import Dialogue, Role, Turn
from engage.domains.persuasion import PERSUASION
from engage.survey import stated_value

NO_GIFTS = """I don't have a dollar to give.
Not even a dollar.
I can't spare the $2.
I'm without a cent to my name.
I'd keep my 2 dollars.
I could never give $1.
No way I'm giving 50 cents.
I would give $1 if I had it.
I wish I could give a dollar.
If I gave you $1, what would happen?
My friend gave $2.
I gave $1 last year.
I've already given $1 today.
How about $0?
You want me to give $1?
Why should I give you $2?
What would 50 cents do for a child?
Is $2 really going to help?
Where does the $2 go?
A dollar? No.
$2? You must be joking.
I can't afford $1.
I dont have a dollar.
You're not getting my $2.
You can't have my $2.
Not one cent.
No $2 for you.
I have no $2 to give.
I'm unable to give $1.
Nobody gives $2 for that.
I doubt a dollar would get there.
$2 is a lot for me.
$2 is all I have.
Even $1 is too much.
A dollar won't make a difference.
These two dollars are for my lunch.
That $2 is mine.
I can't, $2 is my bus fare.
I'm saving my $2.
I was paid $2 for this.
Stop asking for a dollar.
Only 10 cents of every dollar gets there.
I don't know if I can give $2.
Giving $2 is out of the question.""".splitlines()
GIFTS = {
    "I don't mind giving a dollar.": 1.0,
    "I can't give more than 50 cents.": 0.5,
    "I can't afford more than $1.": 1.0,
    "I can only afford $1.": 1.0,
    "No problem, $1.": 1.0,
    "not much, but 25 cents": 0.25,
    "I don't have much but here is $1.": 1.0,
    "I can't give all of it, maybe $1.": 1.0,
    "I don't have a lot, so 50 cents.": 0.5,
    "I cannot give $2 but $1 is fine.": 1.0,
    "My friend gave $2, I'll give $1.": 1.0,
    "I gave $5 last year, so $1 now.": 1.0,
    "Why not give $1?": 1.0,
    "Is 50 cents enough?": 0.5,
    "Sure, how about $1?": 1.0,
    "I'd give $1 if you want.": 1.0,
    "I'd give $1 if you tell me where it goes.": 1.0,
    "It won't hurt to give a dollar.": 1.0,
    "I don't need my $2.": 2.0,
    "I'll keep a dollar and give a dollar.": 1.0,
    "I need to keep some. 25 cents.": 0.25,
    "I'd give $1 to save a child.": 1.0,
    "A dollar is all I can give.": 1.0,
    "A dollar is my limit.": 1.0,
    "Okay, a dollar, no more.": 1.0,
    "$1 and 50 cents": 1.0,
    "Fine. Half of it.": 1.0,
}


def read(text: str) -> tuple[float | None, float | None]:
    """The sum in the reminder, and the one of a free answer."""
    survey = PERSUASION.survey
    return PERSUASION.stated_donation(Dialogue((Turn(Role.USER, text),))), stated_value(survey, text, survey.patterns)


@pytest.mark.parametrize("text", NO_GIFTS)
def test_a_sum_that_is_not_given_is_no_gift(text):
    assert set(read(text)) <= {None, 0.0}


@pytest.mark.parametrize(("text", "dollars"), GIFTS.items())
def test_a_gift_is_read_beside_a_negation(text, dollars):
    assert read(text) == (dollars, dollars)


def test_a_quarter_is_not_read_from_dollars():
    assert read("$2 is a lot for me.")[1] is None and read("2 is a lot for me.")[1] == 0.5
