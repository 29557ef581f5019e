"""The progress lines of long work when the output is a file."""

import asyncio
import io

import pytest
from rich.console import Console

from engage import progress
from engage.dialogue import Dialogue, Reaction, Role, Trajectory, Turn
from engage.engines import metered
from engage.engines.base import Message, Prompt, Sampling, Side
from engage.engines.metered import LastMinute, Meter, MeteredEngine, gpu_busy
from engage.engines.scripted import ScriptedEngine
from engage.simulation.figures import Figures


def shown(monkeypatch, every_s: float) -> str:
    monkeypatch.setattr(progress, "LINE_EVERY_S", every_s)
    out = io.StringIO()
    with progress.show(Console(file=out)):
        bar = progress.Bar("searching", 4)
        bar.advance()
        bar.advance(2)
        bar.finish()
    progress.Bar("after", 1).advance()
    return out.getvalue()


def test_a_file_gets_a_line_now_and_then_and_one_at_the_end(monkeypatch):
    lines = shown(monkeypatch, 0.0).splitlines()
    assert [line.partition(" in ")[0] for line in lines] == ["searching: 1/4", "searching: 3/4", "searching: 3/3"]
    assert lines[0].endswith("s left") and not lines[2].endswith("left")


def test_a_file_gets_lines_while_the_engine_answers_and_no_unit_is_done_yet(monkeypatch):
    monkeypatch.setattr(progress, "LINE_EVERY_S", 0.0)
    out, engine = io.StringIO(), MeteredEngine(ScriptedEngine())
    prompt = Prompt("s1/reply", Side.POLICY, (Message("user", "Hello."),))

    async def ask() -> None:
        await engine.complete(prompt, Sampling(), [0])
        await engine.score(prompt, ("1", "2"))

    with progress.show(Console(file=out)):
        bar = progress.Bar("searching", 4)
        engine.on_answer = bar.tell_if_due
        asyncio.run(ask())
        bar.finish()
        asyncio.run(ask())
    assert [line.partition(" in ")[0] for line in out.getvalue().splitlines()] == ["searching: 0/4"] * 2


def test_nothing_is_foretold_from_the_first_of_many(monkeypatch):
    monkeypatch.setattr(progress, "LINE_EVERY_S", 0.0)
    out = io.StringIO()
    with progress.show(Console(file=out)):
        bar = progress.Bar("searching", 1000)
        bar.advance()
        bar.advance(29)
    first, second = out.getvalue().splitlines()
    assert not first.endswith("left") and second.endswith("s left")


def test_short_work_is_one_line(monkeypatch):
    assert shown(monkeypatch, 1000.0).count("\n") == 1


def test_a_terminal_gets_a_bar():
    out = io.StringIO()
    with progress.show(Console(file=out, force_terminal=True, width=80)):
        bar = progress.Bar("searching", 2)
        bar.advance(2)
        bar.finish()
    assert "2/2" in out.getvalue() and "━" in out.getvalue()


def talk(reward, said):
    dialogue = Dialogue((Turn(Role.USER, "Hello."), Turn(Role.ASSISTANT, said), Turn(Role.USER, "x" * 200)))
    return Trajectory("s1", dialogue, Reaction("expected", "1", None), reward, 1, "max_exchanges")


def test_a_file_is_told_what_the_dialogues_came_to():
    out = io.StringIO()
    with progress.show(Console(file=out)):
        figures = Figures(note="pairs later")
        bar = progress.Bar("searching", 1, figures)
        figures.add([talk(0.25, "Hm."), talk(None, "Hm."), talk(0.75, "Hm.")])
        bar.advance()
        bar.finish()
    assert out.getvalue().endswith("; mean reward 0.500 over 3 dialogues\n")
    assert figures.text() == "mean reward 0.500 over 3 dialogues; pairs later"


def test_the_loading_of_the_model_does_not_count_in_the_rate_and_neither_does_what_is_over_a_minute_ago():
    now = [0.0]
    meter = Meter(clock=lambda: now[0])

    def request(begin, end, tokens):
        now[0] = begin
        with meter.request() as wrote:
            wrote(tokens)
            now[0] = end

    request(0, 100, 5)  # loads the model
    assert meter.last_minute() is None
    now[0] = 104
    assert meter.last_minute() is None and Figures(meter).text() == ""
    request(104, 108, 40)
    now[0] = 110  # ten seconds since the first answer: 40 tokens, and 4 seconds of work
    assert meter.last_minute() == LastMinute(4.0, 0.4)
    assert Figures(meter, "later").text() == "last minute 4 tokens/s, engine busy 40%; later"
    request(160, 200, 300)  # 140 to 200: nothing of the earlier ones, 40 seconds of work
    assert meter.last_minute() == LastMinute(5.0, 40 / 60)
    now[0] = 240  # 180 to 240: half of its tokens, 20 seconds of work
    assert meter.last_minute() == LastMinute(2.5, 20 / 60)


def test_a_terminal_says_that_the_first_answer_is_waited_for():
    out, meter = io.StringIO(), Meter()
    with meter.request(), progress.show(Console(file=out, force_terminal=True, width=80)):
        progress.Bar("searching", 2, Figures(meter))
    assert "waiting for the engine's first answer" in out.getvalue()


def test_the_panel_of_finished_work_becomes_a_line():
    out = io.StringIO()
    with progress.show(Console(file=out, force_terminal=True, width=80)):
        figures = Figures(note="pairs later")
        bar = progress.Bar("searching", 1, figures)
        figures.add([talk(0.5, "Hm.")])
        bar.advance()
        bar.finish()
        progress.Bar("training", 1).advance()
    shown = out.getvalue()
    assert shown.count("mean reward 0.500") == 1 and "searching: 1/1 in 0 s" in shown and "pairs later" not in shown


def test_units_that_come_all_together_make_no_rate_and_no_time_left(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    bar = progress.Bar("searching", 100)
    assert bar.rate() is None
    now[0] = 90.0  # the model is loaded; then twelve at once
    for _ in range(12):
        bar.advance()
    assert bar.rate() is None
    now[0] = 100.0
    bar.advance(9)
    assert bar.rate() == 2.0  # 20 units after the first one in the ten seconds since
    now[0] = 200.0
    assert bar.rate() is None
    now[0] = 210.0
    bar.finish()
    now[0] = 999.0
    assert bar.rate() == 0.1  # 21 in 210 seconds


def test_two_requests_at_once_are_one_stretch_of_work_that_is_still_going_on():
    now = [0.0]
    meter = Meter(clock=lambda: now[0])
    with meter.request():
        pass
    now[0] = 10
    with meter.request() as first, meter.request() as second:
        now[0] = 20
        first(60)
        second(40)
        assert meter.last_minute() == LastMinute(0.0, 0.5)  # busy from 10 to 20, and nothing is answered yet
    assert meter.last_minute() == LastMinute(5.0, 0.5)


def test_all_who_ask_one_engine_share_its_meter():
    engine = ScriptedEngine()
    one, other = MeteredEngine(engine), MeteredEngine(engine)
    assert one.meter is other.meter and MeteredEngine(ScriptedEngine()).meter is not one.meter


def test_the_busy_share_of_the_gpus_is_shown_where_there_are_some(monkeypatch, tmp_path):
    asked = tmp_path / "nvidia-smi"
    asked.write_text("#!/bin/sh\necho 20\necho 60\n")
    asked.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(metered, "GPU_EVERY_S", 1e-6)  # asks anew each time
    assert gpu_busy() == pytest.approx(0.4)  # (0.2 + 0.6)/2
    asked.write_text("#!/bin/sh\necho '[N/A]'\n")
    assert gpu_busy() is None
    asked.unlink()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpu_busy() is None


def test_a_line_has_the_rate_of_the_last_minute_and_the_last_one_that_of_all(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    out = io.StringIO()
    with progress.show(Console(file=out)):
        bar = progress.Bar("searching", 100)
        for second in (200, 210, 220, 230, 240, 250, 260):  # the first unit takes 200 seconds, the others ten each
            now[0] = float(second)
            bar.advance()
        bar.finish()
    lines = out.getvalue().splitlines()
    assert lines[0] == "searching: 1/100 in 200 s, 0.01/s"
    assert lines[2] == "searching: 7/100 in 260 s, 0.10/s, 930 s left"  # six units in the 60 seconds from 200 on
    assert lines[-1] == "searching: 7/7 in 260 s, 0.03/s"


def test_a_terminal_shows_the_last_exchange_below_the_bars_as_text():
    out = io.StringIO()
    with progress.show(Console(file=out, force_terminal=True, width=80)):
        figures = Figures()
        figures.add([talk(0.5, "Steers \x1b]0;x\x07 [bold]nothing[/bold].")])
        progress.Bar("searching", 2, figures).advance()
    last = out.getvalue().splitlines()
    assert "mean reward 0.500 over 1 dialogues" in out.getvalue()
    assert any(r"assistant: Steers \x1b]0;x\x07 [bold]nothing[/bold]." in line for line in last)
    assert "user: " + "x" * 73 + "…" in out.getvalue() and "Hello." not in out.getvalue()


def test_at_80_columns_a_long_name_is_cut_and_the_figures_are_whole():
    out = io.StringIO()
    with progress.show(Console(file=out, force_terminal=True, width=80)):
        progress.Bar("searching 1024 scenarios from support-0208 and others (simulations)", 24576).advance(24576)
    last = [line for line in out.getvalue().splitlines() if "searching" in line][-1]
    assert "…" in last and "24576/24576" in last and "0:00:00" in last
