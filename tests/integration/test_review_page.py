"""The page of a review in a real browser: keys and buttons, hostile dialogues, values hidden until asked for, axe-core. Part of `make integration`."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from large_trees import HOSTILE
from playwright.sync_api import Page, expect
from small_nights import three_nights
from small_stores import filled, hand_tree, support_scenario

from engage.evaluation.review import Review, dialogue_items, draw, pair_items
from engage.evaluation.review.items import Item, Side
from engage.store import Outbox, PairConfig
from flows.cli.review_server import ReviewServer

NAMES = [f"s{number}" for number in range(5)]
SCENARIOS = [support_scenario(name, opening=f"My dog died ({name}).") for name in NAMES]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """One pair a scenario; what was said is hostile."""
    trees = [
        hand_tree(one, {f"{text} {one.scenario_id}": [[1.0], [0.75]], f"Cheer up. {text}": [[0.0], [0.25]]})
        for one, text in zip(SCENARIOS, (*HOSTILE, *HOSTILE), strict=False)
    ]
    found = filled(tmp_path_factory.mktemp("store"), SCENARIOS, trees)
    found.score_pairs("c1", PairConfig(min_q_gap=0.0, confidence=0.5))
    assert found.select("select count(*) from pair where accepted")[1] == [(5,)]
    return found


@pytest.fixture
def opened(browser, store, tmp_path):
    """Opens the page of a review; at the end nothing may have been written to the console, and nobody else asked."""
    complaints, closing = [], []
    outbox = Outbox(tmp_path / "outbox")

    def open_(items=None, size=5, width=1280, height=900, scheme="light") -> tuple[Page, Review]:
        review = Review(draw(items or pair_items(store, "c1"), size), "ann", outbox)
        server = ReviewServer(review, "c1")
        context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
        closing.extend((context, server))
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        origin = server.address.partition("?")[0]
        page.on("request", lambda request: request.url.startswith((origin, "data:")) or complaints.append(request.url))
        page.goto(server.address)
        expect(page.locator(".count")).to_have_text(f"0 of {size}")
        return page, review

    open_.complaints = complaints
    yield open_
    for one in closing:
        one.close()
    assert complaints == []


def test_each_key_judges_and_shows_the_next_item(opened):
    page, review = opened()
    verdicts = []
    for place, key in enumerate("abenh", 1):
        left = page.locator(".side .said").first.inner_text()
        page.keyboard.press(key)
        expect(page.locator(".count")).to_have_text(f"{place} of 5")
        verdicts.append(review.outbox.judgements())
        if place < 5:
            expect(page.locator(".side .said").first).not_to_have_text(left)
    assert [len(kept) for kept in verdicts] == [1, 2, 3, 4, 5]  # each on disk before the page went on
    kept = sorted(review.outbox.judgements(), key=lambda row: row["judged_at"])
    assert [row["verdict"] for row in kept] == ["left", "right", "equal", "nonsense", "harmful"]
    expect(page.get_by_role("heading", name="All judged. Thank you!")).to_be_visible()
    page.get_by_role("button", name="End the review").click()
    expect(page.get_by_role("heading", name="The review has ended.")).to_be_visible()


def test_buttons_do_the_same_and_undo_asks_again(opened):
    page, review = opened()
    expect(page.get_by_role("button", name="undo")).to_be_disabled()
    before = page.locator(".side").all_inner_texts()
    page.get_by_role("button", name="harmful").click()
    expect(page.locator(".count")).to_have_text("1 of 5")
    page.keyboard.press("u")
    expect(page.locator(".count")).to_have_text("0 of 5")
    assert page.locator(".side").all_inner_texts() == before
    page.get_by_role("button", name="A is better").click()
    expect(page.locator(".count")).to_have_text("1 of 5")
    kept = sorted(review.outbox.judgements(), key=lambda row: row["judged_at"])
    assert [row["verdict"] for row in kept] == ["harmful", "withdrawn", "left"]


def test_undo_says_what_it_took_back_until_the_next_judgement(opened):
    page, review = opened()
    taken = f"Taken back: “B is better” for the pair of scenario {review.item.scenario_id}, which is asked again."
    page.keyboard.press("b")
    expect(page.locator(".count")).to_have_text("1 of 5")
    page.keyboard.press("u")
    expect(page.get_by_role("status")).to_have_text(taken)
    page.keyboard.press("a")
    expect(page.get_by_role("status")).to_have_text("")


def test_the_context_opens_with_a_key_and_is_closed_for_the_next_item(opened):
    turns = [("user", "Hello."), ("assistant", "Go on."), ("user", "He was old.")]
    sides = (Side("1", "chosen", (("assistant", "Oh."),)), Side("2", "rejected", (("assistant", "Ah."),)))
    known = {"person": "a baker", "situation": "My dog died. It rained."}
    items = [Item("pair", name, "c1", name, name, "emotional_support", known, tuple(turns), sides, "") for name in "xy"]
    page, _ = opened(items, size=2)
    item = page.locator(".item")
    shown = item.inner_text()
    assert "My dog died. · 2 earlier turns" in shown and "He was old." in shown and "Oh." in shown
    assert not any(text in shown for text in ("Hello.", "It rained.", "a baker"))
    page.keyboard.press("c")
    expect(item).to_contain_text("a baker · My dog died. It rained.")
    assert item.locator(".context .turn .said").all_inner_texts() == ["Hello.", "Go on."]
    assert item.locator(".context .turn").first.is_visible()
    page.keyboard.press("e")
    expect(page.locator(".count")).to_have_text("1 of 2")
    assert not item.locator(".context .turn").first.is_visible()


def test_values_are_nowhere_before_they_are_asked_for(opened):
    page, _ = opened()
    asked = []
    page.on("response", lambda answer: answer.url.endswith("/review") and asked.append(answer.text()))
    page.reload()
    expect(page.locator(".count")).to_have_text("0 of 5")
    page.keyboard.press("a")
    expect(page.locator(".count")).to_have_text("1 of 5")
    everything = page.locator("body").inner_text() + "".join(asked)
    assert len(asked) == 2 and not any(
        word in everything for word in ("prefers", "rejected", "p_greater", "q_gap", "reward")
    )
    expect(page.get_by_role("heading", name="What you judged")).to_be_hidden()
    page.keyboard.press("v")
    expect(page.locator(".judged tbody tr")).to_have_count(1)
    expect(page.locator(".judged tbody")).to_contain_text("A is better")
    expect(page.locator(".judged tbody")).to_contain_text("the search prefers ")
    expect(page.get_by_role("button", name="undo")).to_be_disabled()


def test_what_was_said_is_shown_as_text_and_does_nothing(opened):
    page, _ = opened()
    shown = ""
    for place in range(1, 6):
        shown += page.locator(".item").inner_text()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        page.keyboard.press("e")
        expect(page.locator(".count")).to_have_text(f"{place} of 5")
    assert "<script>window.hurt = 1</script>" in shown
    assert page.evaluate("window.hurt") is None


def test_a_key_that_is_held_or_meant_for_the_browser_judges_nothing(opened):
    page, review = opened()
    page.keyboard.press("Control+a")
    page.keyboard.press("x")
    page.keyboard.down("a")
    page.keyboard.down("a")  # the keyboard repeats
    page.keyboard.up("a")
    expect(page.locator(".count")).to_have_text("1 of 5")
    assert review.done == 1


def test_a_server_that_has_ended_is_said_so_and_what_cannot_be_kept_too(opened):
    page, review = opened()
    folder = review.outbox.folder
    folder.write_text("in the way")
    page.keyboard.press("a")
    expect(page.get_by_role("alert")).to_contain_text("cannot be written")
    expect(page.locator(".count")).to_have_text("0 of 5")
    folder.unlink()
    page.keyboard.press("a")
    expect(page.get_by_role("alert")).to_be_hidden()
    assert len(review.outbox.judgements()) == 1
    assert (
        all("409" in text for text in opened.complaints) and opened.complaints
    )  # the browser's own line about the refusal
    opened.complaints.clear()


def test_dialogues_are_judged_side_by_side(opened, tmp_path):
    night = three_nights(tmp_path / "night")[0]
    label = next(row["policy"] for row in night.rows("page_dialogues", {"cycle": "n3"}) if row["policy"] != "base")
    page, _ = opened(dialogue_items(night, "n3", label), size=3)
    expect(page.get_by_role("heading", name="Which dialogue is better?")).to_be_visible()
    assert page.locator(".side").first.locator(".turn").count() == 2
    page.keyboard.press("b")
    expect(page.locator(".count")).to_have_text("1 of 3")
    page.keyboard.press("v")
    expect(page.locator(".judged tbody")).to_contain_text("is the candidate (reward")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_axe_finds_nothing_serious_and_the_buttons_are_in_reach(opened, scheme, width):
    page, _ = opened(width=width, height=800, scheme=scheme)
    page.keyboard.press("a")
    expect(page.locator(".count")).to_have_text("1 of 5")
    page.keyboard.press("v")
    expect(page.locator(".judged tbody tr")).to_have_count(1)
    found = Axe().run(page).response["violations"]
    assert [(one["id"], one["nodes"][0]["html"]) for one in found if one["impact"] in {"serious", "critical"}] == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.evaluate("scrollTo(0, 0)")
    expect(page.get_by_role("button", name="A is better")).to_be_in_viewport()
