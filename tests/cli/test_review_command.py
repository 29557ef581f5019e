"""`engage review` as a user meets it: in the terminal, killed and gone on with, refused; and its server, asked by others than its page."""

import functools
import html
import http.client
import io
import json
import os
import re
import shlex
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest
from small_nights import three_nights
from small_stores import count, filled, hand_judgement, hand_tree, judge, support_scenario

from engage.evaluation.review import Review, draw, pair_items
from engage.evaluation.review.items import Item, Sample, Side
from engage.store import Outbox, PairConfig, TrajectoryStore
from flows.cli.review_server import ReviewServer
from flows.cli.reviewing import _print_context, _print_item
from flows.cli.showing import Terminal

NAMES = [f"s{number}" for number in range(4)]
SCENARIOS = [support_scenario(name, opening=f"My dog died ({name}).") for name in NAMES]
REPLIES = {"Tell me [bold]more[/bold]. \x1b[31m": [[1.0], [0.75]], "Cheer up.": [[0.0], [0.25]]}  # nodes 1 and 4


@functools.cache
def prepared():
    with tempfile.TemporaryDirectory() as folder:
        store = filled(Path(folder), SCENARIOS, [hand_tree(one, REPLIES) for one in SCENARIOS])
        store.score_pairs("c1", PairConfig(min_q_gap=0.0, confidence=0.5))
        return store.path.read_bytes()


def fill(home):
    home.mkdir(exist_ok=True)
    path = home / "engage.duckdb"
    path.write_bytes(prepared())
    return TrajectoryStore(path)


@pytest.fixture
def store(own_home):
    return fill(own_home)


@pytest.fixture
def typed(monkeypatch):
    """What the reviewer types, a line each; then the input ends."""

    def type_(*lines):
        waiting = iter(lines)

        def line():
            try:
                return next(waiting)
            except StopIteration:
                raise EOFError from None

        monkeypatch.setattr("builtins.input", line)

    return type_


@pytest.mark.slow
def test_pairs_are_judged_in_the_terminal_and_stored_at_the_end(engage, store, typed):
    typed("a", "?", "u", "b", "e", "n", "h")
    code, out, _ = engage("review", "--terminal", "--reviewer", "ann")
    assert code == 0 and "'?' is none of them" in out
    assert [f"{number} of 4" in out for number in range(1, 6)] == [True, True, True, True, False]
    assert "4 judged in this session, 4 of 4 of the sample; you preferred the chosen side in" in out
    assert re.search(r"Taken back: “A is better” for the pair of scenario s\d, which is asked again\.", out)
    verdicts = {row["verdict"] for row in store.rows("judged_pairs")}
    assert len(verdicts) == 4 and verdicts - {"chosen", "rejected"} == {"equal", "nonsense", "harmful"}
    assert count(store, "judgement") == 6  # one of them taken back, and the taking back


def test_values_are_not_told_before_they_are_asked_for(engage, store, typed):
    typed("a", "v", "u", "q")
    _, out, _ = engage("review", "--terminal")
    asked, told = out.split("you said A is better; ")
    assert not re.search(r"prefers|\bP \d|gap|reward", asked)
    assert re.match(r"the search prefers [AB]: P \d\.\d\d, gap 0", told) and "there is nothing to take back" in told


def test_the_terminal_shows_what_a_judgement_needs_and_the_rest_on_request(capsys):
    turns = (("user", "Hello."), ("assistant", "Go on."), ("user", "He was old."))
    sides = (Side("1", "chosen", (("assistant", "Oh."),)), Side("2", "rejected", (("assistant", "Ah."),)))
    known = {"person": "a baker", "situation": "My dog died. It rained.", "initial_intensity": 4}
    item = Item("pair", "one", "c1", "s1", "t1", "emotional_support", known, turns, sides, "")
    review, console = Review(Sample((item,), "random"), "ann", Outbox(Path("unused"))), Terminal(width=100)
    _print_item(console, review, item)
    shown = capsys.readouterr().out
    assert "My dog died. (2 earlier turns)" in shown and "He was old." in shown and "Oh." in shown and "Ah." in shown
    assert not any(text in shown for text in ("a baker", "It rained", "Hello.", "Go on.", "initial intensity"))
    _print_context(console, item)
    rest = capsys.readouterr().out
    assert all(text in rest for text in ("a baker", "It rained", "Hello.", "Go on.", "initial intensity: 4"))


def test_what_was_said_does_nothing_to_the_terminal(engage, store, typed):
    typed("q")
    _, out, _ = engage("review", "--terminal")
    assert "\x1b[31m" not in out and r"\x1b[31m" in out and "Tell me [bold]more[/bold]." in out


@pytest.mark.slow
def test_a_second_session_goes_on_and_a_finished_sample_says_so(engage, store, typed):
    typed("a", "b")
    assert "2 judged in this session, 2 of 4" in engage("review", "--terminal", "--reviewer", "ann", "--pairs", "4")[1]
    typed("a", "b", "a")
    assert "2 judged in this session, 4 of 4" in engage("review", "--terminal", "--reviewer", "ann")[1]
    assert engage("review", "--reviewer", "ann")[1] == "ann has judged all 4 items of this sample\n"
    typed("e", "e", "e", "e")
    assert "4 judged in this session, 4 of 4" in engage("review", "--terminal", "--reviewer", "bob")[1]
    assert {row["reviewer"] for row in store.rows("judged_pairs")} == {"ann", "bob"}


def test_a_sample_is_as_large_as_the_one_before(engage, store, typed):
    judge(store, hand_judgement("left", "ann", "s0", sample_size=3))
    typed("q")
    assert "0 of 3 of the sample" in engage("review", "--terminal", "--reviewer", "bob")[1]


def test_named_pairs_and_dialogues_are_a_list_of_their_own(engage, store, typed):
    typed("e", "e")
    code, out, _ = engage("review", "--terminal", "--ids", "s2:4:1", "--ids", "s1")
    assert code == 0 and "2 of 2 of the sample" in out
    assert {(row["scenario_id"], row["sample"], row["population"]) for row in store.rows("judged_pairs")} == {
        ("s1", "list", None),
        ("s2", "list", None),
    }


@pytest.mark.slow
def test_held_out_dialogues_are_judged(engage, own_home, typed):
    store, _, _ = three_nights(own_home)
    typed("a", "b")
    code, out, _ = engage("review", "--terminal", "--dialogues", "2")
    assert code == 0 and "2 of 2 of the sample" in out and " is the candidate (reward " in out
    assert {row["verdict"] for row in store.rows("judged_dialogues")} <= {"candidate", "incumbent"}


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--cycle", "nowhere"], "cycle 'nowhere' is not in the store"),
        (
            ["--dialogues", "2"],
            "cycle 'c1' has no held-out dialogues of an incumbent and a candidate; `engage evaluate`",
        ),
        (["--ids", "nobody"], "'nobody' is no pair and no held-out dialogue of this cycle; write a scenario"),
        (["--pairs", "2", "--ids", "s1"], "--pairs, --dialogues and --ids: give one of them"),
        (["--reviewer", " "], "--reviewer '': write a name of 1 to 80 characters"),
        (["--reviewer", "a\x1b[1m"], r"--reviewer 'a\x1b[1m': write a name"),
        (["--pairs", "0"], "Invalid value for '--pairs'"),
    ],
)
def test_a_mistake_is_one_sentence(engage, store, words, sentence):
    code, _, err = engage("review", "--terminal", *words)
    assert code == 2 and sentence in " ".join(err.replace("│", " ").split()) and "Traceback" not in err


def test_a_cycle_without_accepted_pairs_says_what_to_do(engage, own_home):
    filled(own_home, SCENARIOS, [hand_tree(SCENARIOS[0], REPLIES)])
    code, _, err = engage("review")
    assert code == 2 and "cycle 'c1' has no accepted pair to review; `engage align` extracts pairs" in " ".join(
        err.split()
    )


@pytest.mark.slow
def test_the_report_counts_judgements_that_wait_in_the_outbox(engage, store, own_home):
    Outbox(own_home / "outbox").put_judgement(hand_judgement("left", "ann", "s0"))
    assert engage("report")[0] == 0
    page = (own_home / "cycles" / "c1" / "report.html").read_text(encoding="utf-8")
    assert "People judged 1 pair of a random sample of 30 from 40" in page


def started(home):
    environment = {**os.environ, "ENGAGE_HOME": str(home), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-m", "flows.cli", "review", "--terminal", "--reviewer", "ann"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    return subprocess.Popen(command, env=environment, text=True, cwd=Path(__file__).parents[2], **pipes)


def type_and_wait(process, home, key, files):
    process.stdin.write(f"{key}\n")
    process.stdin.flush()
    until = time.monotonic() + 60
    while len(list((home / "outbox").glob("*.judgement.parquet"))) < files:
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.02)


@pytest.mark.slow
def test_a_killed_review_has_lost_nothing_and_an_interrupted_one_says_how_to_go_on(tmp_path):
    store = fill(tmp_path)
    killed = started(tmp_path)
    type_and_wait(killed, tmp_path, "a", 1)
    type_and_wait(killed, tmp_path, "n", 2)
    killed.kill()
    killed.communicate()
    again = started(tmp_path)
    type_and_wait(again, tmp_path, "e", 3)
    again.send_signal(signal.SIGINT)
    out, _ = again.communicate(timeout=60)
    assert "3 of 4: emotional support" in out  # the first that it showed
    assert again.returncode == 130
    again = f"ENGAGE_HOME={shlex.quote(str(tmp_path))} .venv/bin/engage review --cycle c1 --reviewer ann --terminal"
    assert f"interrupted; nothing stored is lost, go on with: {again}" in out
    store.drain(Outbox(tmp_path / "outbox"))
    assert [row["verdict"] for row in store.rows("review_judgements")] == ["left", "nonsense", "equal"]


@pytest.fixture
def server(tmp_path):
    store = fill(tmp_path)
    review = Review(draw(pair_items(store, "c1"), 4), "ann", Outbox(tmp_path / "outbox"))
    running = ReviewServer(review, "c1")
    yield running
    running.close()


def ask(server, method="POST", path="/review", body=b'{"do": "look"}', **headers):
    port = int(server.address.split(":")[2].partition("/")[0])
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    given = {"X-Engage-Token": server.token, **{name.replace("_", "-"): value for name, value in headers.items()}}
    connection.request(
        method, path, body if method == "POST" else None, {k: v for k, v in given.items() if v is not None}
    )
    answer = connection.getresponse()
    return answer.status, answer.read().decode(), answer.headers


def test_the_page_is_served_with_a_strict_policy(server):
    status, page, headers = ask(server, "GET", f"/?token={server.token}", X_Engage_Token=None)
    assert status == 200
    policy = html.unescape(re.search(r'Content-Security-Policy" content="([^"]+)"', page)[1])
    assert policy.startswith("default-src 'none'; script-src 'sha256-") and "unsafe" not in policy
    assert policy.endswith("connect-src 'self'")
    assert headers["Content-Security-Policy"] == "frame-ancestors 'none'" and headers["Cache-Control"] == "no-store"
    assert not any(
        text in page for text in ("Cheer up", "My dog died", server.token)
    )  # the page asks for what it shows


def test_the_page_of_a_night_may_ask_nobody(tmp_path):
    from engage.evaluation.night_page import scenario_page

    assert "connect-src" not in scenario_page(fill(tmp_path), "c1", "s1")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("asked", "status"),
    [
        ({"X_Engage_Token": "wrong"}, 403),
        ({"X_Engage_Token": None}, 403),
        ({"X_Engage_Token": "\xe9"}, 403),
        ({"method": "GET", "path": "/"}, 403),
        ({"method": "GET", "path": "/?token=wrong"}, 403),
        ({"Host": "evil.example"}, 403),  # a name that was made to lead here
        ({"Host": "evil.example:80"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),
        ({"method": "GET", "path": "/other"}, 404),
        ({"path": "/"}, 404),
        ({"method": "PUT"}, 501),
        ({"method": "OPTIONS"}, 501),
        ({"method": "DELETE"}, 501),
        ({"body": b"x" * 10_001}, 413),
        ({"body": b"nonsense"}, 400),
        ({"body": b"[]"}, 400),
        ({"body": b"[" * 9_000}, 400),
        ({"Content_Length": "1" * 5_000}, 413),
        ({"body": b'{"do": "judge", "key": "x"}'}, 409),
    ],
)
def test_others_than_the_page_are_refused_and_nothing_is_kept(server, asked, status):
    answer, text, headers = ask(server, **asked)
    assert answer == status and "Access-Control-Allow-Origin" not in headers
    assert "Cheer up" not in text
    assert server._review.done == 0


def test_this_machine_may_be_called_by_its_name(server):
    assert ask(server, Host="localhost:9999", Origin="http://localhost:9999")[0] == 200  # through a tunnel


def test_what_the_page_is_told_before_a_judgement_has_no_value_in_it(server):
    state = json.loads(ask(server)[1])
    assert (state["done"], state["total"], state["undo"], state["values"]) == (0, 4, False, None)
    assert set(state["item"]) == {"id", "title", "who", "condition", "gist", "earlier", "latest", "a", "b"}
    said = {state["item"][side][0][1] for side in "ab"}
    assert said == {r"Tell me [bold]more[/bold]. \x1b[31m", "Cheer up."}  # what steers is made visible
    body = json.dumps({"do": "judge", "item": state["item"]["id"], "key": "a"}).encode()
    after = json.loads(ask(server, body=body)[1])
    assert (after["done"], after["undo"], after["values"]) == (1, True, None)
    assert after["undone"] is None
    again = json.loads(ask(server, body=body)[1])  # pressed twice
    assert again["done"] == 1
    values = json.loads(ask(server, body=b'{"do": "values"}')[1])
    assert values["values"][0]["facts"].startswith("the search prefers ") and not values["undo"]


def test_the_page_is_told_what_was_taken_back(server):
    item = json.loads(ask(server)[1])["item"]["id"]
    ask(server, body=json.dumps({"do": "judge", "item": item, "key": "n"}).encode())
    state = json.loads(ask(server, body=b'{"do": "undo"}')[1])
    scenario = server._review.item.scenario_id
    assert state["undone"] == (
        f"Taken back: “even the better one is nonsense” for the pair of scenario {scenario}, which is asked again."
    )
    assert json.loads(ask(server, body=b'{"do": "look"}')[1])["undone"] is None


def test_bytes_that_are_no_text_are_none_of_the_answers(engage, store, monkeypatch):
    typed = io.TextIOWrapper(io.BytesIO(b"a\n\xff\nq\n"), encoding="utf-8")
    monkeypatch.setattr(sys, "stdin", typed)
    code, out, _ = engage("review", "--terminal", "--reviewer", "ann")
    assert code == 0 and r"'\\xff' is none of them" in out and "1 judged in this session" in out


def test_a_browser_that_goes_away_leaves_nothing_on_the_terminal(server, capfd):
    head, threads = f"Host: 127.0.0.1\r\nX-Engage-Token: {server.token}\r\n", threading.active_count()
    for asked in (f"POST /review HTTP/1.1\r\n{head}Content-Length: 5000\r\n\r\n", f"GET / HTTP/1.1\r\n{head}"):
        with socket.create_connection(("127.0.0.1", int(server.address.split(":")[2].partition("/")[0]))) as browser:
            browser.sendall(asked.encode())
            browser.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # closes with a reset
    assert ask(server)[0] == 200
    until = time.monotonic() + 60
    while threading.active_count() > threads and time.monotonic() < until:  # those of its requests
        time.sleep(0.02)
    assert capfd.readouterr().err == ""
