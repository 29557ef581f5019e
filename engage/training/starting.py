"""What a training starts from: the tokenizer, the frozen base, the adapter. Knows nothing of losses or trainers."""

import re
import warnings
from pathlib import Path
from typing import Any

from engage.errors import ConfigError, ModelError, in_one_line
from engage.models import (
    ChatTemplate,
    ModelRef,
    adapter_folder,
    check_adapter,
    find_model,
    native_dtype,
    open_config,
    open_model,
    open_template,
    put_adapter,
)
from engage.training.trainable import check_base, check_parent
from engage.training.trainer import LoraSettings


def chat_tokenizer(base: ModelRef) -> tuple[Any, ChatTemplate]:
    """The base's tokenizer, with a padding token, and its chat template; ModelError if the template does not allow training on replies."""
    template = open_template(base)
    tokenizer = template.tokenizer
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.convert_ids_to_tokens(min(template.end_tokens))
    return tokenizer, template


def within_context(max_length: int, base: ModelRef) -> int:
    """`max_length`, or the base's context if that is less: beyond it, positions are not there or were never learnt."""
    context = getattr(open_config(base.path).get_text_config(), "max_position_embeddings", None)
    return min(max_length, context) if isinstance(context, int) else max_length


def check_trainable(model: str, adapter: str | None, lora: LoraSettings) -> None:
    """ModelError or ConfigError if no adapter can be trained on this model, as far as its folder tells; one that is not here is not checked.

    `adapter` is the name of the adapter that training starts from, if there is one: it decides which modules are trained.
    """
    try:
        found = find_model(model)
    except ModelError:  # a name on the server only
        return
    if found is None:
        return
    empty = check_base(found.name, found.path)
    if parent := adapter_folder(adapter):
        check_parent(Path(parent))
    else:
        with warnings.catch_warnings(action="ignore"):
            _new_adapter(empty, lora)


def start_model(base: ModelRef, parent: Path | None, lora: LoraSettings, seed: int) -> Any:
    """A PeftModel with one trainable adapter: the parent's weights, or a new adapter that does not change the model yet.

    The frozen base has the number type that is fastest on this device, or four bits (`lora.base_bits`); the adapter is in float32. An
    adapter trained on four bits has learnt to make up for their rounding too; it plays on the full weights, where that is missing.

    Raises ModelError if the parent was trained on other base weights or the base cannot be trained, ConfigError if
    `lora.target_modules` or the parent cannot be trained.
    """
    import torch
    from transformers import set_seed

    check_base(base.name, base.path)
    if parent is not None:
        check_adapter(parent, base)
        check_parent(parent)
    set_seed(seed)
    if torch.cuda.is_available():
        torch.backends.cuda.enable_cudnn_sdp(False)  # it plans anew for each shape, and nearly every batch has its own
    model = open_model(base.path, native_dtype(), training_attention(base.path), lora.base_bits)
    _without_dropout(model)
    if parent is not None:
        started = put_adapter(model, parent, trainable=True)
        # under the name in the adapter's file peft would ask the hub for the base's configuration at every checkpoint
        started.peft_config["default"].base_model_name_or_path = str(base.path)
    else:
        started = _new_adapter(model, lora)
    # otherwise trl rounds the adapter to bfloat16, where AdamW's small steps are lost
    started.is_loaded_in_4bit = False
    return started


def _without_dropout(model: Any) -> None:
    """Switch off the base's dropout, wherever its family keeps it: the reference answers without, and trl only finds dropout layers."""
    import torch

    for place in (model.config, model.config.get_text_config(), *model.modules()):
        for name, value in list(vars(place).items()):
            if "drop" in name and isinstance(value, float):
                setattr(place, name, 0.0)
        if isinstance(place, torch.nn.Dropout):
            place.p = 0.0


def _new_adapter(model: Any, lora: LoraSettings) -> Any:
    """The model with a new adapter; ConfigError if a target is not there, cannot have an adapter, or is the embedding or the head.

    The last two often share their weights: an adapter that is trained on one of them is played on both.
    """
    from peft import LoraConfig, get_peft_model

    targets = lora.target_modules if isinstance(lora.target_modules, str) else list(lora.target_modules)
    routers = [
        name for name, module in model.named_modules() if "Router" in type(module).__name__
    ]  # some are linear layers to peft
    shape = LoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=targets,
        exclude_modules=routers or None,
        task_type="CAUSAL_LM",
    )
    ends = {id(model.get_input_embeddings()), id(model.get_output_embeddings())}
    outer = {name for name, module in model.named_modules() if id(module) in ends}
    try:
        started = get_peft_model(model, shape)
    except (ValueError, re.error) as error:
        raise _wrong_targets(targets, in_one_line(error, 200)) from error
    found = started.base_model.targeted_module_names
    if wrong := sorted(outer.intersection(found)):
        raise _wrong_targets(targets, f"{wrong[0]} is the embedding or the head")
    names = [] if isinstance(targets, str) else targets
    if lost := [name for name in names if not any(f".{full}".endswith(f".{name}") for full in found)]:
        raise _wrong_targets(targets, f"the model has no module {lost[0]}")
    return started


def _wrong_targets(targets: str | list[str], why: str) -> ConfigError:
    return ConfigError(
        f"align.lora.target_modules = {targets!r}: {why}; name linear layers between the embedding and the head, or `all-linear`"
    )


def training_attention(folder: Path) -> str:
    """The transformers attention that trains this model correctly: `sdpa`, or `eager` if the model needs a softcap or a sink."""
    from transformers import AutoModelForCausalLM

    config = open_config(folder)
    family = AutoModelForCausalLM._model_mapping.get(type(config), None)
    capped = getattr(config.get_text_config(), "attn_logit_softcapping", None)
    return "eager" if capped or not getattr(family, "_supports_sdpa", True) else "sdpa"
