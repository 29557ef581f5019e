"""One run of MLflow while its stage works: parameters, metrics, tags, tables, figures, pages, the pair set and the adapter."""

import json
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from engage.stats import Estimate, is_finite
from engage.tracking.files import share
from engage.tracking.text import first_sections

DESCRIPTION_TAG, DESCRIPTION_LENGTH = "mlflow.note.content", 4_900
"""Every MLflow server stores at least 5,000 characters of a tag."""
TABLES_TAG = "mlflow.loggedArtifacts"
MODEL = "adapter"
"""The name of a training's logged model: its files are found as `runs:/ID/adapter`, too."""
_DIGITS = 5
"""Decimal places of a figure that is read in a table."""
_MOST = 100
"""Parameters and tags that MLflow takes at a time."""


class StageRun:
    """One run while its stage works."""

    def __init__(self, client: Any, run_id: str) -> None:
        self._client = client
        self.run_id = run_id

    def params(self, values: Mapping[str, Any]) -> None:
        """Record parameters; a resumed stage keeps its first ones."""
        from mlflow.entities import Param

        known = self._client.get_run(self.run_id).data.params
        new = [Param(name, str(value)) for name, value in values.items() if name not in known]
        for first in range(0, len(new), _MOST):
            self._client.log_batch(self.run_id, params=new[first : first + _MOST])

    def metrics(self, values: Mapping[str, float | None], step: int = 0, model_id: str | None = None) -> None:
        """Record metrics at one step, of a logged model if one is named; values that are None or not finite are left out."""
        self._log({name: float(value) for name, value in values.items() if is_finite(value)}, step, model_id)

    def newest(self, values: Mapping[str, float | None]) -> None:
        """Record metrics that replace earlier ones; what is unknown now but had a value becomes NaN."""
        known = self._client.get_run(self.run_id).data.metrics
        found = {name: round(float(value), _DIGITS) if is_finite(value) else math.nan for name, value in values.items()}
        changed = {name: value for name, value in found.items() if known.get(name, math.nan) != value}
        self._log({name: value for name, value in changed.items() if name in known or not math.isnan(value)}, 0)

    def revised(self, values: Mapping[str, float | None], step: int) -> None:
        """Record metrics at one step unless that step has these values already."""
        for name, value in values.items():
            if is_finite(value):
                at = [point for point in self._client.get_metric_history(self.run_id, name) if point.step == step]
                figure = round(float(value), _DIGITS)
                if not at or max(at, key=lambda point: point.timestamp).value != figure:
                    self._log({name: figure}, step)

    def _log(self, values: Mapping[str, float], step: int, model_id: str | None = None) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        points = [Metric(name, value, now, step, model_id=model_id) for name, value in values.items()]
        if points:
            self._client.log_batch(self.run_id, points)

    def tag(self, name: str) -> str | None:
        """A tag's value, None if it is not set."""
        tags: dict[str, str] = self._client.get_run(self.run_id).data.tags
        return tags.get(name)

    def metric(self, name: str) -> float | None:
        """A metric's latest value, None if it was not recorded."""
        metrics: dict[str, float] = self._client.get_run(self.run_id).data.metrics
        return metrics.get(name)

    def steps(self, name: str) -> set[int]:
        """Steps at which a metric was recorded."""
        return {point.step for point in self._client.get_metric_history(self.run_id, name)}

    def tags(self, values: Mapping[str, str]) -> None:
        """Set tags, each replacing an earlier one of its name."""
        from mlflow.entities import RunTag

        self._client.log_batch(self.run_id, tags=[RunTag(name, value) for name, value in values.items()])

    def estimate(self, name: str, found: Estimate, of: str = "") -> None:
        """Record a number and the bounds of its interval, as `name`, `name_low` and `name_high`, each followed by `of`."""
        self.metrics({f"{name}{of}": found.value, f"{name}_low{of}": found.low, f"{name}_high{of}": found.high})

    def figure(self, figure: Any, name: str) -> None:
        """Keep a matplotlib figure as a PNG under `plots/`."""
        self._client.log_figure(self.run_id, figure, f"plots/{name}.png")

    def table(self, rows: Sequence[Mapping[str, Any]], name: str) -> None:
        """Keep rows as a table that MLflow's UI shows and compares between runs; replaces an earlier one of that name.

        `mlflow.log_table` would append the rows of a repeated stage to the earlier ones.
        """
        import pandas as pd

        if not rows:
            return
        frame = pd.DataFrame(list(rows))
        tables = json.loads(self._client.get_run(self.run_id).data.tags.get(TABLES_TAG, "[]"))
        if {"path": name, "type": "table"} in tables:
            self._client.log_text(self.run_id, frame.to_json(orient="split", index=False, date_format="iso"), name)
        else:
            self._client.log_table(self.run_id, frame, name)

    def page(self, text: str, name: str) -> None:
        """Keep a Markdown page as an artifact, and its first sections as the run's description."""
        self._client.log_text(self.run_id, text, name)
        self._client.set_tag(self.run_id, DESCRIPTION_TAG, first_sections(text, name, DESCRIPTION_LENGTH))

    def files(self, path: Path, folder: str) -> None:
        """Keep a file or a whole folder as artifacts."""
        if path.is_dir():
            self._client.log_artifacts(self.run_id, str(path), folder)
        else:
            self._client.log_artifact(self.run_id, str(path), folder)

    def dataset(self, parquet: Path, name: str, digest: str) -> None:
        """Record a Parquet file as the stage's training data."""
        import mlflow
        import pandas as pd
        from mlflow.entities import DatasetInput, InputTag

        frame = pd.read_parquet(parquet)
        dataset = mlflow.data.from_pandas(frame, source=parquet.as_uri(), name=name, digest=digest[:16])
        tag = InputTag("mlflow.data.context", "training")
        # _to_mlflow_entity is private to MLflow, read at 3.17.2; its public way needs an active run of this thread
        self._client.log_inputs(self.run_id, [DatasetInput(dataset._to_mlflow_entity(), [tag])])

    def model(self, adapter: Path, params: Mapping[str, Any]) -> str:
        """Keep an adapter as the run's logged model; returns the model's id. One that was left half made is completed."""
        from mlflow.entities import LoggedModelStatus

        model = self.logged_model()
        if model is None:
            experiment = self._client.get_run(self.run_id).info.experiment_id
            text = {name: str(value) for name, value in params.items()}
            model = self._client.create_logged_model(
                experiment, MODEL, self.run_id, params=text, model_type="peft adapter"
            )
        if model.status != LoggedModelStatus.READY:
            self._client.log_model_artifacts(model.model_id, str(adapter))
            self._client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
        if adapter.is_relative_to(self._client.home.path):  # what lies elsewhere may be changed by its owner
            share(model.artifact_location, adapter)
        self.produced(model.model_id)
        return str(model.model_id)

    def produced(self, model_id: str) -> None:
        """Name a logged model as what this run made."""
        from mlflow.entities import LoggedModelOutput

        outputs = self._client.get_run(self.run_id).outputs
        if not any(made.model_id == model_id for made in (outputs.model_outputs if outputs else [])):
            self._client.log_outputs(self.run_id, [LoggedModelOutput(model_id, 0)])

    def logged_model(self) -> Any | None:
        """The run's logged model, None if it has none."""
        experiment = self._client.get_run(self.run_id).info.experiment_id
        found = self._client.search_logged_models([experiment], f"source_run_id = '{self.run_id}'")
        return found[0] if found else None
