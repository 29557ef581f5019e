"""MLflow for one home: one parent run per cycle, child runs per stage, the run of all nights, and the registry, which names the champion.

Runs are looked up by their tags, so that a resumed cycle continues its own runs.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock

from engage import progress
from engage.errors import StoreError
from engage.files.digest import digest, flat
from engage.home import Home
from engage.tracking import database, dialogues, view
from engage.tracking.client import Champion, Client, CycleRun, patiently, told
from engage.tracking.dialogues import Conversation
from engage.tracking.run import StageRun
from engage.tracking.text import differences, source, version_text

EXPERIMENT = "engage"
REGISTERED_NAME = "engage-policy"
CHAMPION, CANDIDATE = "champion", "candidate"
CYCLE_TAG, STAGE_TAG, PARENT_TAG = "engage.cycle_id", "engage.stage", "mlflow.parentRunId"
OPENING_TAG, RECIPE_TAG, ADAPTER_TAG = "engage.opening", "engage.recipe", "engage.adapter"
PROMOTED_TAG, GROUND_TAG = "engage.promoted", "engage.ground"
"""The second: digest of what an evaluation was held on: gains of runs with different ones cannot be compared."""
NIGHT_TAG = "engage.night"
NIGHTS = "nights"


class Tracker:
    """MLflow for one home; opening it creates the database and the experiment if they are missing."""

    def __init__(self, home: Home, wait_s: float = 0.0) -> None:
        """A locked database and a server that is away are waited for, up to `wait_s` seconds at each request."""
        home.make()
        self._alone = FileLock(home.path / "mlflow.lock")  # look first, then create: one process at a time
        self.home, self.wait_s = home, wait_s
        patiently(wait_s, self._open)

    def _open(self) -> None:
        import mlflow

        with told(self.home), self._alone:
            if self.home.own_tracking:
                database.prepare(self.home.mlflow_file, EXPERIMENT, self._create_database, progress.tell)
            mlflow.set_tracking_uri(self.home.tracking_uri)
            self._client = Client(self.home)
            self._experiment_id = self._experiment(EXPERIMENT, view.TRAINING)
        self._client = Client(self.home, wait_s=self.wait_s)

    def _create_database(self, ending: str, location: str) -> None:
        """MLflow's tables and the experiment in a file of the home's database's name with that ending."""
        from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore  # private to MLflow, read at 3.17.2

        store = SqlAlchemyStore(self.home.tracking_uri + ending, location)
        try:
            store.create_experiment(EXPERIMENT, artifact_location=location)
        finally:
            store.engine.dispose()

    def _experiment(self, name: str, kind: str) -> str:
        """The experiment's id; it is created if missing, and restored if it was deleted in MLflow's UI."""
        found = self._client.get_experiment_by_name(name)
        if found is None:
            local = self.home.tracking_uri.startswith("sqlite")
            location = self.home.artifacts.as_uri() if local else None
            found = self._client.get_experiment(self._client.create_experiment(name, location))
        elif found.lifecycle_stage == "deleted":
            self._client.restore_experiment(found.experiment_id)
            progress.tell(
                f"MLflow's experiment {name!r} had been deleted; it is restored, for this cycle is recorded in it"
            )
        view.prepare(self._client, found, kind)
        return str(found.experiment_id)

    def address(self, server: str) -> str:
        """Where MLflow's UI shows the cycles with the prepared columns."""
        return view.address(server, self._experiment_id)

    def conversations_address(self, server: str) -> str | None:
        """Where MLflow's UI shows the held-out dialogues, one session each; None before the first."""
        found = self._client.get_experiment_by_name(dialogues.EXPERIMENT)
        return f"{server.rstrip('/')}/#/experiments/{found.experiment_id}/traces?groupBy=session" if found else None

    def cycles(self) -> list[CycleRun]:
        """The runs of all cycles, the newest first."""
        query, newest = f"tags.`{STAGE_TAG}` = 'cycle'", ["attributes.start_time DESC"]
        found = self._client.search_runs([self._experiment_id], query, max_results=10_000, order_by=newest)
        return [
            CycleRun(run.data.tags[CYCLE_TAG], str(run.info.status), run.data.tags, run.data.metrics, run.data.params)
            for run in found
            if "cycle_id" in run.data.params  # a simulator's training or card is no cycle
        ]

    def cycle_run(self, cycle_id: str, params: Mapping[str, Any] | None = None) -> StageRun:
        """The cycle's parent run, created on first use."""
        run = StageRun(self._client, self._run(cycle_id, {CYCLE_TAG: cycle_id, STAGE_TAG: "cycle"}))
        run.params(params or {})
        return run

    @contextmanager
    def stage(
        self, cycle_id: str, name: str, recipe: str | None = None, settings: Mapping[str, Any] | None = None
    ) -> Iterator[StageRun]:
        """A child run that ends FINISHED; if the body raises, it ends FAILED, and so does the cycle's run.

        There is one per `recipe`, if a stage may be repeated with other settings, so that both can be compared. Its name shows which of
        `settings` (by dotted name) differ from those that the cycle began with: `align lr=2e-4 beta=0.5`.
        """
        parent = self._run(cycle_id, {CYCLE_TAG: cycle_id, STAGE_TAG: "cycle"})
        of = {RECIPE_TAG: recipe} if recipe else {}
        first = self._client.get_run(parent).data.params if settings else {}
        shown = " ".join([name, *differences(first, settings or {})])
        run_id = self._run(shown, {CYCLE_TAG: cycle_id, STAGE_TAG: name, PARENT_TAG: parent, **of})
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

    def open_cycle(self, cycle_id: str, params: Mapping[str, Any], tags: Mapping[str, str] | None = None) -> None:
        """Begin the cycle's run, or resume it."""
        run = self.cycle_run(cycle_id, params)
        run.tags({**source(), **(tags or {})})
        self._client.update_run(run.run_id, status="RUNNING")

    def close_cycle(self, cycle_id: str, completed: bool = True, minutes: float = 0.0) -> None:
        """Close the cycle's run if it is open; the next stage reopens it. `minutes` are added to those of its earlier stages."""
        found = self._find({CYCLE_TAG: cycle_id, STAGE_TAG: "cycle"})
        if found is None:
            return
        run = self._client.get_run(found)
        if minutes:
            total = run.data.metrics.get("minutes", 0.0) + minutes
            StageRun(self._client, found).metrics({"minutes": round(total, 3)})
        if run.info.status == "RUNNING":
            self._client.set_terminated(found, "FINISHED" if completed else "FAILED")

    def end_runs(self, cycle_id: str) -> None:
        """End the runs of a cycle that are still open, as KILLED: nobody works on them any more."""
        query = f"tags.`{CYCLE_TAG}` = '{cycle_id}' and attributes.status = 'RUNNING'"
        told = self._client.get_experiment_by_name(dialogues.EXPERIMENT)
        experiments = [self._experiment_id, *([told.experiment_id] if told else [])]
        for run in self._client.search_runs(experiments, query, max_results=10_000):
            self._client.set_terminated(run.info.run_id, "KILLED")

    def night(self, cycle_id: str, figures: Mapping[str, float | None], run_name: str = NIGHTS) -> None:
        """Add a finished night to the run of all nights, as its next step; a repeated night keeps its step."""
        cycle = self.cycle_run(cycle_id)
        nights = StageRun(self._client, self._run(run_name, {STAGE_TAG: run_name}))
        with self._alone:
            kept = self._client.get_run(cycle.run_id).data.tags.get(NIGHT_TAG)
            step = int(kept or self._client.get_run(nights.run_id).data.tags.get(NIGHT_TAG, 0)) + (kept is None)
            if kept is None:
                nights.tags({NIGHT_TAG: str(step)})  # first: after a kill in between a step is left out, not used twice
                cycle.tags({NIGHT_TAG: str(step)})
        nights.revised({f"night/{name}": value for name, value in figures.items()}, step)
        self._client.set_terminated(nights.run_id, "FINISHED")

    def conversations(self, cycle_id: str, side: str, label: str, told: Sequence[Conversation]) -> int:
        """Write held-out dialogues of one `side` (incumbent or candidate, its policy is `label`) as conversations; returns the new traces.

        A server that takes no traces is no error: the dialogues are in the store. It is reported in one line.
        """
        experiment = self._experiment(dialogues.EXPERIMENT, view.CONVERSATIONS)
        tags = {CYCLE_TAG: cycle_id, STAGE_TAG: f"dialogues of {label}"}
        run = self._run(f"{cycle_id} {side}", {**tags, "mlflow.runType": "genai_evaluate"}, experiment)
        written = dialogues.write_conversations(self.home, experiment, run, side, told)
        self._client.set_terminated(run, "FINISHED")
        return written

    def register(
        self, run: StageRun, adapter: Path, tags: Mapping[str, str], facts: Mapping[str, str] | None = None
    ) -> str:
        """Register an adapter, the run's logged model, as the next version; returns its existing version if it has one.

        `facts` are for the description of a new version.
        """
        from mlflow.exceptions import MlflowException

        try:
            self._client.get_registered_model(REGISTERED_NAME)
        except MlflowException:
            self._client.create_registered_model(REGISTERED_NAME, description="adapters trained by engage")
        if known := self._versions(adapter):
            return known[0]
        model = run.logged_model()
        if model is None:
            raise StoreError(f"the run {run.run_id} has no logged model; run `engage align` again")
        kept = {**tags, ADAPTER_TAG: self.shown(adapter)}
        made = self._client.create_model_version(
            REGISTERED_NAME,
            f"models:/{model.model_id}",
            run.run_id,
            tags=kept,
            description=version_text(self.shown(adapter), adapter, facts or {}),
            model_id=model.model_id,
        )
        return str(made.version)

    def describe(self, version: str, adapter: Path, facts: Mapping[str, str], tags: Mapping[str, str]) -> None:
        """Replace the facts in a version's description, and tags of it."""
        self._client.update_model_version(REGISTERED_NAME, version, version_text(self.shown(adapter), adapter, facts))
        for name, value in tags.items():
            self._client.set_model_version_tag(REGISTERED_NAME, version, name, value)

    def name_candidate(self, version: str) -> None:
        """Set the alias `candidate` to this version."""
        self._client.set_registered_model_alias(REGISTERED_NAME, CANDIDATE, version)

    def shown(self, adapter: Path) -> str:
        """The folder of an adapter relative to the home, where it lies in it, so that the home may be moved."""
        return str(adapter.relative_to(self.home.path)) if adapter.is_relative_to(self.home.path) else str(adapter)

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
        return self.home.find(kept) if kept else None

    def promote(self, version: str, by: str = "", why: str = "") -> None:
        """Set the alias `champion` to this version and its tag `promoted`; who decided and why become its tags `engage.promoted_…`."""
        for name, value in {f"{PROMOTED_TAG}_by": by, f"{PROMOTED_TAG}_why": why, "promoted": "yes"}.items():
            self._client.set_model_version_tag(REGISTERED_NAME, version, name, value)
        self._client.set_registered_model_alias(REGISTERED_NAME, CHAMPION, version)

    def demote(self) -> None:
        """Take the alias `champion` away: the next night starts from the configured policy."""
        self._client.delete_registered_model_alias(REGISTERED_NAME, CHAMPION)

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
        """Number of openings of the test split by all experiments of the home."""
        return len(
            self._client.search_runs([self._experiment_id], f"tags.`{OPENING_TAG}` = 'test'", max_results=10_000)
        )

    def _run(self, name: str, tags: Mapping[str, str], experiment: str | None = None) -> str:
        experiment = experiment or self._experiment_id
        with self._alone:
            if found := self._find(tags, experiment):
                return found
            return str(self._client.create_run(experiment, tags=dict(tags), run_name=name).info.run_id)

    def _find(self, tags: Mapping[str, str], experiment: str | None = None) -> str | None:
        query = " and ".join(f"tags.`{key}` = '{value}'" for key, value in tags.items() if key != PARENT_TAG)
        found = self._client.search_runs([experiment or self._experiment_id], query, max_results=1)
        return str(found[0].info.run_id) if found else None
