"""What the tests of training share: a tiny base model, and a cache of their own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from engage.models import ModelRef


@pytest.fixture(scope="module")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """ENGAGE_CACHE in a folder of the test file's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ENGAGE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def base(tiny_model: Path, own_cache: None) -> ModelRef:
    """The tiny model as a base under a fingerprint of its own."""
    return ModelRef(name="tiny", path=tiny_model, fingerprint="tiny-1")
