"""A domain by name. A module of the user's is code: it is imported only if the user allowed it, never because a data file names it.

A module that this process has imported already runs nothing more and may be named.
"""

import contextlib
import functools
import importlib
import inspect
import io
import os
import re
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from inspect import get_annotations
from types import ModuleType
from typing import Any

from engage.dialogue import Role
from engage.domains.base import Domain, UserCondition, is_reward
from engage.errors import ConfigError, EngageError, in_one_line
from engage.stats import is_finite, shown
from engage.survey import Survey

SHIPPED = {
    "emotional_support": "engage.domains.emotional_support:EMOTIONAL_SUPPORT",
    "persuasion": "engage.domains.persuasion:PERSUASION",
}
LONGEST_NAME = 200
"""Characters of a domain's name; Python's modules have shorter ones."""
IMPORT_LIMIT_S = 120.0
"""How long a module may take to be imported; some import torch."""
_TEXTS = ("policy_prompt", "simulator_prompt", "exit_question")
"""Methods whose result is spoken."""

_allowed: set[str] = set()


def allow_modules(modules: Iterable[str]) -> None:
    """From now on this process imports these modules where a domain is named `module:OBJECT`."""
    _allowed.update(modules)


def load_domain(name: str) -> Domain:
    """The shipped domain of that name, or a user's own by `package.module:OBJECT`; ConfigError says what is wrong.

    What a user's domain raises later, `sys.exit` included, is a ConfigError as well.
    """
    module_name, _, attribute = SHIPPED.get(name, name).partition(":")
    if len(name) > LONGEST_NAME or not (
        attribute.isidentifier() and all(part.isidentifier() for part in module_name.split("."))
    ):
        raise ConfigError(f"domain {name!r:.80} is not known; use {', '.join(SHIPPED)} or package.module:OBJECT")
    module = sys.modules.get(module_name)
    if module is None:
        if name not in SHIPPED and module_name not in _allowed:
            raise ConfigError(
                f"domain {name!r} would run the code of the Python module {module_name!r}, which a data file may not do by itself; "
                f'if you trust it, add --domain-module {module_name} (in a profile scenarios.domain_modules = ["{module_name}"])'
            )
        module = _import(name, module_name)
    found = getattr(module, attribute, None)
    if found is None:
        raise ConfigError(f"domain {name!r} cannot be loaded: {module_name} has no {attribute}")
    if not isinstance(found, Domain):
        raise ConfigError(f"domain {name!r} is a {type(found).__name__}, not an engage.domains.Domain instance")
    if name not in SHIPPED:
        check_complete(name, found)
        _guard(name, type(found))
    return found


def _import(name: str, module_name: str) -> ModuleType:
    """Import in a thread of its own, so that a module which never ends can be given up; what it prints goes to standard error.

    The module may lie in the current folder, which is searched last and only from now on.
    """
    came: dict[str, Any] = {}
    with contextlib.suppress(OSError):
        if (here := os.getcwd()) not in sys.path:
            sys.path.append(here)

    def run() -> None:
        try:
            came["module"] = importlib.import_module(module_name)
        except BaseException as error:  # a user's module can fail in any way while it is imported
            came["error"] = error

    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        thread.join(IMPORT_LIMIT_S)
    sys.stderr.write(printed.getvalue())
    error = came.get("error")
    if isinstance(error, ModuleNotFoundError):
        raise ConfigError(
            f"domain {name!r} cannot be loaded: {error}; put the module's folder on PYTHONPATH"
        ) from error
    if isinstance(error, SystemExit):
        raise ConfigError(
            f"domain {name!r} cannot be loaded: {module_name} calls sys.exit while it is imported"
        ) from error
    if error is not None:
        raise ConfigError(f"domain {name!r} cannot be loaded: {type(error).__name__}: {in_one_line(error)}") from error
    if "module" not in came:
        raise ConfigError(
            f"domain {name!r} cannot be loaded: importing {module_name} did not end in {IMPORT_LIMIT_S:g} s"
        )
    return came["module"]


def _guard(name: str, kind: type[Domain]) -> None:
    """Let the methods of a user's class fail in one sentence."""
    for one in kind.__mro__:
        if not issubclass(one, Domain) or one.__module__.startswith("engage."):
            continue
        for attribute, value in list(vars(one).items()):
            if inspect.isfunction(value) and not attribute.startswith("_") and not hasattr(value, "__wrapped__"):
                setattr(one, attribute, _told(name, attribute, value))


def _told(name: str, attribute: str, method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def told(*args: Any, **kwargs: Any) -> Any:
        try:
            result = method(*args, **kwargs)
        except EngageError:
            raise
        except SystemExit as error:
            raise ConfigError(f"domain {name!r}: {attribute} calls sys.exit") from error
        except Exception as error:
            where = ""
            if (trace := error.__traceback__) is not None and trace.tb_next is not None:
                where = f" (line {trace.tb_next.tb_lineno})"
            raise ConfigError(
                f"domain {name!r}: {attribute} fails{where}: {type(error).__name__}: {in_one_line(error)}"
            ) from error
        if attribute in _TEXTS and not isinstance(result, str):
            raise ConfigError(f"domain {name!r}: {attribute} returns {result!r:.60}, not a text")
        return result

    return told


def check_complete(name: str, domain: Domain) -> None:
    """ConfigError for what would fail only in the middle of a search."""
    missing = [wanted for wanted in get_annotations(Domain) if not hasattr(domain, wanted)]
    if missing:
        raise ConfigError(f"domain {name!r}: {', '.join(missing)} is not set; see engage.domains.Domain")
    if wrong := _wrong_kind(domain) or _wrong_rule(domain):
        raise ConfigError(f"domain {name!r}: {wrong}")
    if domain.language != "en" and not domain.crisis:
        raise ConfigError(
            f"domain {name!r}: language is {domain.language!r}, but crisis is empty; write how users there speak of self-harm"
        )
    for choice, value in domain.survey.choices.items():
        if not is_finite(value):
            raise ConfigError(
                f"domain {name!r}: the survey's choice {choice!r} has the value {value!r:.40}, not a number"
            )
        try:
            reward = domain.reward(value)
        except ConfigError:
            raise
        except (Exception, SystemExit) as error:
            what = "calls sys.exit" if isinstance(error, SystemExit) else f"fails: {error}"
            raise ConfigError(f"domain {name!r}: the reward of {value:g} {what}") from error
        if not is_reward(reward):
            raise ConfigError(f"domain {name!r}: the reward of {value:g} is {shown(reward)}, not in 0..1")


def _wrong_kind(domain: Domain) -> str | None:
    """The first attribute that is not what every search expects of it."""
    for attribute in ("name", "user_name", "assistant_name"):
        text = getattr(domain, attribute)
        if not isinstance(text, str) or not text.strip() or not text.isprintable():
            return f"{attribute} is {text!r:.60}, not a line of text"
    if not isinstance(domain.opens, Role):
        return f"opens is {domain.opens!r:.60}; write Role.USER or Role.ASSISTANT"
    if not isinstance(domain.survey, Survey):
        return f"survey is {domain.survey!r:.60}, not an engage.domains.Survey"
    if not (isinstance(domain.condition_type, type) and issubclass(domain.condition_type, UserCondition)):
        return f"condition_type is {domain.condition_type!r:.60}, not a subclass of engage.domains.UserCondition"
    return None if isinstance(domain.lexicon, Mapping) else f"lexicon is {domain.lexicon!r:.60}, not a mapping"


def _wrong_rule(domain: Domain) -> str | None:
    """The first list of regular expressions that is none: a text alone would be read letter by letter, and match everything."""
    rules = {name: getattr(domain, name) for name in ("flips", "assistant_flips", "farewells", "crisis")}
    rules |= {f"lexicon[{check!r:.40}]": patterns for check, patterns in domain.lexicon.items()}
    for name, patterns in {**rules, "survey.patterns": domain.survey.patterns}.items():
        if not isinstance(patterns, tuple | list):
            return f'{name} is {patterns!r:.60}, not a tuple of regular expressions, such as (r"...",)'
        for pattern in patterns:
            if not isinstance(pattern, str):
                return f"{name}: {pattern!r:.60} is not a text; write the regular expression itself"
            try:
                re.compile(pattern)
            except (re.error, OverflowError, RecursionError) as error:
                return f"{name}: {pattern!r:.60} is not a regular expression: {error}"
    return None
