"""The progress lines of long work when the output is a file."""

import io

from rich.console import Console

from engage import progress
from engage.dialogue import Dialogue, Reaction, Role, Trajectory, Turn
from engage.engines.recording import CallRecord
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
        figures = Figures()
        bar = progress.Bar("searching", 1, figures)
        figures.add(
            [talk(0.25, "Hm."), talk(None, "Hm."), talk(0.75, "Hm.")],
            [CallRecord("k", "policy", "complete", 1, 9, 0, 60, 1.0)],
        )
        bar.advance()
        bar.finish()
    assert "; mean reward 0.500 over 3 dialogues, " in out.getvalue() and " tokens/s" in out.getvalue()


def test_a_terminal_shows_the_last_exchange_below_the_bars_as_text():
    out = io.StringIO()
    with progress.show(Console(file=out, force_terminal=True, width=80)):
        figures = Figures()
        figures.add([talk(0.5, "Steers \x1b]0;x\x07 [bold]nothing[/bold].")], [])
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
