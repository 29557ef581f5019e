"""The short form of `make chaos`."""

import subprocess
import sys
from pathlib import Path

import pytest

CHAOS = Path(__file__).parents[1] / "chaos" / "chaos.py"


@pytest.mark.timeout(900)
def test_what_is_killed_at_random_goes_on_to_what_an_undisturbed_run_leaves():
    few = {"kills": 3, "databases": 3, "drains": 2, "first": 1, "interrupts": 1, "real": 0, "seed": 11}
    command = [
        sys.executable,
        str(CHAOS),
        *(part for name, number in few.items() for part in (f"--{name}", str(number))),
    ]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stdout.rstrip().endswith(" 0 wrong")
    assert "killed 3" in ended.stdout and "first start killed 1" in ended.stdout
