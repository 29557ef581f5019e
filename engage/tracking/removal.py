"""Removes what MLflow keeps of a cycle or of a scenario: files, models, conversations. Figures, parameters and tags of runs stay."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from engage.home import Home
from engage.tracking import dialogues
from engage.tracking.client import Client, told
from engage.tracking.files import local_folder
from engage.tracking.tracker import CYCLE_TAG, EXPERIMENT, REGISTERED_NAME, STAGE_TAG, Tracker

PRUNED_TAG = "engage.pruned"
"""On the run of a cycle that was pruned: the day (UTC)."""
_MOST_TRACES = 100


def experiments(tracker: Tracker) -> list[str]:
    """Ids of the two experiments; that of the conversations may not be made yet."""
    client = Client(tracker.home, wait_s=tracker.wait_s)
    found = (client.get_experiment_by_name(name) for name in (EXPERIMENT, dialogues.EXPERIMENT))
    return [str(one.experiment_id) for one in found if one is not None]


class TrackedCycle:
    """What MLflow keeps of one cycle. Figures, parameters and tags of its runs are not files, and stay."""

    def __init__(self, tracker: Tracker, cycle_id: str) -> None:
        from mlflow.entities import ViewType

        self._home, self._client = tracker.home, Client(tracker.home, wait_s=tracker.wait_s)
        self._experiments = experiments(tracker)
        runs = self._client.search_runs(
            self._experiments, f"tags.`{CYCLE_TAG}` = '{cycle_id}'", run_view_type=ViewType.ALL, max_results=10_000
        )
        self.run_ids = [str(run.info.run_id) for run in runs]
        self.locations = [str(run.info.artifact_uri) for run in runs]
        self._own = [run for run in runs if run.data.tags.get(STAGE_TAG) == "cycle"]

    def pruned_on(self) -> str:
        """The day on which it was pruned; empty if it was not."""
        return next((day for run in self._own if (day := run.data.tags.get(PRUNED_TAG))), "")

    def mark_pruned(self) -> None:
        """Note on its run that its data is being deleted; nothing if MLflow has no run of it."""
        for run in self._own:
            if run.info.lifecycle_stage == "active":
                self._client.set_tag(run.info.run_id, PRUNED_TAG, f"{datetime.now(UTC):%Y-%m-%d}")

    def folders(self) -> list[Path]:
        """The folders of its files on this machine, models among them; empty for a server."""
        found = (local_folder(location) for location in (*self.locations, *self._models()))
        return [folder for folder in found if folder is not None and folder.is_relative_to(self._home.path)]

    def remove(self) -> None:
        """Delete its files, models and conversations. StoreError if MLflow cannot be used; what is gone already is no error."""
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        for location in (*self.locations, *self._models()):
            folder = local_folder(location)
            if folder is None or folder.is_relative_to(self._home.path):  # others belong to another home
                with told(self._home):
                    get_artifact_repository(location).delete_artifacts()
        for run_id in self.run_ids:
            delete_traces(self._client, self._experiments, f"metadata.`mlflow.sourceRun` = '{run_id}'")

    def _models(self) -> Iterator[str]:
        for run_id in self.run_ids:
            for model in self._client.search_logged_models(self._experiments, f"source_run_id = '{run_id}'"):
                yield str(model.artifact_location)


def find_traces(
    client: Any, experiments: Sequence[str], where: str | None, scenario: str | None = None
) -> list[tuple[str, str]]:
    """Experiment and id of the traces that a condition finds, of one scenario if it is given."""
    ids, token = list[tuple[str, str]](), None
    while True:
        found = client.search_traces(
            locations=list(experiments),
            filter_string=where,
            include_spans=False,
            max_results=_MOST_TRACES,
            page_token=token,
        )
        ids += [
            (str(one.info.experiment_id), str(one.info.trace_id))
            for one in found
            if scenario is None or one.info.tags.get("scenario") == scenario
        ]
        if not (token := found.token):
            return ids


def delete_traces(client: Any, experiments: Sequence[str], where: str | None, scenario: str | None = None) -> int:
    """Delete the traces that `find_traces` finds; returns their number."""
    ids = find_traces(client, experiments, where, scenario)
    for experiment in experiments:
        own = [trace for of, trace in ids if of == experiment]
        for first in range(0, len(own), _MOST_TRACES):
            client.delete_traces(experiment, trace_ids=own[first : first + _MOST_TRACES])
    return len(ids)


def forget_traces(tracker: Tracker, scenario_ids: Sequence[str]) -> int:
    """Delete all conversations about these scenarios; returns the number of traces."""
    client, own = Client(tracker.home), experiments(tracker)
    return sum(delete_traces(client, own, _of_scenario(name), name) for name in scenario_ids)


def _of_scenario(name: str) -> str | None:
    """A condition that narrows the search; None for a name with an apostrophe, which no condition of MLflow can express."""
    return None if "'" in name else f"tag.scenario = '{name}'"


def vacuum(home: Home) -> None:
    """Write the home's MLflow file anew without what was deleted; nothing for another database. StoreError if it cannot be written."""
    if home.own_tracking and home.mlflow_file.exists():
        with told(home), closing(sqlite3.connect(home.mlflow_file, timeout=60)) as connection:
            connection.execute("vacuum")


def logged_adapters(tracker: Tracker) -> list[tuple[str, Path]]:
    """The address of MLflow's copy and the folder of every registered adapter that lies in the home."""
    from mlflow.exceptions import MlflowException

    client, found = Client(tracker.home), list[tuple[str, Path]]()
    for version in client.search_model_versions(f"name = '{REGISTERED_NAME}'", max_results=10_000):
        adapter = tracker.adapter_of(str(version.version))
        if adapter and adapter.is_dir() and adapter.is_relative_to(tracker.home.path):
            with suppress(MlflowException):  # a version of an earlier engage is no logged model
                model = client.get_logged_model(str(version.source).rpartition("/")[2])
                found.append((str(model.artifact_location), adapter))
    return found
