"""Ctrl-C and SIGTERM: the first signal ends the run in order, a second one ends it at once.

The first signal raises KeyboardInterrupt in the main thread, or cancels what `engage.stopping` awaits there. The exception can get
lost (while a library is imported, in a callback, under an `except` that catches everything), so it is raised again every second until
the run begins to end because of it. The exit code is 130 for Ctrl-C and 143 for SIGTERM, as in a shell.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

AGAIN_S = 1.0
PATIENCE = 5
"""Reminders before what is awaited is cancelled again."""
TOGETHER_S = 0.5
"""Signals within this time are one: `timeout` sends to the process and to its group."""

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_REMINDER = signal.SIGURG
"""Not one of the user's signals: two of a kind that come together are one, and the user's second one would be lost. Ignored by default."""


class Interrupts:
    """The signals received, and the message for the user, `sentence`."""

    def __init__(self) -> None:
        self.sentence = "interrupted"
        self.asked_at_s: float | None = None
        self.code = 128 + signal.SIGINT
        self._ended = threading.Event()
        self._reminders = 0

    @property
    def asked(self) -> bool:
        """Whether a signal has come."""
        return self.asked_at_s is not None

    def handle(self, number: int, _: Any) -> None:
        """The handler of the user's signals."""
        now_s = time.monotonic()
        if self.asked_at_s is None:
            self.asked_at_s, self.code = now_s, 128 + number
            threading.Thread(target=self._remind, args=(threading.get_ident(),), daemon=True).start()
            self._stop()
        elif now_s - self.asked_at_s > TOGETHER_S:
            os.write(2, f"{self.sentence}\n".encode())
            os._exit(self.code)

    def handle_reminder(self, *_: Any) -> None:
        """The handler of a reminder."""
        if not self._ended.is_set() and not _ending(sys.exc_info()[1]):
            self._stop()

    def _stop(self) -> None:
        """Cancel what is awaited, so that it ends in order. Cancelling is repeated less often, because ending in order takes time."""
        from engage import stopping

        if not stopping.awaits_here():
            raise KeyboardInterrupt
        if self._reminders % PATIENCE == 0:
            stopping.cancel_here()

    def end(self) -> None:
        """Stop the reminders."""
        self._ended.set()

    def _remind(self, thread: int) -> None:
        while not self._ended.wait(AGAIN_S):
            self._reminders += 1
            signal.pthread_kill(thread, _REMINDER)


_now = Interrupts()


@contextmanager
def listening() -> Iterator[Interrupts]:
    """Handle both signals in the body. Outside the main thread nothing is changed."""
    global _now
    _now = Interrupts()
    if threading.current_thread() is not threading.main_thread():
        yield _now
        return
    before = {number: signal.signal(number, _now.handle) for number in _SIGNALS}
    before[_REMINDER] = signal.signal(_REMINDER, _now.handle_reminder)
    hook, sys.unraisablehook = sys.unraisablehook, _silent_when_asked
    try:
        yield _now
    finally:
        _now.end()
        sys.unraisablehook = hook
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def through_flows() -> Iterator[None]:
    """Keep this SIGTERM handler during the body's flows: Prefect's flow engine installs its own, which raises only once."""
    import prefect.utilities.engine as engine

    theirs = vars(engine).get(
        "_prefect_sigterm_handler"
    )  # an older Prefect has no handler of this name, and raises once
    engine._prefect_sigterm_handler = _now.handle
    try:
        yield
    finally:
        engine._prefect_sigterm_handler = theirs


def go_on_with(command: str) -> None:
    """Set the command line that an interrupted user is asked to type."""
    say(f"interrupted; nothing stored is lost, go on with: {command}")


def say(text: str) -> None:
    """Set the message for an interrupted user."""
    _now.sentence = text


def sentence() -> str:
    """The message for an interrupted user."""
    return _now.sentence


def asked() -> bool:
    """Whether a signal has come since `listening` began; an error after it counts as its consequence."""
    return _now.asked


def leave_at_once(code: int) -> None:
    """From now on a signal ends the process with this code: the work is done, only the interpreter is still shutting down."""
    if threading.current_thread() is threading.main_thread():
        for number in _SIGNALS:
            signal.signal(number, lambda *_: os._exit(code))


def _ending(error: BaseException | None) -> bool:
    """Whether the main thread is already ending because of a signal, in an `except`, `finally` or `with` block."""
    while error is not None:
        if not isinstance(error, Exception):
            return True
        error = error.__cause__ or error.__context__
    return False


def _silent_when_asked(problem: Any) -> None:
    """Print no traceback for a KeyboardInterrupt that Python ignores in a callback; it is raised again anyway."""
    if not (_now.asked and isinstance(problem.exc_value, KeyboardInterrupt)):
        sys.__unraisablehook__(problem)
