"""What the tests of engines share: retries that do not wait."""

from types import SimpleNamespace

import pytest


@pytest.fixture
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses between retries take a hundredth of a second."""
    monkeypatch.setattr("engage.engines.openai.server.LONGEST_PAUSE_S", 0.01)
    monkeypatch.setattr("engage.engines.openai.server.random", SimpleNamespace(random=lambda: 0.0))
