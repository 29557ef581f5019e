"""Opens tokenizers, weights and adapters, for inference and training alike: whole or not at all, and without code of their folders.

transformers and peft fill what a file lacks with random numbers, leave out what they have no place for, and only warn of it; code in a
model's folder they offer to run. All of that is a ModelError here, in one sentence.
"""

import json
import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from engage.errors import ModelError, in_one_line

_WHOLE = "give a whole model folder, as it was published"
_BUFFER = re.compile(r"(?:masked_bias|inv_freq|position_ids|att(?:n|ention)\.bias)$")
"""What older versions of transformers saved although it follows from config.json."""
_NAMES = ("model.safetensors", "pytorch_model.bin")
_AGAIN = "copy the whole folder, or train it again"
logging.getLogger("bitsandbytes").setLevel(
    logging.ERROR
)  # peft imports it where it is installed; it then advises to load code from the hub


def open_tokenizer(folder: Path) -> Any:
    """The tokenizer of a model's folder; ModelError if it, or the folder's config.json, cannot be read."""
    from transformers import AutoTokenizer

    open_config(folder)
    with _refused(folder, "its tokenizer cannot be loaded", _WHOLE):
        return AutoTokenizer.from_pretrained(folder, trust_remote_code=False)


def open_config(folder: Path) -> Any:
    """The model's configuration; ModelError if transformers cannot read it, or needs code of the folder for it."""
    from transformers import AutoConfig

    with _refused(folder, "its config.json cannot be used by this version of transformers", _WHOLE):
        return AutoConfig.from_pretrained(folder, trust_remote_code=False)


def open_model(folder: Path, dtype: Any, attention: str, bits: int = 16) -> Any:
    """The model with all of its weights, as torch's `dtype`; ModelError if the files hold fewer tensors than it needs, others, or more.

    With 4 `bits` the linear layers except the head keep their weights in NF4 (Dettmers et al. 2023, doubly quantised, about 0.52 bytes
    each) and compute in `dtype`; that needs bitsandbytes.
    """
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    check_weights(folder)
    check_plain(folder, open_config(folder))
    nf4 = {"bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True, "bnb_4bit_compute_dtype": dtype}
    with _refused(folder, "its weights cannot be loaded", _WHOLE):
        model, found = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=dtype,
            attn_implementation=attention,
            quantization_config=BitsAndBytesConfig(load_in_4bit=True, **nf4) if bits == 4 else None,
            trust_remote_code=False,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # reported below, by name
        )
    for kind, what in (
        ("missing_keys", "lack"),
        ("mismatched_keys", "have another shape than config.json says for"),
        ("unexpected_keys", "hold more than config.json describes:"),
    ):
        names = [key if isinstance(key, str) else key[0] for key in found[kind]]
        if names := [name for name in names if not (kind == "unexpected_keys" and _BUFFER.search(name))]:
            raise ModelError(f"{folder}: its weights {what} {_listed(names)}; {_WHOLE}")
    config = model.config.get_text_config()
    if getattr(config, "output_router_logits", False):
        config.output_router_logits = False  # a mixture of experts would compute a loss of its own at every call
    if bits == 4:
        for module in model.modules():
            # outside training, a CPU with bfloat16 would repack the weights, which rounds them again and fails for narrow layers
            module.support_avx512bf16_for_cpu = False
    ends = model.generation_config.eos_token_id
    if any(not isinstance(end, int) for end in (ends if isinstance(ends, list) else [ends]) if end is not None):
        raise ModelError(f"{folder}: generation_config.json: eos_token_id {ends!r:.40} is not a number; {_WHOLE}")
    return model


def put_adapter(model: Any, adapter: Path | str, *, trainable: bool = False) -> Any:
    """A PeftModel: the model with the adapter on it; ModelError if the adapter's weights are not those that its configuration describes."""
    from peft import PeftModel

    with _refused(adapter, "the adapter cannot be put on the model", _AGAIN):
        put = PeftModel.from_pretrained(model, str(adapter), is_trainable=trainable)
        found = put.load_adapter(str(adapter), "default", is_trainable=trainable)  # once more, for what it says
    if names := [*found.missing_keys, *found.unexpected_keys]:
        raise ModelError(
            f"{adapter}: its weights are not those that adapter_config.json describes ({_listed(names)}); {_AGAIN}"
        )
    return put


def merge_adapter(model: Any, adapter: Path | str) -> Any:
    """The model with the adapter added to its weights; ModelError as in `put_adapter`, or if the sum cannot be made or is not finite."""
    put = put_adapter(model, adapter)
    with _refused(adapter, "the adapter cannot be merged into the model", _AGAIN):
        return put.merge_and_unload(safe_merge=True)


def check_weights(folder: Path) -> None:
    """ModelError if a weight file is missing or cut off. Reads the beginnings of the files only."""
    places = [folder / f"{name}{ending}" for name in _NAMES for ending in ("", ".index.json")]
    used = next((place for place in places if place.is_file()), None)  # the first is what transformers loads
    if used is None:
        raise ModelError(f"{folder}: holds neither {' nor '.join(_NAMES)}, nor the index of such files; {_WHOLE}")
    if used.suffix == ".json":
        with _refused(used, "cannot be read", _WHOLE):
            shards = {str(name) for name in json.loads(used.read_bytes())["weight_map"].values()}
        if lost := sorted(name for name in shards if not (folder / name).is_file()):
            raise ModelError(f"{folder}: {lost[0]}, which {used.name} names, is missing; {_WHOLE}")
    for file in sorted(folder.glob("*.safetensors")):
        if not is_whole(file):
            raise ModelError(f"{file}: is damaged, cut off, or a pointer to the file itself; download it again")


def is_whole(file: Path) -> bool:
    """Whether a safetensors file is as long as its header says: 8 bytes with the length of a JSON object, that object, the tensors."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if not 2 <= length <= size - 8:
            return False
        try:
            tensors = json.loads(stream.read(length))
            ends = [entry["data_offsets"][1] for name, entry in tensors.items() if name != "__metadata__"]
        except (ValueError, AttributeError, LookupError, TypeError, RecursionError):
            return False
    return 8 + length + max(ends, default=0) == size


def check_plain(name: Path | str, config: Any) -> None:
    """ModelError if the weights of a model with this configuration are quantised: an adapter cannot be merged into such, nor trained on them."""
    found = getattr(config, "quantization_config", None)
    if found:
        kind = found.get("quant_method", "an unknown kind") if isinstance(found, dict) else type(found).__name__
        raise ModelError(
            f"{name}: its weights are quantised ({kind}), which only vLLM and servers can use; name the model as it was before, or, if the "
            "weights are plain, remove quantization_config from its config.json"
        )


@contextmanager
def _refused(place: Path | str, what: str, advice: str) -> Iterator[None]:
    """Whatever a library raises in the body, as a ModelError that says what was refused and why."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:  # they raise what they like
        if type(error).__name__ == "OutOfMemoryError":  # torch's
            raise
        advice = "install that, or name another model" if isinstance(error, ImportError) else advice
        raise ModelError(f"{place}: {what} ({type(error).__name__}: {in_one_line(error, 200)}); {advice}") from error


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - 2} more" if len(names) > 2 else ""
    return f"{', '.join(sorted(names)[:2])}{more}"
