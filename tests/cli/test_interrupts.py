"""Ctrl-C is repeated if a library swallows it; a second Ctrl-C ends the process at once. Each case runs in its own process."""

import signal
import subprocess
import sys
import time

import pytest

pytestmark = pytest.mark.slow
BEGIN = """
import os, signal, sys, time
from flows.cli.interrupts import go_on_with, listening

def ctrl_c(how=signal.SIGINT):
    os.kill(os.getpid(), how)

def work(seconds=60.0):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        time.sleep(0.01)

with listening() as interrupts:
    go_on_with("engage collect")
    try:
{body}
    except KeyboardInterrupt:
        interrupts.end()
        print(interrupts.sentence)
        sys.exit(interrupts.code)
    print("went on")
"""


def outcome(body: str) -> tuple[int, str, str]:
    code = BEGIN.format(body="\n".join(f"        {line}" for line in body.splitlines()))
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=50)
    return ended.returncode, ended.stdout, ended.stderr


SENTENCE = "interrupted; nothing stored is lost, go on with: engage collect\n"
SWALLOWED = {
    "under an except that takes everything": "try:\n    ctrl_c()\nexcept BaseException:\n    pass\nwork()",
    "in a finaliser": "class Odd:\n    def __del__(self):\n        ctrl_c()\nodd = Odd()\ndel odd\nwork()",
    "twice": "for _ in range(2):\n    try:\n        ctrl_c()\n        work()\n    except BaseException:\n        pass\nwork()",
}


@pytest.mark.parametrize("body", SWALLOWED.values(), ids=SWALLOWED)
def test_ctrl_c_that_is_swallowed_is_asked_again(body):
    if "range(2)" in body:
        body = body.replace("ctrl_c()\n        work()", "ctrl_c() if not interrupts.asked else work()")
    assert outcome(body) == (130, SENTENCE, "")


def test_sigterm_that_is_swallowed_within_a_flow_is_asked_again():
    body = """from prefect.utilities.engine import capture_sigterm  # what a flow runs in
from flows.cli.interrupts import through_flows
with through_flows(), capture_sigterm():
    try:
        ctrl_c(signal.SIGTERM)
    except BaseException:
        pass
    work()"""
    assert outcome(body) == (143, SENTENCE, "")


@pytest.mark.parametrize("imported", ["typer", "engage.errors", "flows.cli.showing"])
def test_ctrl_c_while_the_command_is_still_importing_is_one_word(imported):
    code = f"""
import os, signal, sys

class AtImport:
    def find_spec(self, name, *_):
        if name == "{imported}":
            os.kill(os.getpid(), signal.SIGINT)

signal.signal(signal.SIGINT, signal.default_int_handler)  # a parent may have it ignored
sys.meta_path.insert(0, AtImport())
from flows.cli import command
command()
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=50)
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "interrupted\n")


def test_the_end_that_it_asked_for_is_not_disturbed():
    body = "try:\n    ctrl_c()\nfinally:\n    work(2.5)\n    print('in order')"
    assert outcome(body) == (130, f"in order\n{SENTENCE}", "")


def test_what_is_awaited_is_cancelled_and_ends_in_order():
    body = """import asyncio
from engage import stopping
async def search():
    try:
        ctrl_c()
        await asyncio.sleep(60)
    finally:
        await asyncio.sleep(1.5)
        print('in order')
stopping.run(search())"""
    assert outcome(body) == (130, f"in order\n{SENTENCE}", "")


@pytest.mark.parametrize(("how", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_second_signal_ends_at_once_whatever_the_first_is_doing(how, code):
    body = f"try:\n    ctrl_c({int(how)})\nfinally:\n    print('ending', flush=True)\n    work()"
    program = BEGIN.format(body="\n".join(f"        {line}" for line in body.splitlines()))
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "ending\n"
    time.sleep(1.0)  # sooner they would be one: `timeout` sends two
    process.send_signal(how)
    out, err = process.communicate(timeout=50)
    assert (process.returncode, out, err) == (code, "", SENTENCE)


def test_a_second_signal_that_comes_together_with_a_reminder_is_not_lost():
    body = """import threading
try:
    ctrl_c()
finally:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    work(1.5)  # a reminder has come
    signal.pthread_kill(threading.get_ident(), signal.SIGINT)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    work(3.0)
    print('went on')"""
    assert outcome(body) == (130, "", SENTENCE)


@pytest.mark.parametrize("select", ["max(n) from t", "* from t"])
def test_ctrl_c_stops_a_query_without_end(tmp_path, select):
    body = f"""import threading
from pathlib import Path
from engage.store import TrajectoryStore
store = TrajectoryStore(Path({str(tmp_path)!r}) / "engage.duckdb")
store.begin_cycle("c1", {{}})
threading.Timer(1.0, ctrl_c).start()
store.select("with recursive t(n) as (select 1 union all select n + 1 from t) select {select}")"""
    assert outcome(body) == (130, SENTENCE, "")
