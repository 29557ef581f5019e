import json
import math
from pathlib import Path
from typing import Any

import pytest
from tiny_models import TEMPLATE, byte_tokenizer, make_pairs, save_tiny_model

from engage.errors import ConfigError, ModelError, StoreError
from engage.models import AdapterCard, ModelRef, adapter_fingerprint
from engage.training import AlignConfig, RunFolder, build_trainer, quiet, start_model, train_dpo
from engage.training.dpo import DpoSettings, fitting_rows
from engage.training.trainer import LoraSettings

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("own_cache")]

LORA = LoraSettings(r=4, alpha=8)
DPO = DpoSettings(learning_rate=1e-2, batch_size=2, gradient_accumulation=1, save_steps=1)
CONFIG = AlignConfig(lora=LORA, dpo=DPO)
ADAPTER_FILES = {"README.md", "adapter_config.json", "adapter_model.safetensors", "engage_card.json", "history.json"}


@pytest.fixture(scope="module")
def parent(base: ModelRef, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter that moved far from the bare base."""
    return train_dpo(make_pairs(8), base, tmp_path_factory.mktemp("parent"), with_dpo(epochs=4)).adapter


def with_dpo(**changes: Any) -> AlignConfig:
    return AlignConfig(lora=LORA, dpo=DPO.model_copy(update=changes))


def weights(folder: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return dict(load_file(folder / "adapter_model.safetensors"))


def largest_difference(one: dict[str, Any], other: dict[str, Any]) -> float:
    assert one.keys() == other.keys()
    return max(float((one[name] - other[name]).abs().max()) for name in one)


def first_batch(base: ModelRef, tmp_path: Path, count: int = 2) -> tuple[Any, dict[str, Any]]:
    """A trainer on the first pairs and its first batch."""
    with quiet():
        model = start_model(base, None, LORA, 0)
        trainer = build_trainer(
            model,
            byte_tokenizer(),
            fitting_rows(make_pairs(count), byte_tokenizer(), DPO),
            RunFolder(tmp_path, "k"),
            DPO,
        )
        return trainer, next(iter(trainer.get_train_dataloader()))


@pytest.mark.parametrize("names", ["no_such_layer", ("no_such_layer",), ()])
def test_modules_that_the_model_lacks_are_one_sentence(names: Any, base: ModelRef) -> None:
    with pytest.raises(ConfigError, match=r"^align\.lora\.target_modules = [^\n]+$"):
        start_model(base, None, LORA.model_copy(update={"target_modules": names}), 0)


def test_trained_tokens_are_the_reply_and_its_end_after_the_prompt_of_inference(base: ModelRef, tmp_path: Path) -> None:
    _, batch = first_batch(base, tmp_path)
    tokenizer = byte_tokenizer()
    pair = make_pairs(1)[0]
    reply = batch["completion_mask"][0].bool()
    prompt = batch["attention_mask"][0].bool() & ~reply
    rendered = tokenizer.apply_chat_template(list(pair.prompt), tokenize=False, add_generation_prompt=True)
    assert tokenizer.decode(batch["input_ids"][0][prompt]) == rendered
    assert tokenizer.decode(batch["input_ids"][0][reply]) == "What happened?<|im_end|>"


def test_a_template_without_system_role_is_trained_on_as_it_is_sampled_from(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "model")
    refusing = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}" + TEMPLATE
    (folder / "chat_template.jinja").write_text(refusing)
    result = train_dpo(make_pairs(2), ModelRef("no-system", folder, "n-1"), tmp_path / "run", CONFIG)
    assert result.history[0]["loss"] == pytest.approx(math.log(2), abs=1e-5)


def test_rejected_reply_ends_at_its_end_token_too(base: ModelRef, tmp_path: Path) -> None:
    _, batch = first_batch(base, tmp_path)
    reply = batch["completion_mask"][2].bool()
    assert byte_tokenizer().decode(batch["input_ids"][2][reply]) == "No!<|im_end|>"


def test_first_loss_is_log_two_without_a_parent(base: ModelRef, tmp_path: Path) -> None:
    result = train_dpo(make_pairs(4), base, tmp_path, CONFIG)
    # candidate and reference are the same model: −log σ(0) = log 2
    assert result.history[0]["loss"] == pytest.approx(math.log(2), abs=1e-5)


def test_the_parent_is_the_reference(base: ModelRef, parent: Path, tmp_path: Path) -> None:
    result = train_dpo(make_pairs(4), base, tmp_path, CONFIG, parent=parent)
    # with the bare base as reference the parent's own margin would show
    assert result.history[0]["loss"] == pytest.approx(math.log(2), abs=1e-5)
    assert result.history[0]["rewards/margins"] == pytest.approx(0.0, abs=1e-5)


def test_the_candidate_starts_from_the_parent(base: ModelRef, parent: Path, tmp_path: Path) -> None:
    result = train_dpo(make_pairs(4), base, tmp_path, with_dpo(learning_rate=1e-9), parent=parent)
    assert largest_difference(weights(result.adapter), weights(parent)) < 1e-6


def test_training_changes_the_adapter_and_not_the_base(base: ModelRef, tmp_path: Path) -> None:
    before = (base.path / "model.safetensors").read_bytes()
    result = train_dpo(make_pairs(4), base, tmp_path, CONFIG)
    # a new adapter's B factors are zero
    moved = [
        name for name, value in weights(result.adapter).items() if "lora_B" in name and float(value.abs().max()) > 0
    ]
    assert len(moved) == 2 * 7  # two layers of q, k, v, o, gate, up, down
    assert (base.path / "model.safetensors").read_bytes() == before


def test_margin_rises_over_repeated_pairs(base: ModelRef, tmp_path: Path) -> None:
    result = train_dpo(make_pairs(8), base, tmp_path, with_dpo(epochs=4))
    assert result.history[-1]["rewards/margins"] > 0.5
    assert result.history[-1]["loss"] < 0.6 < result.history[0]["loss"]
    assert len(result.history) == 16  # 8 pairs in batches of 2, four times


def test_every_step_is_told(base: ModelRef, tmp_path: Path) -> None:
    told: list[tuple[int, dict[str, float]]] = []
    result = train_dpo(
        make_pairs(6), base, tmp_path, CONFIG, on_step=lambda step, metrics: told.append((step, metrics))
    )
    assert [step for step, _ in told] == [1, 2, 3]
    assert [metrics for _, metrics in told] == result.history
    assert {"loss", "rewards/accuracies", "rewards/margins", "learning_rate"} <= told[0][1].keys()


def test_an_interrupted_run_ends_as_if_it_had_not_been(base: ModelRef, tmp_path: Path) -> None:
    def interrupt(step: int, metrics: dict[str, float]) -> None:
        if step == 3:
            raise KeyboardInterrupt

    config = with_dpo(epochs=2)
    whole = train_dpo(make_pairs(6), base, tmp_path / "whole", config)
    with pytest.raises(KeyboardInterrupt):
        train_dpo(make_pairs(6), base, tmp_path / "cut", config, on_step=interrupt)
    assert not (tmp_path / "cut" / "adapter").exists()
    told: list[int] = []
    resumed = train_dpo(make_pairs(6), base, tmp_path / "cut", config, on_step=lambda step, _: told.append(step))
    assert told == [3, 4, 5, 6]  # the checkpoint of step 2 was the last whole one
    assert [entry["step"] for entry in resumed.history] == [1, 2, 3, 4, 5, 6]
    assert largest_difference(weights(resumed.adapter), weights(whole.adapter)) < 1e-6


def test_checkpoints_of_other_pairs_are_not_resumed(base: ModelRef, tmp_path: Path) -> None:
    def interrupt(step: int, metrics: dict[str, float]) -> None:
        if step == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_dpo(make_pairs(6), base, tmp_path, CONFIG, on_step=interrupt)
    result = train_dpo(make_pairs(4), base, tmp_path, CONFIG)
    assert [entry["step"] for entry in result.history] == [1, 2]
    assert result.history[0]["loss"] == pytest.approx(math.log(2), abs=1e-5)


@pytest.mark.parametrize("version", ["", "-v1", "-v99"])
def test_checkpoints_of_another_version_are_not_resumed(
    version: str, base: ModelRef, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def interrupt(step: int, metrics: dict[str, float]) -> None:
        if step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_dpo(make_pairs(6), base, tmp_path, CONFIG, on_step=interrupt)
    (folder,) = (tmp_path / "checkpoints").iterdir()
    folder.rename(folder.with_name(folder.name.partition("-")[0] + version))  # the first version wrote none
    told: list[int] = []
    result = train_dpo(make_pairs(6), base, tmp_path, CONFIG, on_step=lambda step, _: told.append(step))
    assert told == [1, 2, 3]
    assert result.history[0]["loss"] == pytest.approx(math.log(2), abs=1e-5)
    (line,) = [record.message for record in caplog.records if record.name == "engage"]
    assert line.startswith(f"{tmp_path}: ") and "begins anew" in line
    assert AdapterCard.read(result.adapter).config["training_version"] == 2


def test_a_finished_run_is_returned_as_it_is(base: ModelRef, tmp_path: Path) -> None:
    first = train_dpo(make_pairs(4), base, tmp_path, CONFIG)
    stamp = (first.adapter / "adapter_model.safetensors").stat().st_mtime_ns
    again = train_dpo(list(reversed(make_pairs(4))), base, tmp_path, CONFIG)
    assert again == first
    assert (again.adapter / "adapter_model.safetensors").stat().st_mtime_ns == stamp


def test_a_folder_of_another_run_is_refused(base: ModelRef, tmp_path: Path) -> None:
    train_dpo(make_pairs(4), base, tmp_path, CONFIG)
    with pytest.raises(ConfigError, match="another base, data or settings"):
        train_dpo(make_pairs(6), base, tmp_path, CONFIG)


def test_the_adapter_folder_holds_no_training_state(base: ModelRef, tmp_path: Path) -> None:
    result = train_dpo(make_pairs(4), base, tmp_path, CONFIG)
    assert {path.name for path in result.adapter.iterdir()} <= ADAPTER_FILES
    assert {path.name for path in tmp_path.iterdir()} == {"adapter", "training.lock"}


def test_the_card_says_what_the_adapter_is(base: ModelRef, parent: Path, tmp_path: Path) -> None:
    result = train_dpo(make_pairs(5), base, tmp_path, CONFIG, parent=parent, licences={"search": "Apache-2.0"})
    card = AdapterCard.read(result.adapter)
    assert (card.base, card.base_fingerprint, card.method) == ("tiny", "tiny-1", "dpo")
    assert card.parent == adapter_fingerprint(parent)
    assert card.config["dpo"]["beta"] == 0.1
    # pairs 0, 2, 4 are human, 1 and 3 from the search
    assert [(source.name, source.rows, source.licence) for source in card.data] == [
        ("human:emotional_support", 3, "not stated"),
        ("search", 2, "Apache-2.0"),
    ]
    assert card.metrics["pairs"] == 5


def test_the_adapter_names_no_folder_of_this_machine(base: ModelRef, tmp_path: Path) -> None:
    adapter = train_dpo(make_pairs(2), base, tmp_path, CONFIG).adapter
    assert json.loads((adapter / "adapter_config.json").read_text())["base_model_name_or_path"] == "tiny"
    assert str(base.path) not in (adapter / "engage_card.json").read_text()


def test_a_parent_of_another_base_is_refused(base: ModelRef, parent: Path, tmp_path: Path) -> None:
    other = ModelRef(name="other", path=base.path, fingerprint="other-1")
    with pytest.raises(ModelError):
        train_dpo(make_pairs(4), other, tmp_path, CONFIG, parent=parent)


def test_pairs_over_the_length_limit_are_left_out_and_counted(base: ModelRef, tmp_path: Path) -> None:
    pairs = make_pairs(6)
    # One token per byte: system 7 + 9 + 2 ("<|im_start|>system\n", text, end and newline), user 6 + 11n + 2, assistant 11,
    # reply at most 19 and 2: pairs 0 and 3 (n = 1) have about 68 tokens, the others 11 or 22 more.
    result = train_dpo(pairs, base, tmp_path, with_dpo(max_length=72))
    assert (result.metrics["pairs"], result.metrics["pairs_too_long"]) == (2, 4)


def test_no_pair_is_an_error_of_the_user(base: ModelRef, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no accepted pair to train on"):
        train_dpo([], base, tmp_path, CONFIG)
    with pytest.raises(ConfigError, match="more than 16 tokens"):
        train_dpo(make_pairs(2), base, tmp_path, with_dpo(max_length=16))


def test_a_run_that_diverges_says_so_and_leaves_no_adapter(base: ModelRef, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="training diverged at step"):
        train_dpo(make_pairs(8), base, tmp_path, with_dpo(learning_rate=1e30, epochs=2))
    assert not (tmp_path / "adapter").exists()


def test_a_run_that_diverges_at_its_last_step_leaves_no_adapter(base: ModelRef, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="training diverged at its last step"):
        train_dpo(make_pairs(2), base, tmp_path, with_dpo(learning_rate=1e39))  # one step, whose loss is log 2
    assert not (tmp_path / "adapter").exists()


@pytest.mark.parametrize("name", ["adapter_model.safetensors", "history.json", "engage_card.json"])
@pytest.mark.parametrize("cut", [True, False])
def test_a_finished_run_that_was_damaged_since_is_one_sentence(
    name: str, cut: bool, base: ModelRef, tmp_path: Path
) -> None:
    file = train_dpo(make_pairs(2), base, tmp_path, CONFIG).adapter / name
    file.write_bytes(file.read_bytes()[:-9]) if cut else file.unlink()
    with pytest.raises(StoreError, match=rf"adapter: {name} is missing or damaged; restore a copy of the folder"):
        train_dpo(make_pairs(2), base, tmp_path, CONFIG)


@pytest.mark.parametrize("name", ["adapter_model.safetensors", "optimizer.pt"])
def test_a_checkpoint_that_is_cut_off_is_not_resumed(name: str, base: ModelRef, tmp_path: Path) -> None:
    def interrupt(step: int, metrics: dict[str, float]) -> None:
        if step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_dpo(make_pairs(6), base, tmp_path, CONFIG, on_step=interrupt)
    (last,) = tmp_path.glob("checkpoints/*/checkpoint-2")
    (last / name).write_bytes((last / name).read_bytes()[:-9])
    told: list[int] = []
    train_dpo(make_pairs(6), base, tmp_path, CONFIG, on_step=lambda step, _: told.append(step))
    assert told == [2, 3]  # from the checkpoint of step 1


def test_a_stray_file_beside_the_checkpoints_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / ".nfs0001").touch()
    assert RunFolder(tmp_path, "k").last_checkpoint() is None
    assert (tmp_path / "checkpoints" / ".nfs0001").exists()


def test_max_pairs_limits_what_is_trained_on(base: ModelRef, tmp_path: Path) -> None:
    assert train_dpo(make_pairs(8), base, tmp_path, with_dpo(max_pairs=2)).metrics["pairs"] == 2


def test_two_processes_do_not_train_in_one_folder(tmp_path):
    import subprocess
    import sys

    hold = "import sys, pathlib; from engage.training.run_folder import RunFolder\nwith RunFolder(pathlib.Path(sys.argv[1]), 'k').alone():\n print('in', flush=True); sys.stdin.read()"
    other = subprocess.Popen(
        [sys.executable, "-c", hold, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdout.readline() == "in\n"
    sentence = "another process is training there; wait until it has ended"
    with pytest.raises(StoreError, match=sentence), RunFolder(tmp_path, "k").alone():
        pass
    other.kill()  # a killed training leaves no lock
    other.wait()
    with RunFolder(tmp_path, "k").alone():
        pass


def test_what_a_user_left_beside_checkpoints_is_no_checkpoint(tmp_path):
    folder = RunFolder(tmp_path, "k" * 64)
    for name in ("checkpoint-9", "checkpoint-10", "checkpoint-10 copy", "checkpoint-old"):
        (folder.checkpoints / name).mkdir(parents=True)
        (folder.checkpoints / name / "trainer_state.json").write_text("{}")
    (folder.checkpoints.parent / ".DS_Store").touch()
    assert folder.last_checkpoint() == str(folder.checkpoints / "checkpoint-10")
