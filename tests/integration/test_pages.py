"""The pages in a real browser (Debian's Chromium, through Playwright): every interaction, hostile dialogues, axe-core. Part of `make integration`."""

import math
from urllib.parse import urlencode

import duckdb
import pytest
from axe_playwright_python.sync_playwright import Axe
from large_trees import HOSTILE, large_tree
from playwright.sync_api import Page, expect
from small_nights import three_nights
from small_stores import filled, hand_tree, support_scenario

from engage.evaluation.night_page import night_page, scenario_page
from engage.store import PairConfig

BAKER, WIDE, HURT = (
    support_scenario("baker", difficulty="already_fine"),
    support_scenario("wide"),
    support_scenario("hurt", opening=HOSTILE[0]),
)
BAKERS_TREE = hand_tree(
    BAKER,
    {"Tell me more.": [[1.0], [1.0, 0.5]], "Cheer up.": [[0.0], [0.25], [None]], "I hear you.": [[0.75], [0.5]]},
    flaws={"Cheer up.": "too_long"},
)
TREES = [BAKERS_TREE, large_tree(WIDE, 5000), large_tree(HURT, 60, replies=3, turns=2, texts=HOSTILE)]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    found = filled(tmp_path_factory.mktemp("store"), [BAKER, WIDE, HURT], TREES)
    found.score_pairs("c1", PairConfig(min_q_gap=0.0, confidence=0.5, max_pairs_per_prefix=10))
    return found


@pytest.fixture(scope="module")
def pages(store, tmp_path_factory):
    """The scenarios' pages by name."""
    folder = tmp_path_factory.mktemp("pages")
    for name in ("baker", "wide", "hurt"):
        (folder / f"{name}.html").write_text(scenario_page(store, "c1", name), encoding="utf-8")
    return folder


@pytest.fixture
def opened(browser, pages):
    """Opens a page at a place; at the end nothing may have been written to the console, and nothing requested."""
    complaints, contexts = [], []

    def open_(name, width=1280, height=900, scheme="light", **place) -> Page:
        context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: request.url.startswith("file:") or complaints.append(request.url))
        page.goto(
            f"{(pages / f'{name}.html').as_uri()}#{urlencode(place)}" if place else (pages / f"{name}.html").as_uri()
        )
        return page

    open_.complaints = complaints
    yield open_
    for context in contexts:
        context.close()
    assert complaints == []


def two(value):
    """Two decimals, halves upwards, as the page writes them."""
    return f"{math.floor(value * 100 + 0.5) / 100:.2f}"


def chosen(page):
    return page.locator("[role=treeitem][aria-selected=true]")


def rows_in(page):
    return page.locator("[role=tree] *").count()


def test_every_number_of_a_node_is_that_of_its_query(opened, store):
    page = opened("baker")
    page.get_by_role("button", name="open all").click()
    for row in store.rows("page_nodes", {"scenarios": ["baker"]}):
        item = page.locator(f"[data-node='{row['node_id']}']")
        label = item.get_attribute("aria-label")
        assert f"{row['visits']} visit" in label
        if row["q_value"] is not None:
            assert f"Q {two(row['q_value'])} [{two(row['q_low'])}, {two(row['q_high'])}]" in label
        if row["prior"] is not None:
            assert f"prior {two(row['prior'])}" in label
        item.click()
        figures = page.locator("#tree .detail dl.figures").inner_text()
        if row["value"] is not None:
            assert f"{row['value']:.3f} ± {row['standard_error']:.3f}" in figures
        if row["parent_id"] is not None:
            share = round(100 * row["flawed_draws"] / row["draws"])
            assert f"{row['draws']} draw, {share} % flawed" in figures


def test_the_dialogue_of_a_node_goes_down_to_the_survey_in_words(opened):
    page = opened("baker", scenario="baker", node=3)
    chat = page.locator("#tree .chat")
    assert chat.locator(".turn .said").all_inner_texts() == ["My dog died.", "Tell me more.", "I miss him (3)."]
    assert "Answer “a number”: 1.00 (final intensity, 1 to 5)." in chat.inner_text()
    assert "reward 1.00; the end: the dialogue had its full length" in chat.inner_text()
    page.get_by_role("button", name="next", exact=True).click()
    expect(chat).to_contain_text("reward 0.50")


def test_an_answer_that_could_not_be_read_says_that_the_survey_was_asked(opened):
    page = opened("baker", scenario="baker", node=7)
    said = "The exit survey was asked, but the answer could not be read: 'no idea'."
    assert said in page.locator("#tree .chat").inner_text()


@pytest.mark.parametrize("name", ["baker", "hurt"])
def test_nothing_that_is_missing_is_shown_by_its_name_in_the_code(opened, store, name):
    page = opened(name)
    for row in store.rows("page_nodes", {"scenarios": [name]}):
        page.evaluate(f"location.hash = 'scenario={name}&node={row['node_id']}'")
        page.wait_for_function(f"document.querySelector('[aria-selected=true]').dataset.node === '{row['node_id']}'")
        shown = page.locator("#tree").inner_text().split()
        assert not {"null", "undefined", "NaN", "[object"} & set(shown)


def test_the_most_visited_path_and_a_higher_q_beside_it_are_marked(browser, pages, opened, tmp_path):
    store = filled(tmp_path, [BAKER], [hand_tree(BAKER, {"Tell me more.": [[0.5], [0.5]], "I hear you.": [[1.0]]})])
    (pages / "marks.html").write_text(scenario_page(store, "c1", "baker"), encoding="utf-8")
    page = opened("marks")
    labels = page.locator("[role=treeitem]").evaluate_all("all => all.map((one) => one.ariaLabel)")
    first = next(label for label in labels if "on the most visited path" in label)
    assert first.startswith("chance node: the user speaks next, supporter: Tell me more.")
    (higher,) = [label for label in labels if "higher Q than the most visited reply" in label]
    assert "I hear you." in higher and "Q 1.00" in higher


def test_a_user_condition_is_in_words(opened):
    page = opened("baker")
    expect(page.locator("#tree .detail")).to_contain_text("difficulty: already fine · emotion: sadness")


def test_siblings_show_p_and_the_pairs_made_there(opened, store):
    page = opened("baker", scenario="baker", node=1)
    detail = page.locator("#tree .detail")
    lines = detail.locator("tbody tr").all_inner_texts()
    assert [line.split("\t")[0] for line in lines] == ["Tell me more.", "I hear you.", "Cheer up."]
    pairs = {
        row["rejected_id"]: row for row in store.rows("page_pairs", {"scenarios": ["baker"]}) if row["chosen_id"] == 1
    }
    assert lines[0].endswith("best")
    assert lines[1].endswith(f"{pairs[8]['p_greater']:.2f}") and lines[2].endswith(f"{pairs[4]['p_greater']:.2f}")
    accepted = [row for row in store.rows("page_pairs", {"scenarios": ["baker"]}) if row["fate"] == "accepted"]
    assert detail.locator(".pairs-here li", has_text="accepted").count() == len(accepted) > 0
    detail.locator(".pairs-here a").first.click()
    expect(page.locator("#pairs .detail h3")).to_contain_text("accepted")


def test_arrows_open_close_and_move(opened):
    page = opened("baker", scenario="baker", node=0)
    expect(chosen(page)).to_be_focused()
    assert chosen(page).get_attribute("aria-expanded") == "true"
    page.keyboard.press("ArrowRight")
    assert chosen(page).get_attribute("data-node") == "1"
    if chosen(page).get_attribute("aria-expanded") == "true":
        page.keyboard.press("ArrowLeft")
    assert chosen(page).get_attribute("aria-expanded") == "false"
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert chosen(page).get_attribute("data-node") == "2"
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowDown")
    assert chosen(page).get_attribute("data-node") == "4"
    page.keyboard.press("End")
    assert chosen(page).get_attribute("data-node") == "8"
    page.keyboard.press("Home")
    assert chosen(page).get_attribute("data-node") == "0" and "node=0" in page.url
    assert page.locator("[role=treeitem][tabindex='0']").count() == 1
    expect(chosen(page)).to_be_focused()


def test_of_5000_nodes_only_what_is_in_view_is_in_the_document(opened):
    page = opened("wide", height=1600)
    page.get_by_role("button", name="open all").click()
    seen = page.locator("[role=treeitem]").count()
    assert seen > 20 and rows_in(page) <= 400
    page.keyboard.press("End")
    assert rows_in(page) <= 400
    expect(chosen(page)).to_be_in_viewport()
    assert chosen(page).evaluate("row => row.offsetTop / row.offsetHeight") == 4999  # the last of 5,000 rows
    page.keyboard.press("PageUp")
    page.locator("[role=tree]").evaluate("box => { box.scrollTop = 0 }")
    expect(page.locator('[data-node="0"]')).to_be_attached()
    assert rows_in(page) <= 400
    page.get_by_role("button", name="close all").click()
    assert page.locator("[role=treeitem]").count() == 6  # the opening and five replies


def test_a_link_leads_to_a_node_deep_in_the_tree(opened):
    page = opened("wide", scenario="wide", node=4321)
    expect(chosen(page)).to_be_in_viewport()
    assert chosen(page).get_attribute("data-node") == "4321" and rows_in(page) <= 400
    link = page.locator("#tree .permalink").get_attribute("href")
    assert link == "#scenario=wide&node=4321"


def test_a_link_to_what_the_page_lacks_says_so(opened):
    page = opened("baker", scenario="elsewhere", node=1)
    expect(page.get_by_role("alert")).to_contain_text("engage report --scenario elsewhere")


def test_pairs_are_sorted_filtered_and_walked_through_by_key(opened, store):
    page = opened("wide")
    gaps = sorted((row["q_gap"] for row in store.rows("page_pairs", {"scenarios": ["wide"]})), reverse=True)
    page.locator("select.order").select_option("gap")
    option = page.locator("[role=option]").first
    option.click()
    assert f"{gaps[0]:.3f}" in option.inner_text()
    page.keyboard.press("j")
    expect(page.locator("#pairs .detail h3")).to_contain_text(f"Pair 2 of {len(gaps)}")
    page.keyboard.press("k")
    expect(page.locator("#pairs .detail h3")).to_contain_text(f"Pair 1 of {len(gaps)}")
    accepted = sum(row["fate"] == "accepted" for row in store.rows("page_pairs", {"scenarios": ["wide"]}))
    page.locator("select.fate").select_option("accepted")
    expect(page.locator("#pairs .count")).to_have_text(f"{accepted} pair{'' if accepted == 1 else 's'}")
    page.locator("input.find").fill("no such words")
    expect(page.locator("#pairs .detail")).to_contain_text("No pair matches")


def test_a_pair_shows_both_replies_their_prefix_and_what_followed(opened, store):
    page = opened("baker", scenario="baker", chosen=1, rejected=4)
    detail = page.locator("#pairs .detail")
    expect(detail).to_contain_text("a 40-year-old baker · ")
    expect(detail).to_contain_text("initial intensity: 4")
    assert detail.locator(".chat .said").all_inner_texts() == ["My dog died."]
    (row,) = [
        one
        for one in store.rows("page_pairs", {"scenarios": ["baker"]})
        if (one["chosen_id"], one["rejected_id"]) == (1, 4)
    ]
    chance = math.floor(min(99.9, 100 * row["p_greater"]) * 10 + 0.5) / 10
    assert f"for these simulated users, is {chance:.1f} %." in detail.inner_text()
    sides = detail.locator(".side")
    assert sides.nth(0).locator(".turn.here .said").inner_text() == "Tell me more."
    assert sides.nth(1).locator(".turn.here .said").inner_text() == "Cheer up."
    assert sides.nth(0).locator(".futures > li").count() == 2 and sides.nth(1).locator(".futures > li").count() == 3
    assert "mean reward 0.75 over 2 simulations" in sides.nth(0).inner_text()
    sides.nth(1).locator("summary").last.click()
    expect(sides.nth(1)).to_contain_text("asked, but the answer could not be read: 'no idea'.")


def test_what_was_said_is_shown_as_text_and_does_nothing(opened, store):
    page = opened("hurt")
    page.get_by_role("button", name="open all").click()
    for node in range(60):
        page.evaluate(f"location.hash = 'scenario=hurt&node={node}'")
        page.wait_for_function(f"document.querySelector('[aria-selected=true]').dataset.node === '{node}'")
    shown = page.locator("#tree .detail").inner_text()
    assert "<script>window.hurt = 1</script>" in shown
    page.evaluate("location.hash = 'scenario=hurt&node=5'")
    expect(page.locator("#tree .turn.here .said")).to_contain_text(r"NUL \x00 and \u2028 a line separator")
    assert page.evaluate("window.hurt") is None
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_the_policy_refuses_any_other_script(opened):
    page = opened("baker")
    refused = page.evaluate(
        """() => new Promise((done) => {
            document.addEventListener("securitypolicyviolation", (event) => done(event.effectiveDirective));
            const script = document.createElement("script");
            script.textContent = "window.hurt = 1";
            document.body.append(script);
        })"""
    )
    assert refused == "script-src-elem" and page.evaluate("window.hurt") is None
    (complaint,) = opened.complaints
    assert "Content Security Policy" in complaint
    opened.complaints.clear()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_axe_finds_nothing_serious_and_nothing_is_wider_than_the_screen(opened, scheme, width):
    page = opened("baker", width=width, scheme=scheme, scenario="baker", node=1)
    page.locator("details").evaluate_all("all => all.forEach((one) => { one.open = true })")
    found = Axe().run(page).response["violations"]
    assert [(one["id"], one["nodes"][0]["html"]) for one in found if one["impact"] in {"serious", "critical"}] == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_on_paper_there_is_the_chosen_dialogue_without_the_tools(opened):
    page = opened("baker", scenario="baker", node=3)
    page.emulate_media(media="print")
    assert not page.locator(".tools").first.is_visible() and page.locator("#tree .chat").is_visible()


@pytest.fixture(scope="module")
def nights(tmp_path_factory, pages):
    """The page of the last of three nights, beside the scenarios' pages."""
    store, folder, adapter = three_nights(tmp_path_factory.mktemp("nights"), HOSTILE[0])
    (pages / "night.html").write_text(night_page(store, "n3", folder, adapter), encoding="utf-8")
    return store


@pytest.mark.usefixtures("nights")
def test_the_page_of_a_night_answers_in_order_and_leads_to_the_evidence(opened):
    page = opened("night")
    headings = page.locator("h1, h2").all_inner_texts()
    assert headings == [
        "Cycle n3", "What to look at first", "What happened", "The last nights", "Pairs, and why the others were dropped", "Held-out dialogues",
        "Reward by turn and by kind of user", "Training", "Signs of reward hacking", "Health of the simulator", "Evidence tree", "Pair browser",
    ]  # fmt: skip
    assert page.locator(".verdict").inner_text().startswith("Promoted: +0.167")
    page.get_by_role("link", name="The surest accepted pair").click()
    expect(page.locator("#pairs .detail h3")).to_contain_text("accepted")
    expect(page.locator("#pairs .detail h3")).to_be_in_viewport()
    page.get_by_role("link", name="The place where replies differ most").click()
    expect(chosen(page)).to_be_focused()
    expect(page.locator("#tree .detail")).to_contain_text("replies differ most here")


@pytest.mark.usefixtures("nights")
def test_links_to_the_evidence_work_in_a_frame_that_allows_scripts_alone(opened, pages):
    (pages / "frame.html").write_text(
        '<iframe sandbox="allow-scripts" src="night.html" width="1200" height="800"></iframe>'
    )
    frame = opened("frame").frame_locator("iframe")
    frame.locator("select.order").select_option("gap")
    frame.locator("[role=option]").nth(3).click()
    expect(frame.locator("#pairs .detail h3")).to_contain_text("Pair 4 of")
    frame.get_by_role("link", name="The surest accepted pair").click()
    expect(frame.locator("#pairs .detail h3")).to_contain_text("accepted")
    frame.locator("#pairs .side.chosen").get_by_role("link", name="show in the tree").first.click()
    expect(frame.locator("#tree .detail h3")).to_contain_text("turn, exchange 1")


def test_the_back_button_returns_to_the_node_before(opened):
    page = opened("baker", scenario="baker", node=1)
    page.locator("#tree tbody a").last.click()
    assert chosen(page).get_attribute("data-node") == "4"
    page.go_back()
    expect(page.locator("[data-node='1'][aria-selected=true]")).to_be_visible()


@pytest.mark.usefixtures("nights")
def test_a_held_out_dialogue_opens_where_a_link_leads(opened):
    page = opened("night")
    page.get_by_role("link", name="The worst held-out dialogue").click()
    dialogue = page.locator("details.held", has_text="worst").first
    expect(dialogue.locator(".side").first).to_be_visible()
    assert dialogue.locator(".side h3").all_text_contents() == ["incumbent", "candidate"]
    assert HOSTILE[0] in dialogue.locator(".side").last.inner_text() and page.evaluate("window.hurt") is None


def test_links_lead_to_dialogues_on_a_page_without_trees(opened, pages, tmp_path):
    store, folder, adapter = three_nights(tmp_path, HOSTILE[0])
    with duckdb.connect(str(store.path)) as connection:
        connection.execute("delete from tree")
    (pages / "treeless.html").write_text(night_page(store, "n3", folder, adapter), encoding="utf-8")
    page = opened("treeless")
    assert page.locator("[role=treeitem]").count() == 0
    page.get_by_role("link", name="The worst held-out dialogue").click()
    expect(page.locator("details.held", has_text="worst").first.locator(".side").first).to_be_visible()
    page.keyboard.press("j")
    page.goto((pages / "treeless.html").as_uri() + "#scenario=h0&chosen=1&rejected=2")
    expect(page.locator("#missing")).to_be_visible()


def test_a_sign_that_is_to_be_looked_at_is_open_at_once_and_again_when_it_was_closed(opened, pages, tmp_path):
    store, folder, adapter = three_nights(tmp_path, "You're amazing.")
    (pages / "flattery.html").write_text(night_page(store, "n3", folder, adapter), encoding="utf-8")
    page = opened("flattery")
    link = page.get_by_role("link", name="The candidate says more that counts as flattery")
    sign = page.locator(link.get_attribute("href"))
    for _ in range(2):
        link.click()
        expect(sign.locator("blockquote").first).to_be_in_viewport()
        sign.locator("summary").click()
        expect(sign.locator("blockquote").first).to_be_hidden()


@pytest.mark.usefixtures("nights")
def test_on_a_phone_a_link_to_a_pair_shows_the_pair(opened):
    page = opened("night", width=390, height=800)
    page.get_by_role("link", name="The surest accepted pair").click()
    expect(page.locator("#pairs .detail h3")).to_be_in_viewport()
    page.get_by_role("link", name="The place where replies differ most").click()
    expect(page.locator("#tree .detail h3")).to_be_in_viewport()


@pytest.mark.usefixtures("nights")
def test_on_a_phone_each_table_fits_or_scrolls_in_its_own_box(opened):
    page = opened("night", width=390)
    assert page.locator("table").count() == page.locator(".wide > table").count() == 4
    wide = page.locator(".wide").evaluate_all(
        "all => all.filter((one) => one.scrollWidth > one.clientWidth).map((one) => one.ariaLabel)"
    )
    assert wide == ["The last nights in numbers"]  # seven columns


@pytest.mark.usefixtures("nights")
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_axe_finds_nothing_serious_on_the_page_of_a_night(opened, scheme, width):
    page = opened("night", width=width, scheme=scheme)
    page.locator("details").evaluate_all("all => all.forEach((one) => { one.open = true })")
    found = Axe().run(page).response["violations"]
    assert [(one["id"], one["nodes"][0]["html"]) for one in found if one["impact"] in {"serious", "critical"}] == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_the_page_of_a_large_night_is_bounded_and_says_what_it_leaves_out(tmp_path, browser):
    scenarios = [support_scenario(f"large{number}") for number in range(5)]
    lines = [f"{'Word ' * 20}{number}." for number in range(7)]  # a hundred characters a turn
    store = filled(tmp_path, scenarios, [large_tree(one, 4000, texts=lines) for one in scenarios])
    path = tmp_path / "night.html"
    path.write_text(night_page(store, "c1", tmp_path, None), encoding="utf-8")
    assert 1_000_000 < path.stat().st_size < 3_000_000
    page = browser.new_page()
    page.goto(path.as_uri())
    shown = page.locator("select.scenario option").count()
    assert 1 <= shown < 5
    expect(page.locator("#tree .note").first).to_contain_text(f"This page shows {shown} of 5 trees, chosen at random")
    page.close()
