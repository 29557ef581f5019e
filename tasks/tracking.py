"""All use of MLflow: one parent run per cycle, child runs per stage, and the registry, which names the champion.

Runs are looked up by their tags, so that a resumed cycle continues its own runs.
"""

import sqlite3
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from engage.errors import StoreError
from engage.files.digest import digest, flat
from engage.home import Home
from engage.stats import Estimate, is_finite
from tasks import progress, tracking_file
from tasks.tracking_text import first_sections, trouble

EXPERIMENT = "engage"
REGISTERED_NAME = "engage-policy"
CHAMPION = "champion"
CYCLE_TAG, STAGE_TAG, PARENT_TAG = "engage.cycle_id", "engage.stage", "mlflow.parentRunId"
OPENING_TAG, RECIPE_TAG, ADAPTER_TAG = "engage.opening", "engage.recipe", "engage.adapter"
PROMOTED_TAG, GROUND_TAG = "engage.promoted", "engage.ground"
"""The second: digest of what an evaluation was held on: gains of runs with different ones cannot be compared."""
DESCRIPTION_TAG, DESCRIPTION_LENGTH = "mlflow.note.content", 4_900
"""Every MLflow server stores at least 5,000 characters of a tag."""


@dataclass(frozen=True)
class Champion:
    """The promoted adapter: registry version and folder."""

    version: str
    adapter: Path


class StageRun:
    """One child run while its stage runs."""

    def __init__(self, client: Any, run_id: str) -> None:
        self._client = client
        self.run_id = run_id

    def params(self, values: Mapping[str, Any]) -> None:
        """Record parameters; a resumed stage keeps its first ones."""
        known = self._client.get_run(self.run_id).data.params
        for name, value in values.items():
            if name not in known:
                self._client.log_param(self.run_id, name, value)

    def tags(self, values: Mapping[str, str]) -> None:
        """Set tags, in place of earlier ones."""
        for name, value in values.items():
            self._client.set_tag(self.run_id, name, value)

    def metrics(self, values: Mapping[str, float | None], step: int = 0) -> None:
        """Record metrics at one step; values that are None or not finite are left out."""
        for name, value in values.items():
            if is_finite(value):
                self._client.log_metric(self.run_id, name, float(value), step=step)

    def estimate(self, name: str, found: Estimate, of: str = "") -> None:
        """Record a number and the bounds of its interval, as `name`, `name_low` and `name_high`, each followed by `of`."""
        self.metrics({f"{name}{of}": found.value, f"{name}_low{of}": found.low, f"{name}_high{of}": found.high})

    def figure(self, figure: Any, name: str) -> None:
        """Keep a matplotlib figure as a PNG under `plots/`."""
        self._client.log_figure(self.run_id, figure, f"plots/{name}.png")

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


@contextmanager
def _told(home: Home, through: Collection[str] = ()) -> Iterator[None]:
    """Raise StoreError, in one sentence, if MLflow cannot be used: no server, a damaged or full database, an unknown address.

    MLflow's errors with a code in `through` are passed on unchanged.
    """
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError, sqlite3.Error, OSError) as error:
        if getattr(error, "error_code", None) in through:
            raise
        raise StoreError(trouble(error, home.tracking_uri, home.path)) from error


class _Client:
    """MLflow's client. Raises StoreError if the server or the database is unavailable.

    MLflow's "not found" errors are passed on unchanged.
    """

    NOT_FOUND = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")  # the second: no such alias

    def __init__(self, home: Home) -> None:
        import mlflow

        self._home, self._client = home, mlflow.MlflowClient()

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)

        def told(*args: Any, **kwargs: Any) -> Any:
            with _told(self._home, self.NOT_FOUND):
                return method(*args, **kwargs)

        return told


class Tracker:
    """MLflow for one home; opening it creates the database and the experiment if they are missing."""

    def __init__(self, home: Home) -> None:
        import mlflow

        home.make()
        self._alone = FileLock(home.path / "mlflow.lock")  # look first, then create: one process at a time
        self._home = home
        with self._alone, _told(home):
            if home.own_tracking:
                tracking_file.prepare(home.mlflow_file, EXPERIMENT, self._create_database, progress.tell)
            mlflow.set_tracking_uri(home.tracking_uri)
            self._client = _Client(home)
            self._experiment_id = self._experiment()

    def _create_database(self, ending: str, location: str) -> None:
        """MLflow's tables and the experiment in a file of the home's database's name with that ending."""
        from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore  # private to MLflow, read at 3.17.2

        store = SqlAlchemyStore(self._home.tracking_uri + ending, location)
        try:
            store.create_experiment(EXPERIMENT, artifact_location=location)
        finally:
            store.engine.dispose()

    def _experiment(self) -> str:
        """The experiment's id; it is created if missing, and restored if it was deleted in MLflow's UI."""
        found = self._client.get_experiment_by_name(EXPERIMENT)
        if found is None:
            local = self._home.tracking_uri.startswith("sqlite")
            location = self._home.artifacts.as_uri() if local else None
            return str(self._client.create_experiment(EXPERIMENT, location))
        if found.lifecycle_stage == "deleted":
            self._client.restore_experiment(found.experiment_id)
            progress.tell(
                f"MLflow's experiment {EXPERIMENT!r} had been deleted; it is restored, for this cycle is recorded in it"
            )
        return str(found.experiment_id)

    def cycle_run(self, cycle_id: str, params: Mapping[str, Any] | None = None) -> StageRun:
        """The cycle's parent run, created on first use."""
        run = StageRun(self._client, self._run(cycle_id, {CYCLE_TAG: cycle_id, STAGE_TAG: "cycle"}))
        run.params(params or {})
        return run

    @contextmanager
    def stage(self, cycle_id: str, name: str, recipe: str | None = None) -> Iterator[StageRun]:
        """A child run that ends FINISHED; if the body raises, it ends FAILED, and so does the cycle's run.

        There is one per `recipe`, if a stage may be repeated with other settings, so that both can be compared.
        """
        parent = self._run(cycle_id, {CYCLE_TAG: cycle_id, STAGE_TAG: "cycle"})
        of = {RECIPE_TAG: recipe} if recipe else {}
        run_id = self._run(name, {CYCLE_TAG: cycle_id, STAGE_TAG: name, PARENT_TAG: parent, **of})
        self._client.set_tag(run_id, PARENT_TAG, parent)  # another one where the cycle's run was deleted meanwhile
        for run in (parent, run_id):
            self._client.update_run(run, status="RUNNING")
        try:
            yield StageRun(self._client, run_id)
        except BaseException:
            for run in (run_id, parent):
                self._client.set_terminated(run, "FAILED")
            raise
        self._client.set_terminated(run_id, "FINISHED")

    def open_cycle(self, cycle_id: str, params: Mapping[str, Any]) -> None:
        """Begin the cycle's run, or resume it."""
        run = self.cycle_run(cycle_id, params)
        self._client.update_run(run.run_id, status="RUNNING")

    def close_cycle(self, cycle_id: str, completed: bool = True) -> None:
        """Close the cycle's run if it is open; the next stage reopens it."""
        found = self._find({CYCLE_TAG: cycle_id, STAGE_TAG: "cycle"})
        if found is not None and self._client.get_run(found).info.status == "RUNNING":
            self._client.set_terminated(found, "FINISHED" if completed else "FAILED")

    def register(self, run: StageRun, adapter: Path, tags: Mapping[str, str]) -> str:
        """Register an adapter, stored by the run as `adapter`, as the next version; returns its existing version if it has one."""
        from mlflow.exceptions import MlflowException

        try:
            self._client.get_registered_model(REGISTERED_NAME)
        except MlflowException:
            self._client.create_registered_model(REGISTERED_NAME, description="adapters trained by engage")
        if known := self._versions(adapter):
            return known[0]
        source = f"runs:/{run.run_id}/adapter"  # what a tracking server takes; the folder is what the next night reads
        kept = {**tags, ADAPTER_TAG: str(adapter)}
        made = self._client.create_model_version(REGISTERED_NAME, source, run.run_id, tags=kept)
        return str(made.version)

    def version_of(self, adapter: Path) -> str:
        """The registry version of a registered adapter."""
        if known := self._versions(adapter):
            return known[0]
        raise StoreError(f"{adapter} is not in MLflow's registry ({REGISTERED_NAME}); run `engage align` again")

    def adapter_of(self, version: str) -> Path | None:
        """The folder of a registered version; None if there is no such version, or if it names no folder."""
        found = self._client.search_model_versions(f"name = '{REGISTERED_NAME}'", max_results=10_000)
        return next((self._adapter(known) for known in found if str(known.version) == version), None)

    def _versions(self, adapter: Path) -> list[str]:
        found = self._client.search_model_versions(f"name = '{REGISTERED_NAME}'", max_results=10_000)
        return [str(known.version) for known in found if self._adapter(known) == adapter]

    def _adapter(self, version: Any) -> Path | None:
        """The folder of a registered adapter, even if the home was moved."""
        kept = version.tags.get(ADAPTER_TAG)
        return self._home.find(kept) if kept else None

    def promote(self, version: str, by: str = "", why: str = "") -> None:
        """Set the alias `champion` to this version; who decided and why become its tags `engage.promoted_…`."""
        for name, value in {"by": by, "why": why}.items():
            self._client.set_model_version_tag(REGISTERED_NAME, version, f"{PROMOTED_TAG}_{name}", value)
        self._client.set_registered_model_alias(REGISTERED_NAME, CHAMPION, version)

    def champion(self) -> Champion | None:
        """The promoted adapter, None if there is none."""
        from mlflow.exceptions import MlflowException

        try:
            version = self._client.get_model_version_by_alias(REGISTERED_NAME, CHAMPION)
        except MlflowException:
            return None
        adapter = self._adapter(version)
        if adapter is None:
            raise StoreError(
                f"version {version.version} of {REGISTERED_NAME}, the champion, has no tag {ADAPTER_TAG}: set it to the adapter's "
                "folder, or remove the alias"
            )
        return Champion(str(version.version), adapter)

    def open_test_split(self, cycle_id: str, looked_at: Mapping[str, Any]) -> None:
        """Record an opening of the test split before it happens: once per `looked_at`, even if the run is resumed."""
        parent = self._find({CYCLE_TAG: cycle_id, STAGE_TAG: "cycle"})
        name = f"test split opened {digest(dict(looked_at))[:8]}"
        below = {PARENT_TAG: parent} if parent else {}
        tags = {CYCLE_TAG: cycle_id, STAGE_TAG: name, OPENING_TAG: "test", **below}
        run = StageRun(self._client, self._run(name, tags))
        run.params(flat(looked_at))
        self._client.set_terminated(run.run_id, "FINISHED")

    def openings(self) -> int:
        """Number of openings of the test split, by comparisons and cards."""
        return len(
            self._client.search_runs([self._experiment_id], f"tags.`{OPENING_TAG}` = 'test'", max_results=10_000)
        )

    def _run(self, name: str, tags: Mapping[str, str]) -> str:
        with self._alone:
            if found := self._find(tags):
                return found
            return str(self._client.create_run(self._experiment_id, tags=dict(tags), run_name=name).info.run_id)

    def _find(self, tags: Mapping[str, str]) -> str | None:
        query = " and ".join(f"tags.`{key}` = '{value}'" for key, value in tags.items() if key != PARENT_TAG)
        found = self._client.search_runs([self._experiment_id], query, max_results=1)
        return str(found[0].info.run_id) if found else None
