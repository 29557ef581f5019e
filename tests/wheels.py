"""Building the wheel from a copy of the sources, so that nothing is written into the clone."""

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def build_wheel(folder: Path) -> Path:
    """The wheel of the working tree, built below `folder` without a network (needs setuptools in this environment)."""
    sources, out = folder / "sources", folder / "out"
    sources.mkdir()
    for name in ("engage", "tasks", "flows", "sql"):
        shutil.copytree(ROOT / name, sources / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, sources)
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "--no-deps", "--no-build-isolation", "--wheel-dir", str(out), str(sources)], check=True)
    (wheel,) = out.glob("*.whl")
    return wheel
