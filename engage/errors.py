"""Every error a user of engage can meet.

EngageError
├── InputError            wrong use or input: exit code 2, nothing was done
│   ├── ConfigError       profile, override or parameter
│   ├── ScenarioError     a scenario file or line
│   ├── CorpusError       a corpus of human dialogues
│   ├── QueryError        an SQL statement
│   └── ModelError        weights that are missing, damaged or bound to another base
├── EngineError           a model call that failed for good; carries the request's key
├── StoreError            the database, the outbox or MLflow
│   └── StoreLocked       the database was in use, or MLflow's server away, for longer than it was waited for
├── NothingSearched       a collect of which every scenario failed, an evaluation or experiment that measured nothing
├── TooManyFlawed         too large a share of the dialogues went wrong, or they came too slowly
└── Interrupted           Ctrl-C (exit code 130) or SIGTERM (143)
"""


class EngageError(Exception):
    """Base of all; its text is one sentence for the user: what, where, what to do."""

    exit_code = 1


class InputError(EngageError):
    """The user's input or use is wrong."""

    exit_code = 2


class ConfigError(InputError):
    """A profile, an override or a parameter cannot be used."""


class ScenarioError(InputError):
    """A scenario file or one of its lines cannot be used."""


class CorpusError(InputError):
    """A corpus of human dialogues cannot be read."""


class QueryError(InputError):
    """An SQL statement is not a read-only query, or fails."""


class ModelError(InputError):
    """Model weights are missing, damaged, or do not fit what they are used with."""


class EngineError(EngageError):
    """A model call failed for good.

    `request_key` names the request (scenario, node path, sample index), so that the caller can discard what depended on it.
    """

    def __init__(self, message: str, request_key: str) -> None:
        super().__init__(f"{message} (request {request_key})")
        self.request_key = request_key


class StoreError(EngageError):
    """The database file, the outbox or MLflow cannot be used."""


class StoreLocked(StoreError):
    """The database was in use by another program, or MLflow's server was away, for longer than it was waited for."""


class NothingSearched(EngageError):
    """Every scenario of a collect failed, or an evaluation or experiment got no result; the text has the first reason."""


class TooManyFlawed(EngageError):
    """Too many dialogues went wrong (no usable turn, an unreadable exit survey, a crisis), or they came too slowly."""


class Interrupted(EngageError):
    """The user stopped a run; the text names the command that resumes it."""

    exit_code = 130


_FULL = ("No space left on device", "Disk quota exceeded")


def engage_error(error: BaseException | None) -> EngageError | None:
    """The EngageError that an exception is, contains or was raised from; None if there is none. A full disk, whoever met it, is a StoreError."""
    while error is not None:
        if isinstance(error, EngageError):
            return error
        if isinstance(error, BaseExceptionGroup):
            return next((found for found in map(engage_error, error.exceptions) if found), None)
        if any(sign in str(error) for sign in _FULL):
            place = f"{getattr(error, 'filename', None) or 'a file'} cannot be written"
            return StoreError(
                f"{place}: the disk is full; free some space and run the same command again: nothing stored is lost"
            )
        error = error.__cause__ or error.__context__
    return None


def in_one_line(error: object, longest: int = 300) -> str:
    """An error's message (or a text) on one line, cut to `longest` characters."""
    return " ".join(str(error).split())[:longest]
