"""Scenarios: loading, validating against their domain, and the fixed split."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import ValidationError

from engage.dialogue import Dialogue, Role, Turn
from engage.domains import Domain, UserCondition, load_domain
from engage.domains.loading import SHIPPED as SHIPPED_DOMAINS
from engage.domains.rules.cleaning import unclean
from engage.domains.rules.crisis import holds_crisis
from engage.errors import ConfigError, CorpusError, ScenarioError
from engage.files.digest import digest
from engage.files.reading import Unreadable, check_kind, is_device, strict_json, unprintable
from engage.files.refusal import boolean_taken, first_refusal, printable
from engage.stats import odd_number

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)
_SPLIT_SHARE = {"train": 0.50, "validation": 0.15, "test": 0.35}
MAX_LINE_BYTES = 100_000
MAX_NAME = 200
_KIND_NAMES = {str: "text", dict: "object", list: "list"}
SHIPPED = tuple(SHIPPED_DOMAINS)
UNREAD = "not in English, which the rules for crises, deception and flaws read"
NOT_ENGLISH = (
    f"{UNREAD}; to take it anyway: --any-language with `engage scenarios`, --set scenarios.any_language=true with a run "
    "(for corpora human.any_language=true)"
)


@dataclass(frozen=True)
class Scenario:
    """One conversation to have. `domain` is the name it was loaded under; `source` names the origin of its words."""

    scenario_id: str
    domain: str
    user_condition: UserCondition
    opening: Dialogue
    source: str = "engage"

    @cached_property
    def content_hash(self) -> str:
        """SHA-256 of domain, user condition and opening; the id and the source are not included."""
        content = [
            self.domain,
            self.user_condition.model_dump(mode="json"),
            [[t.role, t.text] for t in self.opening.turns],
        ]
        return digest(content)

    @property
    def split(self) -> Split:
        """From the content hash alone: half train, 15 % validation, 35 % test."""
        return split_of(self.content_hash)

    def as_json(self) -> str:
        """The scenario as one line of a scenario file."""
        record = {
            "id": self.scenario_id,
            "domain": self.domain,
            "user_condition": self.user_condition.model_dump(mode="json", exclude_none=True),
            "opening": [{"role": str(turn.role), "text": turn.text} for turn in self.opening.turns],
            "source": self.source,
        }
        return json.dumps(record, ensure_ascii=False)


def split_of(content_hash: str) -> Split:
    """The split of a content hash (hexadecimal SHA-256): its first 32 bits as a point in [0, 1)."""
    point = int(content_hash[:8], 16) / 2**32
    for name in SPLITS:
        point -= _SPLIT_SHARE[name]
        if point < 0:
            return name
    return SPLITS[-1]


def parse_scenario(record: Any, any_language: bool = False) -> Scenario:
    """Turn one decoded line into a Scenario; ScenarioError names the field and the reason.

    A text in a language that the domain's rules do not cover is refused unless `any_language`.
    """
    if not isinstance(record, dict):
        raise ScenarioError(f"a scenario is an object, not a {type(record).__name__}")
    if odd := odd_number(record):
        raise ScenarioError(f"{odd}, not a finite number")
    unknown = set(record) - {"id", "domain", "user_condition", "opening", "source"}
    if unknown:
        raise ScenarioError(f"{printable(min(unknown))}: unknown field")
    for field, kind in (("id", str), ("domain", str), ("user_condition", dict), ("opening", list)):
        if field not in record:
            raise ScenarioError(f"{field}: missing")
        if not isinstance(record[field], kind) or not record[field]:
            raise ScenarioError(f"{field}: must be a non-empty {_KIND_NAMES[kind]}")
    for field in ("id", "source"):
        text = record.get(field, "own")
        if not isinstance(text, str) or not text.strip() or not text.isprintable() or len(text) > MAX_NAME:
            raise ScenarioError(f"{field}: must be a line of 1 to {MAX_NAME} printable characters")
    try:
        domain = load_domain(record["domain"])
        condition = domain.condition_type.model_validate(record["user_condition"])
    except ConfigError as error:
        raise ScenarioError(f"domain: {str(error).removeprefix('domain ')}") from error
    except ValidationError as error:
        raise ScenarioError(first_refusal(error).sentence("user_condition")) from error
    except (Exception, SystemExit) as error:  # a validator of the user's own
        raise ScenarioError(f"user_condition: the domain's check fails: {type(error).__name__}: {error}") from error
    if name := boolean_taken(record["user_condition"], condition):
        raise ScenarioError(f"user_condition.{name}: true and false are no numbers")
    opening = _parse_opening(record["opening"], domain)
    scenario = Scenario(record["id"], record["domain"], condition, opening, record.get("source", "own"))
    check_words(scenario, domain, any_language)
    return scenario


def check_words(scenario: Scenario, domain: Domain, any_language: bool) -> None:
    """Raise ScenarioError for an opening with self-harm, control characters, or a language that the rules do not cover."""
    if holds_crisis(scenario.opening, domain.crisis):
        raise ScenarioError("opening: speaks of self-harm, where a dialogue ends with a referral")
    texts = (str(value) for value in scenario.user_condition.model_dump().values())
    for text in (*texts, *(turn.text for turn in scenario.opening.turns)):
        if wrong := unprintable(text):
            raise ScenarioError(wrong)
    if not any_language and not is_read(scenario, domain):
        raise ScenarioError(NOT_ENGLISH)


def is_read(scenario: Scenario, domain: Domain) -> bool:
    """Whether the rules of its domain cover its language; see `engage.domains.rules.language`."""
    return domain.reads([scenario.user_condition.situation, *(turn.text for turn in scenario.opening.turns)])


def _parse_opening(turns: Sequence[Any], domain: Domain) -> Dialogue:
    dialogue = Dialogue()
    expected = domain.opens
    for index, turn in enumerate(turns):
        if not isinstance(turn, dict) or not isinstance(turn.get("text"), str) or not turn["text"].strip():
            raise ScenarioError(f"opening[{index}].text: missing or empty")
        if unknown := set(turn) - {"role", "text"}:
            raise ScenarioError(f"opening[{index}].{printable(min(unknown))}: unknown field")
        if turn.get("role") != expected:
            raise ScenarioError(f"opening[{index}].role: must be {expected.value!r} (got {turn.get('role')!r:.60})")
        dialogue = dialogue.add(Turn(expected, turn["text"].strip()))
        expected = expected.other
    if dialogue.turns[-1].role is not Role.USER:
        raise ScenarioError("opening: must end with the user's turn, because the assistant speaks next")
    return dialogue


@dataclass(frozen=True)
class Loaded:
    """Scenarios of one file, and its invalid lines as `file:line: reason`."""

    scenarios: list[Scenario]
    problems: list[str]


def read_scenarios(path: Path | str, any_language: bool = False) -> Loaded:
    """All valid lines of a JSON Lines file, and the problems of the others; raises only if the file cannot be read."""
    path = Path(path)
    if is_device(path):
        raise ScenarioError(f"{path}: is not a file")
    try:
        raw = path.read_bytes()
    except (OSError, ValueError) as error:
        raise ScenarioError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    try:
        check_kind(raw)
    except Unreadable as error:
        raise ScenarioError(f"{path}: {error}") from error
    scenarios: list[Scenario] = []
    problems: list[str] = []
    seen: dict[str, int] = {}
    for number, line in enumerate(raw.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            scenario = _parse_line(line, any_language)
            if scenario.scenario_id in seen:
                raise ScenarioError(f"id: {scenario.scenario_id!r} was used on line {seen[scenario.scenario_id]}")
        except ScenarioError as error:
            problems.append(f"{path}:{number}: {error}")
            continue
        seen[scenario.scenario_id] = number
        scenarios.append(scenario)
    if not scenarios and not problems:
        problems.append(f"{path}: holds no scenario; write one JSON object a line")
    return Loaded(scenarios, problems)


def _parse_line(line: bytes, any_language: bool) -> Scenario:
    if len(line) > MAX_LINE_BYTES:
        raise ScenarioError(f"the line has {len(line)} bytes; at most {MAX_LINE_BYTES} are read")
    try:
        scenario = parse_scenario(strict_json(line.decode("utf-8")), any_language)
        scenario.as_json().encode()
        condition = scenario.user_condition.model_dump()
        if reason := unclean([(turn.role, turn.text) for turn in scenario.opening.turns], condition):
            raise ScenarioError(reason)
        return scenario
    except UnicodeDecodeError as error:
        raise ScenarioError(f"not UTF-8 at byte {error.start}; save the file as UTF-8") from error
    except json.JSONDecodeError as error:
        raise ScenarioError(f"not JSON at column {error.colno}: {error.msg[0].lower()}{error.msg[1:]}") from error
    except UnicodeEncodeError as error:
        raise ScenarioError("holds half a character (a lone \\ud800..\\udfff escape); write the whole one") from error
    except (Unreadable, CorpusError) as error:
        raise ScenarioError(str(error)) from error


def load_scenarios(
    sources: Iterable[str],
    skip_invalid: bool = False,
    on_left: Callable[[list[str]], None] = lambda _: None,
    any_language: bool = False,
) -> list[Scenario]:
    """Scenarios of the named sources: a shipped domain's name or a file's path.

    Ids must be unique over all sources. Raises ScenarioError with the first problems. With `skip_invalid` invalid lines are skipped
    instead, and `on_left` is called with them, if there are any. `any_language` also accepts scenarios that are not in English.
    """
    if isinstance(sources, str):
        sources = (sources,)
    scenarios: list[Scenario] = []
    problems: list[str] = []
    for source in sources:
        loaded = read_scenarios(source_path(source), any_language)
        scenarios += [replace(s, source="engage") for s in loaded.scenarios] if source in SHIPPED else loaded.scenarios
        problems += loaded.problems
    if problems and not (skip_invalid and scenarios):
        more = f" (and {len(problems) - 5} more)" if len(problems) > 5 else ""
        raise ScenarioError("\n".join(problems[:5]) + more)
    if problems:
        on_left(problems)
    ids = [scenario.scenario_id for scenario in scenarios]
    if len(set(ids)) < len(ids):
        twice = next(i for i in ids if ids.count(i) > 1)
        raise ScenarioError(f"scenario id {twice!r} is in two of the files {', '.join(sources)}; rename one")
    return scenarios


def source_path(source: str) -> Path:
    """The file behind a source: a shipped domain's name, else a path."""
    if source in SHIPPED:
        return Path(str(resources.files("engage") / "data" / f"{source}.jsonl"))
    return Path(source)


def sample_scenarios(scenarios: Sequence[Scenario], split: Split, per_domain: int, seed: int) -> list[Scenario]:
    """At most `per_domain` scenarios of a split from each domain, in an order sampled with `seed`; domains alternate.

    Kinds of users (`Domain.strata`, such as attitude and difficulty together) alternate too. So a few scenarios are as different as
    possible, and with more scenarios their mix approaches that of the files.
    """
    groups = distinct(scenarios, split).values()
    return list(_interleave([_kinds_in_turn(group, seed)[:per_domain] for group in groups]))


def distinct(scenarios: Iterable[Scenario], split: Split) -> dict[str, list[Scenario]]:
    """Scenarios of a split by domain. Of several with one content the first: their conversations would not be independent."""
    once: dict[str, Scenario] = {}
    for scenario in scenarios:
        once.setdefault(scenario.content_hash, scenario)
    by_domain: dict[str, list[Scenario]] = {}
    for scenario in once.values():
        if scenario.split == split:
            by_domain.setdefault(scenario.domain, []).append(scenario)
    return by_domain


def same_contents(scenarios: Iterable[Scenario]) -> list[str]:
    """A clause for each scenario with the content of an earlier one."""
    first: dict[str, str] = {}
    pairs = [(one.scenario_id, first.setdefault(one.content_hash, one.scenario_id)) for one in scenarios]
    return [f"{again!r} has the content of {known!r}" for again, known in pairs if again != known]


def _kinds_in_turn(scenarios: Sequence[Scenario], seed: int) -> list[Scenario]:
    kinds: dict[tuple[tuple[str, str], ...], list[Scenario]] = {}
    for scenario in sorted(scenarios, key=lambda s: _rank(s, seed)):
        kind = load_domain(scenario.domain).strata(scenario.user_condition)
        kinds.setdefault(tuple(sorted(kind.items())), []).append(scenario)
    return list(_interleave(list(kinds.values())))


def _rank(scenario: Scenario, seed: int) -> str:
    return hashlib.sha256(f"{seed}:{scenario.content_hash}".encode()).hexdigest()


def _interleave(groups: Sequence[Sequence[Scenario]]) -> Iterator[Scenario]:
    for index in range(max((len(group) for group in groups), default=0)):
        yield from (group[index] for group in groups if index < len(group))
