"""Sends messages about nights to a webhook.

Its address comes from the environment variable ENGAGE_NOTIFY_URL, or from a Prefect Secret block, which the server keeps encrypted and
`engage schedule --notify` makes. It is never logged. A message that cannot be sent fails no night.
"""

import logging
import os
import shutil
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from engage.config import CycleConfig
from engage.evaluation import Night, alerts
from engage.webhook import check_address, post
from engage.workspace import Workspace
from tasks import run_log

URL, BLOCK = "ENGAGE_NOTIFY_URL", "ENGAGE_NOTIFY_BLOCK"
"""Environment variables: the address itself, and the name of the Secret block that holds it."""


def announce(config: CycleConfig, night: Night) -> None:
    """Send what is worth a message of a finished night; nothing for a quiet one."""
    free_gb = shutil.disk_usage(Workspace.from_env().home.path).free / 1e9
    if found := alerts(night, config.alerts, free_gb):
        send("\n".join([f"engage, night {night.cycle_id}:", *(f"• {sentence}" for sentence in found)]), os.environ)


def announce_failure(flow: Any, flow_run: Any, state: Any) -> None:
    """Send that a night failed or crashed; a hook of the flow.

    For a run that was killed, the worker calls it in its own process, which lacks the run's variables and knows the name of before.
    """
    name, variables = _scheduled(flow_run) if flow_run.deployment_id else (flow_run.name, {})
    text = f"engage, night {name}:\n• {state.name.lower()}: {state.message or 'no reason given'}"
    send(text, {**variables, **os.environ})


def send(text: str, environment: Mapping[str, str]) -> bool:
    """Send the text to the address that the environment names; False if there is none, or if it could not be sent."""
    try:
        address = environment.get(URL) or _kept(environment.get(BLOCK))
        if not address:
            return False
        host = urlsplit(check_address(address)).hostname
    except Exception as error:  # of the server or of the block: their texts may hold the address
        run_log.log(f"no message was sent: its address cannot be read ({type(error).__name__})", logging.WARNING)
        return False
    if reason := post(text, address):
        run_log.log(f"the message about this night could not be sent to {host} ({reason})", logging.WARNING)
        return False
    run_log.log(f"a message about this night was sent to {host}")
    return True


def _kept(block: str | None) -> str | None:
    """The address in the Secret block."""
    if not block:
        return None
    from prefect.blocks.system import Secret

    return str(Secret.load(block).get())


def _scheduled(flow_run: Any) -> tuple[str, dict[str, str]]:
    """A scheduled run's name, and the variables that its deployment sets."""
    from prefect.client.orchestration import get_client

    client = get_client(sync_client=True)
    variables = client.read_deployment(flow_run.deployment_id).job_variables or {}
    return client.read_flow_run(flow_run.id).name, dict(variables.get("env") or {})
