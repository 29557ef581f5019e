"""How the command starts and ends: signals, errors as one sentence, exit codes."""

import atexit
import contextlib
import errno
import os
import sys
from typing import NoReturn

import typer

from engage.errors import EngageError, Interrupted
from flows.cli.commands import app
from flows.cli.interrupts import asked, leave_at_once, listening
from flows.cli.options import errors
from flows.cli.showing import protect_streams, visible

INTERRUPTED = 130


def main() -> None:
    """Entry point. Prints one sentence and exits with 2 after a user's mistake, 1 after a failure, 130 after Ctrl-C, 143 after SIGTERM."""
    try:
        protect_streams()
        code = _run()
    except KeyboardInterrupt:  # before or after the signal handlers are in place
        errors.print("interrupted")
        code = INTERRUPTED
    sys.exit(code)


def command() -> None:
    """The script `engage`: run `main`, then exit without delay."""
    try:
        main()
    except SystemExit as stop:
        leave_at_once(stop.code if isinstance(stop.code, int) else 0)
        if isinstance(stop.code, int) and stop.code:
            _leave(stop.code)
        raise


def _leave(code: int) -> NoReturn:
    """Exit after a failure without finalising the interpreter: DuckDB would print a list of leaks below the error message."""
    atexit._run_exitfuncs()
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def _run() -> int:
    """Return the command's exit code; typer turns Ctrl-C into 130 and returns typer.Exit's code."""
    broken = next((argument for argument in sys.argv if not argument.isascii() and _is_broken(argument)), None)
    if broken is not None:
        errors.print(f"{broken!a}: not valid UTF-8", markup=False, highlight=False)
        return 2
    with listening() as interrupts:
        try:
            code = _answer()
        except BaseException:
            if not interrupts.asked:  # after a signal any error is its consequence
                raise
            code = INTERRUPTED
        interrupts.end()
        if code == INTERRUPTED or (code and interrupts.asked):
            errors.print(interrupts.sentence, markup=False, highlight=False, soft_wrap=True)
            return interrupts.code
        return code


def _answer() -> int:
    """Run the command and report an error in one sentence; Ctrl-C is not reported here."""
    try:
        code = app(prog_name="engage", standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except (KeyboardInterrupt, typer.Abort, Interrupted):
        return INTERRUPTED
    except (
        BrokenPipeError
    ):  # the reader of a pipe, such as `head`, has enough; typer exits with 1 where it meets this itself
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except SystemExit as stop:
        if isinstance(stop.__context__, BrokenPipeError):  # how typer itself ends where a pipe's reader has enough
            return 1
        errors.print(f"an imported module ended the program (sys.exit({stop.code!r})); the command did not finish")
        return 1
    except EngageError as error:
        if asked():
            return INTERRUPTED
        errors.print(str(error), markup=False, highlight=False, soft_wrap=True)
        return error.exit_code
    except OSError as error:
        if asked():
            return INTERRUPTED
        if error.filename is not None:
            text = f"{error.filename}: cannot be used: {error.strerror}; nothing stored is lost"
        elif error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO):
            text = f"the output cannot be written: {error.strerror}; write it elsewhere, or free some space"
        else:
            raise
        errors.print(text, markup=False, highlight=False, soft_wrap=True)
        return 1
    except Exception as error:
        show = getattr(error, "show", None)  # click's own usage errors know how to show themselves
        if show is None:
            raise
        if isinstance(said := getattr(error, "message", None), str):
            error.message = visible(said)  # type: ignore[attr-defined]
        show()
        return int(getattr(error, "exit_code", 2))


def _is_broken(argument: str) -> bool:
    """Whether the argument contains bytes that are not valid UTF-8; it could be neither printed nor stored."""
    try:
        argument.encode()
    except UnicodeEncodeError:
        return True
    return False
