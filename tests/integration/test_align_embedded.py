import math
from pathlib import Path

import pytest

from engage.domains import load_domain
from engage.models import embedded_status, resolve_model
from engage.training import AlignConfig, PreferencePair, train_dpo
from engage.training.dpo import DpoSettings


def test_steps_of_dpo_on_the_embedded_model(tmp_path: Path) -> None:
    if not embedded_status().converted:
        pytest.skip("the embedded model is not installed or not converted yet")
    system = {"role": "system", "content": load_domain("persuasion").policy_prompt()}
    opening = {"role": "assistant", "content": "Hello, have you heard of Save the Children?"}
    pairs = [
        PreferencePair(
            prompt=(system, opening, {"role": "user", "content": f"No, and I have only {n} minutes."}),
            chosen="That is fine. What would you like to know first?",
            rejected="You must give now.",
            domain="persuasion",
            scenario_id=f"p{n}",
            source="search",
        )
        for n in range(4)
    ]
    settings = DpoSettings(batch_size=2, gradient_accumulation=1, epochs=4, learning_rate=2e-4)
    result = train_dpo(pairs, resolve_model("embedded"), tmp_path, AlignConfig(dpo=settings))
    assert len(result.history) == 8
    assert result.history[0]["loss"] == pytest.approx(math.log(2), abs=1e-4)
    assert result.history[-1]["rewards/margins"] > 1.0
    assert (result.adapter / "adapter_model.safetensors").stat().st_size < 25_000_000
