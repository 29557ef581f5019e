from pathlib import Path

import pytest
from tiny_models import byte_tokenizer, make_pairs, save_tiny_model

from engage.models import ModelRef
from engage.training import start_model
from engage.training.dpo import pair_collator
from engage.training.shared_prompt import can_share_prompts, pack_pairs, reply_logprobs
from engage.training.trainer import LoraSettings, batch_order

LORA = LoraSettings(r=4, alpha=8)


def tiny(folder: Path) -> ModelRef:
    return ModelRef(name="tiny", path=save_tiny_model(folder), fingerprint="tiny-1")


def test_packed_replies_see_the_prompt_and_not_each_other() -> None:
    import torch

    # one pair: prompt 10 11, chosen 20 21, rejected 30
    input_ids = torch.tensor([[10, 11, 20, 21], [10, 11, 30, 0]])
    labels = torch.tensor([[-100, -100, 20, 21], [-100, -100, 30, -100]])
    packed = pack_pairs(input_ids, labels)
    assert packed.input_ids.tolist() == [[10, 11, 20, 21, 30]]
    assert packed.position_ids.tolist() == [[0, 1, 2, 3, 2]]
    assert packed.attention_mask[0, 0].int().tolist() == [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [1, 1, 1, 0, 0],
        [1, 1, 1, 1, 0],
        [1, 1, 0, 0, 1],
    ]


@pytest.mark.slow
def test_shared_prompts_give_the_log_probabilities_of_separate_rows(tmp_path: Path) -> None:
    import torch

    tokenizer = byte_tokenizer()
    model = start_model(tiny(tmp_path), None, LORA, 0).float()
    rows = []
    for pair in make_pairs(6):
        prompt = tokenizer.apply_chat_template(list(pair.prompt), add_generation_prompt=True)["input_ids"]
        replies = [tokenizer(text)["input_ids"] for text in (pair.chosen, pair.rejected)]
        rows.append({"prompt_ids": prompt, "chosen_ids": replies[0], "rejected_ids": replies[1]})
    batch = pair_collator(512)(rows)
    labels = batch["input_ids"].masked_fill(batch["completion_mask"] == 0, -100)
    with torch.no_grad():
        packed = reply_logprobs(model, batch["input_ids"], labels).log_probs
        logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits[:, :-1]
    plain = logits.log_softmax(-1).gather(-1, batch["input_ids"][:, 1:, None]).squeeze(-1)
    assert torch.allclose(packed, plain.masked_fill(labels[:, 1:] == -100, 0.0), atol=1e-5)


def test_a_recurrent_model_does_not_share_prompts(tmp_path: Path) -> None:
    model = start_model(tiny(tmp_path), None, LORA, 0).float()
    assert can_share_prompts(model, 512)
    model.get_base_model().config.layer_types = ["conv", "full_attention"]
    assert not can_share_prompts(model, 512)


def test_batches_hold_similar_lengths_and_every_item_once() -> None:
    lengths = [9, 1, 8, 2, 7, 3, 6, 4]
    order = batch_order(lengths, 2, seed=0)
    assert sorted(order) == list(range(8))
    # sorted: 1 2 | 3 4 | 6 7 | 8 9
    batches = {frozenset(lengths[i] for i in order[at : at + 2]) for at in range(0, 8, 2)}
    assert batches == {frozenset({1, 2}), frozenset({3, 4}), frozenset({6, 7}), frozenset({8, 9})}
