"""Makes a scheduled night independent of the folder and the environment where it was scheduled; a worker has others.

Paths are made absolute, and the variables in CARRIED are stored with the schedule. Keys and passwords are not stored; only their names are reported.
"""

import importlib.util
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from engage.config import CycleConfig
from engage.errors import ConfigError
from engage.home import Home
from engage.masking import mask_table
from engage.models import BARE, EMBEDDED, cache_folder
from engage.scenario import SHIPPED
from engage.simulation import POLICY_MODEL

CARRIED = (
    "ENGAGE_HOME_MODE",
    "ENGAGE_STORE_WAIT_S",
    "HF_HOME",
    "HF_HUB_CACHE",
    "HF_HUB_OFFLINE",
    "TRANSFORMERS_OFFLINE",
)
"""In addition to ENGAGE_HOME, ENGAGE_CACHE, MLFLOW_TRACKING_URI and PYTHONPATH."""
SECRET = (
    "HF_TOKEN",
    "ENGAGE_NOTIFY_URL",
    "MLFLOW_TRACKING_USERNAME",
    "MLFLOW_TRACKING_PASSWORD",
    "MLFLOW_TRACKING_TOKEN",
)


def absolute_config(config: CycleConfig) -> CycleConfig:
    """The configuration with every path that is relative to the current folder made absolute.

    ConfigError for a password in it, and for a relative model folder with an OpenAI server, which knows the model by that name.
    """
    values = config.model_dump(mode="json")
    engine, scenarios = values["engine"], values["scenarios"]
    scenarios["sources"] = [name if name in SHIPPED else _absolute(name) for name in scenarios["sources"]]
    values["human"]["corpora"] = [_after_colon(name) for name in values["human"]["corpora"]]
    for side in ("policy", "simulator"):
        engine[f"{side}_adapter"] = _adapter(f"engine.{side}_adapter", engine[f"{side}_adapter"])
        name = engine[f"{side}_model"]
        there = name != EMBEDDED and Path(name).expanduser().is_dir()
        if name.startswith((".", "~")) and not there:
            raise ConfigError(f"engine.{side}_model: {_absolute(name)} is not a folder")
        if there and not os.path.isabs(name):
            if config.engine.kind == "openai":
                raise ConfigError(
                    f"engine.{side}_model {name!r} is a folder here; set its absolute path before scheduling"
                )
            engine[f"{side}_model"] = _absolute(name)
    engine["simulators"] = [_adapter("engine.simulators", name) for name in engine["simulators"]]
    judging = values["evaluation"]
    judging["second_simulator"] = _adapter("evaluation.second_simulator", judging["second_simulator"])
    judging["simulators"] = [_adapter("evaluation.simulators", name) for name in judging["simulators"]]
    for table in ("engine_args", "simulator_engine_args"):
        engine["vllm"][table] = _vllm_arguments(engine["vllm"][table])
    for server in filter(None, (config.engine.openai.policy, config.engine.openai.simulator)):
        if any(urlsplit(url).password for url in server.base_urls):
            raise ConfigError(
                "engine.openai: a base_url contains a password, which Prefect's server would store; use api_key_env or a proxy instead"
            )
        if mask_table(server.extra_body) != server.extra_body:
            raise ConfigError(
                "engine.openai: extra_body contains a key or a password, which Prefect's server would store; use api_key_env instead"
            )
    return CycleConfig.model_validate(values)


def environment(config: CycleConfig, given: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """The variables that are stored with the schedule, and the names of secret ones, which must be set in the worker's environment.

    ConfigError for a value that Prefect would change, and for a module that cannot be imported.
    """
    carried = {"ENGAGE_HOME": str(Home.from_env().path)}
    if given.get("ENGAGE_CACHE") or given.get("XDG_CACHE_HOME"):
        carried["ENGAGE_CACHE"] = _absolute(str(cache_folder()))
    secret = [name for name in SECRET if given.get(name)]
    if address := given.get("MLFLOW_TRACKING_URI"):
        if urlsplit(address).password:
            secret.append("MLFLOW_TRACKING_URI")
        else:
            carried["MLFLOW_TRACKING_URI"] = absolute_address(address)
    for name in CARRIED:
        if value := given.get(name):
            carried[name] = _absolute(value) if name in ("HF_HOME", "HF_HUB_CACHE") else value
    if folders := _python_path(config, given):
        carried["PYTHONPATH"] = os.pathsep.join(folders)
    if config.engine.kind == "openai":
        servers = filter(None, (config.engine.openai.policy, config.engine.openai.simulator))
        secret += dict.fromkeys(server.api_key_env for server in servers)
    for name, value in carried.items():
        if "{{" in value:
            raise ConfigError(f"{name} is {value!r}: Prefect would replace the text in {{{{ }}}}; rename the folder")
    return carried, secret


def absolute_address(address: str) -> str:
    """MLflow's address with its path made absolute, if it is a folder, `file:…` or `sqlite:///…`."""
    if address.startswith("sqlite:///") and not address.startswith(("sqlite:////", "sqlite:///file:", "sqlite:///:")):
        path, mark, options = address.removeprefix("sqlite:///").partition("?")
        return f"sqlite:///{_absolute(path)}{mark}{options}"
    if address.startswith("file:") and not address.startswith("file:/"):
        return Path(_absolute(address.removeprefix("file:"))).as_uri()
    if not urlsplit(address).scheme and address != "databricks":
        return _absolute(address)
    return address


def _absolute(path: str) -> str:
    return os.path.abspath(os.path.expanduser(path))


def _after_colon(name: str) -> str:
    kind, colon, path = name.partition(":")
    return f"{kind}{colon}{_absolute(path)}" if path else name


def _adapter(setting: str, name: str | None) -> str | None:
    if not name or name in (EMBEDDED, BARE, POLICY_MODEL):
        return name
    path = _absolute(name)
    if not os.path.isdir(path):
        raise ConfigError(f"{setting}: {path} is not a folder; name the folder of an adapter")
    return path


def _vllm_arguments(given: dict[str, Any] | None) -> dict[str, Any] | None:
    """The arguments with absolute paths of files and folders."""
    return given and {name: _file(value) for name, value in given.items()}


def _file(value: Any) -> Any:
    """The absolute path, if the value names an existing file or folder; otherwise the value."""
    named = isinstance(value, str) and ("." in value or os.sep in value)
    return _absolute(value) if named and os.path.exists(os.path.expanduser(value)) else value


def _python_path(config: CycleConfig, given: Mapping[str, str]) -> list[str]:
    """The folders of PYTHONPATH and of the modules that the configuration allows."""
    folders = [_absolute(folder) for folder in given.get("PYTHONPATH", "").split(os.pathsep) if folder]
    for module in config.scenarios.domain_modules:
        top = module.partition(".")[0]
        found = sys.modules.get(top) or importlib.util.find_spec(top)
        origin = getattr(found, "__file__", None) or getattr(found, "origin", None)
        if origin is None:
            raise ConfigError(
                f"scenarios.domain_modules: there is no module {module!r} here; put its folder on PYTHONPATH"
            )
        path = Path(_absolute(origin))
        folders.append(str(path.parent.parent if path.name == "__init__.py" else path.parent))
    return list(dict.fromkeys(folders))
