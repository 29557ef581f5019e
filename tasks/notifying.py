"""Sends messages about nights to a webhook: JSON with `text`, as Slack, Mattermost and others take it.

The address is a secret: whoever has it can write there. It comes from the environment variable ENGAGE_NOTIFY_URL, or from a Prefect Secret
block, which the server keeps encrypted and `engage schedule --notify` makes. It is never logged. A message that cannot be sent fails no
night.
"""

import json
import logging
import os
import shutil
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential

from engage.config import CycleConfig
from engage.errors import ConfigError
from engage.evaluation import Night, alerts
from engage.workspace import Workspace
from tasks import run_log

URL, BLOCK = "ENGAGE_NOTIFY_URL", "ENGAGE_NOTIFY_BLOCK"
"""Environment variables: the address itself, and the name of the Secret block that holds it."""
TRIES = 3
AGAIN_S = 1.0
TIMEOUT_S = 10.0


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


def check_address(address: str) -> str:
    """The address itself; ConfigError if it is none of a webhook. The error does not repeat it."""
    try:
        parts = urlsplit(address)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and not any(map(str.isspace, address))
    except ValueError:
        usable = False
    if not usable:
        raise ConfigError("--notify: not an address of a webhook; write it with http:// or https:// and a host")
    return address


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
    body = json.dumps({"text": text}).encode()
    request = urllib.request.Request(address, body, {"Content-Type": "application/json"})
    again = retry_if_exception_type(OSError)
    try:
        for attempt in Retrying(
            stop=stop_after_attempt(TRIES), wait=wait_exponential(AGAIN_S), retry=again, reraise=True
        ):
            with attempt, urllib.request.urlopen(request, timeout=TIMEOUT_S):
                pass
    except Exception as error:
        reason = f"HTTP status {error.code}" if isinstance(error, urllib.error.HTTPError) else type(error).__name__
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
