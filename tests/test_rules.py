"""The rules that the rooms keep: which way imports run, what is loaded when, who reads SQL, the drawn error tree, sizes."""

import ast
import builtins
import importlib
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from engage import errors

ROOT = Path(__file__).parents[1]
ROOMS = ("engage", "tasks", "flows")
HEAVY = {"torch", "transformers", "trl", "peft", "vllm", "openai"}
LOADED_LATE = {
    "engage.engines.attention": "the decoder, and whoever checks a model's family before a night",
    "engage.engines.batch": "the decoder imports it",
    "engage.engines.prefill": "the decoder imports it",
    "engage.engines.prefix_cache": "the decoder imports it",
    "engage.engines.sampling": "the decoder imports it",
    "engage.engines.decoder": "all of it works on tensors; the transformers engine imports it when it opens a model",
    "engage.engines.openai_clients": "the client itself; the server groups import it",
    "engage.engines.openai_probe": "it asks through the server groups; the openai engine imports it",
    "engage.engines.openai_server": "all of it works with the client; the openai engine imports it",
    "engage.engines.openai": "the registry of engines imports it when it opens one",
}
"""Modules that may import a heavy library at their top, because nobody imports them at the top."""
CHAINS = (
    ("dialogue", "domains", "scenario", "corpora"),
    ("engine", "reaction", "simulator", "tree", "puct", "search"),
    ("domains", "scenario", "tree", "store", "pairs", "align"),
    ("hacking", "evaluation", "report"),
)
"""design.md's order inside engage: none imports one that stands after it, by any way."""


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))}


def imported(tree: ast.AST, *, inside: bool, within: bool = False) -> Iterator[str]:
    """Modules and names that are imported, dotted; with `inside` those within functions too."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute here"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        elif inside or not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield from imported(node, inside=inside)


@cache
def imports(name: str, inside: bool = True) -> frozenset[str]:
    """What a module imports: its own project's modules by full name, other libraries by their first part."""
    found = set()
    for target in imported(ast.parse(MODULES[name].read_text(encoding="utf-8")), inside=inside):
        first = target.split(".")[0]
        if first not in ROOMS:
            found.add(first)
        else:
            found.add(target if target in MODULES else target.rpartition(".")[0])
    return frozenset(found - {name})


def reached(name: str, inside: bool = True) -> set[str]:
    """The project's modules that a module imports, directly or through others."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        new = {module for module in imports(waiting.pop(), inside) if module in MODULES} - found
        found |= new
        waiting += new
    return found


def importers(library: str) -> list[str]:
    return [name for name in MODULES if library in imports(name)]


def test_imports_run_from_flows_to_tasks_to_engage():
    wrong = {
        (name, target)
        for name in MODULES
        for target in imports(name)
        if target.split(".")[0] in ROOMS and ROOMS.index(target.split(".")[0]) > ROOMS.index(name.split(".")[0])
    }
    assert wrong == set()


def test_the_method_knows_no_prefect_and_no_mlflow():
    assert [name for name in importers("prefect") + importers("mlflow") if name.startswith("engage")] == []


def test_only_the_tracking_imports_mlflow():
    assert importers("mlflow") == ["tasks.tracking"]


def test_no_module_of_the_method_reaches_itself():
    assert [name for name in MODULES if name.startswith("engage") and name in reached(name)] == []


@pytest.mark.parametrize("chain", CHAINS, ids=" ".join)
def test_the_order_inside_the_method_is_kept(chain):
    wrong = {
        (early, late)
        for index, early in enumerate(chain)
        for late in chain[index + 1 :]
        for name in MODULES
        if name == f"engage.{early}" or name.startswith(f"engage.{early}.")
        if any(target == f"engage.{late}" or target.startswith(f"engage.{late}.") for target in reached(name))
    }
    assert wrong == set()


def test_heavy_libraries_are_imported_only_inside_functions():
    assert {name for name in MODULES if imports(name, inside=False) & HEAVY} <= set(LOADED_LATE)


def test_modules_that_load_heavy_libraries_are_themselves_imported_only_inside_functions():
    early = set(MODULES) - set(LOADED_LATE)
    assert [name for name in sorted(early) if imports(name, inside=False) & set(LOADED_LATE)] == []


def test_the_command_line_loads_nothing_slow_before_a_command_needs_it():
    code = (
        "import sys, flows.cli, flows.inspecting, flows.doctor, flows.running, flows.scheduling\n"
        f"print(sorted({HEAVY | {'prefect', 'mlflow', 'pandas', 'matplotlib', 'datasets'}!r} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"


def test_the_command_line_imports_no_flow():
    flows = {name for name in MODULES if "@flow" in MODULES[name].read_text(encoding="utf-8")}
    assert len(flows) >= 4
    assert reached("flows.cli", inside=False) & flows == set()


def test_only_the_store_reads_sql():
    readers = {name for name in MODULES if "engage.queries" in imports(name)}
    assert readers == {"engage.store", "engage.drain", "engage.database", "engage.schema", "engage.judging"}
    opened = [
        n for n, path in MODULES.items() if re.search(r"files\([\"']sql[\"']\)", path.read_text(encoding="utf-8"))
    ]
    assert opened == ["engage.queries"]


def test_only_the_store_opens_duckdb():
    assert set(importers("duckdb")) == {
        "engage.store",
        "engage.drain",
        "engage.database",
        "engage.queries",
        "engage.judging",
    }


def drawn_tree(docstring: str) -> dict[str, str | None]:
    """Class to base, as the docstring draws it: four columns a level."""
    found: dict[str, str | None] = {}
    above: list[str] = []
    for line in docstring.splitlines():
        match = re.match(r"^([│├└─ ]*)([A-Z]\w+)(?: {2,}|$)", line)
        if match:
            level = len(match[1]) // 4
            found[match[2]] = above[level - 1] if level else None
            above[level:] = [match[2]]
    return found


def test_the_drawn_error_tree_is_that_of_the_classes():
    classes = {
        name: None if kind.__base__ is builtins.Exception else kind.__base__.__name__
        for name, kind in inspect.getmembers(errors, inspect.isclass)
    }
    assert drawn_tree(errors.__doc__) == classes


def test_a_users_mistake_exits_with_2_and_a_failure_with_1():
    for _, kind in inspect.getmembers(errors, inspect.isclass):
        expected = 2 if issubclass(kind, errors.InputError) else 130 if kind is errors.Interrupted else 1
        assert kind.exit_code == expected


def names_taken(name: str) -> set[str]:
    """Public names that other modules and the tests take from a module."""
    found = set()
    for path in [*MODULES.values(), *(ROOT / "tests").rglob("*.py")]:
        if path != MODULES[name]:
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.ImportFrom) and node.module == name:
                    found |= {alias.name for alias in node.names if f"{name}.{alias.name}" not in MODULES}
    return {public for public in found if not public.startswith("_")}


PUBLIC = [name for name, path in MODULES.items() if "__all__ = " in path.read_text(encoding="utf-8")]


@pytest.mark.parametrize("name", PUBLIC)
def test_a_list_of_public_names_is_whole_and_sorted(name):
    module = importlib.import_module(name)
    assert [public for public in module.__all__ if not hasattr(module, public)] == []
    assert sorted(module.__all__) == sorted(set(module.__all__))
    assert names_taken(name) - set(module.__all__) == set()


def test_no_file_is_longer_than_300_lines():
    paths = [*MODULES.values(), *(ROOT / "sql").rglob("*.sql")]
    assert [path.name for path in paths if len(path.read_text(encoding="utf-8").splitlines()) > 300] == []


def test_no_function_is_longer_than_50_lines():
    long = [
        f"{name}.{node.name}"
        for name, path in MODULES.items()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno - node.lineno >= 50
    ]
    assert long == ["engage.outbox._schema"]  # a table of columns


def test_every_module_and_public_function_says_what_it_is():
    missing = []
    for name, path in MODULES.items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        missing += [] if ast.get_docstring(tree) else [name]
        for node in ast.iter_child_nodes(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and node.name[0] != "_":
                missing += [] if ast.get_docstring(node) else [f"{name}.{node.name}"]
    assert missing == []
