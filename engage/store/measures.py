"""The domains' own measures of an answer to the exit survey, computed when a dialogue is stored and again when it is rescored."""

import logging
from collections.abc import Iterable
from functools import cache
from typing import Any

from pydantic import ValidationError

from engage.domains import Domain, UserCondition, load_domain
from engage.errors import ConfigError
from engage.stats import is_finite

_log = logging.getLogger(__name__)


def measured(rows: Iterable[tuple[str, str, str, float]]) -> Any:
    """An Arrow table of trajectory_id and measures (a map of name to number).

    A row has the trajectory's id, the domain's name, the user condition as JSON, and the survey value. Dialogues of a domain that cannot
    be loaded are left out with a warning: a later rescoring, with the domain at hand, measures them.
    """
    import pyarrow as pa

    failed: dict[str, str] = {}
    condition_of = cache(_condition)
    ids: list[str] = []
    measures: list[list[tuple[str, float]]] = []
    for trajectory_id, name, condition, value in rows:
        if name in failed:
            continue
        try:
            domain = load_domain(name)
            found = domain.measures(condition_of(domain, condition), value)
        except (ConfigError, ValidationError) as error:
            failed[name] = str(error)
            continue
        ids.append(trajectory_id)
        measures.append([(str(key), float(number)) for key, number in found.items() if is_finite(number)])
    for name, reason in failed.items():
        _log.warning("the measures of domain %r are not stored yet, `engage align` computes them: %s", name, reason)
    kind = pa.map_(pa.string(), pa.float64())
    return pa.table({"trajectory_id": pa.array(ids, pa.string()), "measures": pa.array(measures, kind)})


def _condition(domain: Domain, text: str) -> UserCondition:
    return domain.condition_type.model_validate_json(text)
