"""The domains' own measures of an answer to the exit survey, computed when a dialogue is stored and again when it is rescored."""

import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from pydantic import ValidationError

from engage.domains import Domain, UserCondition, load_domain
from engage.errors import ConfigError
from engage.files.refusal import first_refusal
from engage.stats import is_finite

_log = logging.getLogger(__name__)


def measured(rows: Iterable[tuple[str, str, str, float]]) -> Any:
    """An Arrow table of trajectory_id and measures (a map of name to number).

    A row has the trajectory's id, the domain's name, the user condition as JSON, and the survey value. Left out with a warning: all rows
    of a domain that cannot be loaded, which a later rescoring with the domain at hand measures, and single rows that a domain cannot
    measure.
    """
    import pyarrow as pa

    unloaded: dict[str, str] = {}
    unmeasured: defaultdict[str, list[str]] = defaultdict(list)
    condition_of = cache(_condition)
    ids: list[str] = []
    measures: list[list[tuple[str, float]]] = []
    for trajectory_id, name, condition, value in rows:
        if name in unloaded:
            continue
        try:
            domain = load_domain(name)
        except ConfigError as error:
            unloaded[name] = str(error)
            continue
        try:
            found = domain.measures(condition_of(domain, condition), value)
            if not isinstance(found, Mapping):
                raise ConfigError(f"measures returns {found!r:.60}, not a dict")
        except ValidationError as error:
            unmeasured[name].append(first_refusal(error).sentence("user_condition"))
        except ConfigError as error:
            unmeasured[name].append(str(error))
        else:
            ids.append(trajectory_id)
            measures.append([(str(key), float(number)) for key, number in found.items() if is_finite(number)])
    for name, reason in unloaded.items():
        _log.warning("the measures of domain %r are not stored yet, `engage align` computes them: %s", name, reason)
    for name, reasons in unmeasured.items():
        _log.warning("domain %r cannot measure %d answer(s): %s", name, len(reasons), reasons[0])
    kind = pa.map_(pa.string(), pa.float64())
    return pa.table({"trajectory_id": pa.array(ids, pa.string()), "measures": pa.array(measures, kind)})


def _condition(domain: Domain, text: str) -> UserCondition:
    return domain.condition_type.model_validate_json(text)
