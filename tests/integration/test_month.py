"""The short form of `make month`."""

import subprocess
import sys
from pathlib import Path

import pytest

MONTH = Path(__file__).parents[1] / "month" / "month.py"


@pytest.mark.timeout(1500)
def test_four_nights_with_faults_lose_nothing_and_need_nobody():
    ended = subprocess.run([sys.executable, str(MONTH), "--nights", "4", "--seed", "1"], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "lost: nothing" in ended.stdout and ended.stdout.rstrip().endswith("operator's attention: none")
    assert all(event in ended.stdout for event in ("upgrade", "prune", "move"))
