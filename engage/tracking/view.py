"""What MLflow's UI shows first: which kind of experiment it is, and the columns of the list of runs. Read at MLflow 3.17.2.

The UI reads both from tags of the experiment. Where a user chose another kind, it stays.
"""

import json
from typing import Any

KIND_TAG, TRAINING, CONVERSATIONS = "mlflow.experimentKind", "custom_model_development", "genai_development"
"""Without a kind the UI opens an experiment as an empty page for language model applications."""
VIEW = "engage"
VIEW_TAG, PRIMARY_TAG = f"mlflow.sharedViewState.{VIEW}", "mlflow.experiment.primaryMetric.name"
METRICS = ("gain", "gain_low", "gain_high", "pairs", "minutes", "tokens_m", "reward_candidate", "reward_incumbent")
"""The metrics of a cycle's run, in the order in which they are read."""
TAGS = ("verdict", "promoted", "profile", "engine")


def view() -> str:
    """The prepared columns as the UI keeps a shared view."""
    columns = [
        "tags.`verdict`",
        *(f"metrics.`{name}`" for name in METRICS),
        *(f"tags.`{name}`" for name in TAGS[1:]),
        "attributes.`Dataset`",
        "attributes.`Models`",
        "attributes.`Source`",
    ]
    state = {
        "searchFilter": "",
        "orderByKey": "attributes.start_time",
        "orderByAsc": False,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": columns,
        "columnOrder": columns,
        "columnWidths": {"tags.`verdict`": 230, **{f"metrics.`{name}`": 80 for name in METRICS}},
    }
    return json.dumps(state)


def prepare(client: Any, experiment: Any, kind: str = TRAINING) -> None:
    """Write the tags that are missing or of an older version."""
    wanted = {KIND_TAG: experiment.tags.get(KIND_TAG, kind)}
    if kind == TRAINING:
        wanted |= {VIEW_TAG: view(), PRIMARY_TAG: experiment.tags.get(PRIMARY_TAG, METRICS[0])}
    for name, value in wanted.items():
        if experiment.tags.get(name) != value:
            client.set_experiment_tag(experiment.experiment_id, name, value)


def address(server: str, experiment_id: str) -> str:
    """Where the UI of `server` shows the prepared columns."""
    return f"{server.rstrip('/')}/#/experiments/{experiment_id}/runs?workflowType=machine_learning&viewStateShareKey={VIEW}"
