import zipfile

import pytest
from wheels import ROOT, build_wheel

pytest.importorskip("setuptools", reason="the wheel is built with this environment's setuptools")


@pytest.mark.slow
def test_the_wheel_carries_every_file_of_the_method_its_data_and_its_sql(tmp_path):
    with zipfile.ZipFile(build_wheel(tmp_path)) as wheel:
        carried = set(wheel.namelist())
    wanted = {
        path.relative_to(ROOT).as_posix()
        for room in ("engage", "tasks", "flows", "sql")
        for path in (ROOT / room).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert len([name for name in wanted if name.endswith(".sql")]) > 30
    assert wanted - carried == set()
    assert {name.split("/")[0] for name in carried} == {"engage", "tasks", "flows", "sql", "engage-0.1.0.dist-info"}
