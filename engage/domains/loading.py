"""Finds a domain by name. A user's module is imported only if the user allowed it, never because a data file names it.

A module that is imported already may always be named.
"""

import contextlib
import functools
import importlib.util
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
"""Most characters of a domain's name."""
IMPORT_LIMIT_S = 120.0
"""Time limit for importing a module; some import torch."""
_TEXTS = ("policy_prompt", "simulator_prompt", "exit_question")
"""Methods that must return text."""

_allowed: set[str] = set()
_importers: dict[str, threading.Thread] = {}
"""By module: the thread that imports it, or has."""


def allow_modules(modules: Iterable[str]) -> None:
    """Allow this process to import these modules for domains named `module:OBJECT`; ConfigError for one that is not there."""
    for module in modules:
        _check_there(module)
        _allowed.add(module)


def _check_there(module: str) -> None:
    """ConfigError if there is no such module; imports nothing, so that only a package's own name is looked for."""
    _look_here()
    if module.endswith(".py"):
        raise ConfigError(f"domain module {module!r}: name the module without `.py`: {module.removesuffix('.py')!r}")
    top = module.partition(".")[0]
    if not all(part.isidentifier() for part in module.split(".")):
        raise ConfigError(
            f"domain module {module!r}: is no name of a Python module, such as my_domain or package.module"
        )
    if module not in sys.modules and top not in sys.modules and importlib.util.find_spec(top) is None:
        raise ConfigError(f"domain modules: there is no module {module!r} here; put its folder on PYTHONPATH")


def _look_here() -> None:
    """Add the current folder to the end of the search path for modules."""
    with contextlib.suppress(OSError):
        if (here := os.getcwd()) not in sys.path:
            sys.path.append(here)


def load_domain(name: str) -> Domain:
    """The shipped domain of that name, or a user's own by `package.module:OBJECT`; raises ConfigError.

    Errors in the methods of a user's domain, `sys.exit` included, become ConfigErrors as well.
    """
    module_name, _, attribute = SHIPPED.get(name, name).partition(":")
    if len(name) > LONGEST_NAME or not (
        attribute.isidentifier() and all(part.isidentifier() for part in module_name.split("."))
    ):
        raise ConfigError(f"domain {name!r:.80} is not known; use {', '.join(SHIPPED)} or package.module:OBJECT")
    importer = _importers.get(module_name)
    if importer is not None and importer is not threading.current_thread():
        importer.join(IMPORT_LIMIT_S)  # until then the module lacks what it defines last
    module = sys.modules.get(module_name)
    if module is None:
        if name not in SHIPPED and module_name not in _allowed:
            raise ConfigError(
                f"domain {name!r} would run the code of the Python module {module_name!r}, which a data file may not do by itself; "
                f'if you trust it, add --domain-module {module_name} (in a profile scenarios.domain_modules = ["{module_name}"])'
            )
        module = _import(name, module_name)
    domain = getattr(module, attribute, None)
    if domain is None:
        raise ConfigError(f"domain {name!r} cannot be loaded: {module_name} has no {attribute}")
    if not isinstance(domain, Domain):
        raise ConfigError(f"domain {name!r} is a {type(domain).__name__}, not an engage.domains.Domain instance")
    if name not in SHIPPED:
        check_complete(name, domain)
        _guard(name, type(domain))
    return domain


def _import(name: str, module_name: str) -> ModuleType:
    """Import a module in a thread with a time limit; what it prints goes to standard error.

    The current folder is added to the end of the search path.
    """
    outcome: dict[str, Any] = {}
    _look_here()

    def run() -> None:
        _importers[module_name] = threading.current_thread()
        try:
            outcome["module"] = importlib.import_module(module_name)
        except BaseException as error:  # a user's module can fail in any way
            outcome["error"] = error

    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        thread.join(IMPORT_LIMIT_S)
    sys.stderr.write(printed.getvalue())
    error = outcome.get("error")
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
    if "module" not in outcome:
        raise ConfigError(
            f"domain {name!r} cannot be loaded: importing {module_name} did not end in {IMPORT_LIMIT_S:g} s"
        )
    return outcome["module"]


def _guard(name: str, kind: type[Domain]) -> None:
    """Wrap the public methods of a user's class so that their errors are one sentence."""
    for base in kind.__mro__:
        if not issubclass(base, Domain) or base.__module__.startswith("engage."):
            continue
        for attribute, value in list(vars(base).items()):
            if inspect.isfunction(value) and not attribute.startswith("_") and not hasattr(value, "__wrapped__"):
                setattr(base, attribute, _guarded(name, attribute, value))


def _guarded(name: str, attribute: str, method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def guarded(*args: Any, **kwargs: Any) -> Any:
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

    return guarded


def check_complete(name: str, domain: Domain) -> None:
    """ConfigError for mistakes that would otherwise show in the middle of a search."""
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
    """The first attribute of a wrong type, as the end of a sentence; None if there is none."""
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
    """The first invalid list of regular expressions; a plain string would be read letter by letter and match everything."""
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
