"""The rules of the rooms: directions of imports, late loading, who reads SQL, the drawn error tree, sizes."""

import ast
import builtins
import importlib
import importlib.metadata
import inspect
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import engage
from engage import errors

ROOT = Path(__file__).parents[2]
ROOMS = ("engage", "tasks", "flows")
HEAVY = {"torch", "transformers", "trl", "peft", "vllm", "openai"}
LOADED_LATE = {
    "engage.engines.embedded.attention": "the decoder, and whoever checks a model's family before a night",
    "engage.engines.embedded.batch": "the decoder imports it",
    "engage.engines.embedded.prefill": "the decoder imports it",
    "engage.engines.embedded.prefix_cache": "the decoder imports it",
    "engage.engines.embedded.sampling": "the decoder imports it",
    "engage.engines.embedded.decoder": "all of it works on tensors; the transformers engine imports it when it opens a model",
    "engage.engines.openai.adapters": "it asks through the client; the server groups import it",
    "engage.engines.openai.checks": "it asks through the client; the server groups import it",
    "engage.engines.openai.clients": "the client itself; the server groups import it",
    "engage.engines.openai.probe": "it asks through the server groups; the openai engine imports it",
    "engage.engines.openai.server": "all of it works with the client; the openai engine imports it",
    "engage.engines.openai.engine": "the registry of engines imports it when it opens one",
}
"""Modules that may import a heavy library at their top, because nobody imports them at the top."""
ORDER = (
    "errors", "masking", "visible", "seeds", "files", "stopping", "progress", "processes", "webhook", "stats", "dialogue", "survey", "domains", "scenario", "data", "corpora", "models",
    "engines", "simulation", "pages", "search", "store", "training", "home", "tracking", "workspace", "keeping", "evaluation", "experiments", "bench", "settings",
    "profiles", "config", "grid",
)  # fmt: skip
"""The rooms of the method: each imports only rooms that stand before it."""


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))}


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imported(tree: ast.AST, *, inside: bool, within: bool = False) -> Iterator[str]:
    """Dotted names of imported modules and objects; with `inside`, imports within functions too."""
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
    for target in imported(parsed(MODULES[name]), inside=inside):
        first = target.split(".")[0]
        if first not in ROOMS:
            found.add(first)
        else:
            found.add(target if target in MODULES else target.rpartition(".")[0])
    return frozenset(found - {name})


def reached(name: str, inside: bool = True) -> set[str]:
    """The project's modules that a module imports, directly or indirectly."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        new = {module for module in imports(waiting.pop(), inside) if module in MODULES} - found
        found |= new
        waiting += new
    return found


def importers(library: str) -> list[str]:
    return [name for name in MODULES if library in imports(name)]


@pytest.mark.slow
def test_imports_run_from_flows_to_tasks_to_engage():
    wrong = {
        (name, target)
        for name in MODULES
        for target in imports(name)
        if target.split(".")[0] in ROOMS and ROOMS.index(target.split(".")[0]) > ROOMS.index(name.split(".")[0])
    }
    assert wrong == set()


@pytest.mark.slow
def test_the_method_knows_no_prefect():
    assert [name for name in importers("prefect") if name.startswith("engage")] == []


def test_the_surroundings_of_a_task_are_built_in_one_place():
    built = re.compile(r"\b(Home\.from_env|Tracker|TrajectoryStore|Outbox)\(")
    tasks = [name for name in MODULES if name.startswith("tasks.")]
    assert [name for name in tasks if built.search(MODULES[name].read_text(encoding="utf-8"))] == []


def decorators(node: ast.FunctionDef) -> set[str]:
    return {ast.unparse(decorator).partition("(")[0] for decorator in node.decorator_list}


def test_tasks_and_flows_hand_each_other_results_of_a_named_type():
    returned = {
        f"{name}.{node.name}": ast.unparse(node.returns)
        for name, path in MODULES.items()
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.FunctionDef) and decorators(node) & {"task", "flow"}
    }
    assert len(returned) > 25
    assert {name: kind for name, kind in returned.items() if "Any" in kind} == {}


@pytest.mark.slow
def test_every_task_is_tried_again_where_that_may_help():
    calls = {
        f"{name}.{node.name}": {keyword.arg for keyword in decorator.keywords}
        for name, path in MODULES.items()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef)
        for decorator in node.decorator_list
        if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "task"
    }
    assert len(calls) > 25
    wanted = {"retries", "retry_delay_seconds", "retry_condition_fn"}
    assert {name: given for name, given in calls.items() if not wanted <= given} == {}


def test_only_the_tracking_imports_mlflow():
    users = importers("mlflow")
    assert "engage.tracking.tracker" in users
    assert [name for name in users if not name.startswith("engage.tracking.")] == []


def test_no_module_of_the_method_reaches_itself():
    assert [name for name in MODULES if name.startswith("engage") and name in reached(name)] == []


def room_of(name: str) -> str:
    return name.split(".")[1]


def test_rooms_import_only_rooms_before_them():
    method = [name for name in MODULES if name.startswith("engage.")]
    assert {room_of(name) for name in method} <= set(ORDER)
    wrong = {
        (name, target)
        for name in method
        for target in imports(name)
        if target.startswith("engage.") and ORDER.index(room_of(target)) > ORDER.index(room_of(name))
    }
    assert wrong == set()


def test_a_night_reaches_no_experiment_and_no_bench():
    rooms = ("engage.experiments", "engage.bench", "tasks.experiments")
    assert [name for name in sorted(reached("flows.nightly")) if name.startswith(rooms)] == []


def test_within_the_method_only_the_configuration_knows_a_cycles_configuration():
    named = [n for n, path in MODULES.items() if re.search(r"\bCycleConfig\b", path.read_text(encoding="utf-8"))]
    assert [name for name in named if name.startswith("engage.")] == ["engage.config"]


SHIPPED = re.compile(r"emotional_support|(?<![a-z])persuasion(?!forgood)", re.IGNORECASE)
MAY_NAME_DOMAINS = ("engage.domains.", "engage.corpora", "engage.data", "engage.scenario")


def spoken_of(path: Path) -> list[str]:
    """Names and strings in the code that name a shipped domain; docstrings do not count."""
    tree = parsed(path)
    said = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    texts = [
        node.value if isinstance(node, ast.Constant) else node.id if isinstance(node, ast.Name) else node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Name | ast.Attribute)
        or (isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in said)
    ]
    return [text for text in texts if isinstance(text, str) and SHIPPED.search(text)]


def test_the_shipped_domains_are_named_where_domains_lie_and_nowhere_else():
    method = [name for name in MODULES if name.startswith("engage.") and not name.startswith(MAY_NAME_DOMAINS)]
    assert {name: spoken_of(MODULES[name]) for name in method if spoken_of(MODULES[name])} == {}


def test_heavy_libraries_are_imported_only_inside_functions():
    assert {name for name in MODULES if imports(name, inside=False) & HEAVY} <= set(LOADED_LATE)


def test_modules_that_load_heavy_libraries_are_themselves_imported_only_inside_functions():
    early = set(MODULES) - set(LOADED_LATE)
    assert [name for name in sorted(early) if imports(name, inside=False) & set(LOADED_LATE)] == []


@pytest.mark.slow
def test_the_command_line_loads_nothing_slow_before_a_command_needs_it():
    code = (
        "import sys, flows.cli, flows.cli.inspecting, flows.cli.doctor, flows.cli.running, flows.cli.scheduling\n"
        f"print(sorted({HEAVY | {'prefect', 'mlflow', 'pandas', 'matplotlib', 'datasets'}!r} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"


def test_the_command_line_imports_no_flow():
    flows = {name for name in MODULES if "@flow" in MODULES[name].read_text(encoding="utf-8")}
    assert len(flows) >= 4
    assert reached("flows.cli", inside=False) & flows == set()


def test_only_the_store_reads_sql_and_opens_duckdb():
    opened = [
        n for n, path in MODULES.items() if re.search(r"files\([\"']sql[\"']\)", path.read_text(encoding="utf-8"))
    ]
    users = {*opened, *importers("duckdb")}
    assert users and [name for name in sorted(users) if not name.startswith("engage.store.")] == []


def drawn_tree(docstring: str) -> dict[str, str | None]:
    """By class: its base, as drawn in the docstring (four columns per level)."""
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


@cache
def from_imports(path: Path) -> list[ast.ImportFrom]:
    return [node for node in ast.walk(parsed(path)) if isinstance(node, ast.ImportFrom)]


def names_taken(name: str) -> set[str]:
    """Public names that other modules and the tests take from a module."""
    found = set()
    for path in [*MODULES.values(), *(ROOT / "tests").rglob("*.py")]:
        if path != MODULES[name]:
            for node in from_imports(path):
                if node.module == name:
                    found |= {alias.name for alias in node.names if f"{name}.{alias.name}" not in MODULES}
    return {public for public in found if not public.startswith("_")}


PUBLIC = [name for name, path in MODULES.items() if "__all__ = " in path.read_text(encoding="utf-8")]


@pytest.mark.slow
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
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno - node.lineno >= 50
    ]
    assert long == ["engage.store.outbox._schema"]  # a table of columns


def test_every_module_and_public_function_says_what_it_is():
    missing = []
    for name, path in MODULES.items():
        tree = parsed(path)
        missing += [] if ast.get_docstring(tree) else [name]
        for node in ast.iter_child_nodes(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and node.name[0] != "_":
                missing += [] if ast.get_docstring(node) else [f"{name}.{node.name}"]
    assert missing == []


@pytest.mark.slow
def test_the_public_names_are_all_there_and_nothing_is_loaded_before_it_is_used():
    code = (
        "import sys, engage\n"
        "early = sorted(name for name in sys.modules if name.startswith('engage.'))\n"
        "missing = [name for name in engage.__all__ if getattr(engage, name, None) is None]\n"
        "print(early, missing, len(set(engage.__all__)), engage.__version__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.split() == ["[]", "[]", str(len(engage.__all__)), importlib.metadata.version("engage")]
    assert set(engage.__all__) == set(engage._ROOM_OF)


def test_only_major_versions_that_are_run_are_promised():
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    promised = [*wanted["dependencies"], *wanted["optional-dependencies"]["dev"]]
    lowest = dict(re.findall(r"^([a-z-]+)>=(\d+)", "\n".join(promised), re.MULTILINE))
    run = dict(re.findall(r"^([a-z-]+)==(\d+)", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE))
    assert len(lowest) > 20
    assert lowest == {name: run[name] for name in lowest}


def test_a_library_user_may_write_one_name_for_a_list_and_a_text_for_a_path(tmp_path):
    shipped = engage.load_scenarios("persuasion")
    assert [one.scenario_id for one in shipped] == [one.scenario_id for one in engage.load_scenarios(["persuasion"])]
    path = tmp_path / "one.jsonl"
    path.write_text(shipped[0].as_json() + "\n", encoding="utf-8")
    assert engage.read_scenarios(str(path)).scenarios == engage.read_scenarios(path).scenarios
    store = engage.TrajectoryStore(str(tmp_path / "x.duckdb"))
    store.begin_cycle("c1", {})
    assert store.drain(engage.Outbox(str(tmp_path / "outbox"))) == 0
    profile = ROOT / "deployments" / "profiles" / "laptop.toml"
    assert engage.load_config(profile, "seed=3") == engage.load_config(profile, ["seed=3"])


@pytest.mark.parametrize("part", ["unit", "integration"])
def test_no_two_test_files_that_run_together_have_one_name(part):
    apart = ROOT / "tests" / "integration"
    files = [one for one in (ROOT / "tests").rglob("test_*.py") if one.is_relative_to(apart) is (part == "integration")]
    names = [one.name for one in files]
    assert names and {name for name in names if names.count(name) > 1} == set()
