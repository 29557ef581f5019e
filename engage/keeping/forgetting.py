"""Takes scenarios, which stand for persons, out of a home: rows, pairs, pages, MLflow's files and conversations, exports.

A note in the home says what is being forgotten until all of it is done: if the process is killed, the same command finishes it. What
cannot be undone is named: adapters that were trained on them, figures that were averaged over them, copies elsewhere.
"""

import csv
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from engage.errors import ConfigError, StoreError
from engage.files.writing import write_whole
from engage.keeping.at_work import RECORD
from engage.keeping.exports import export_to, exports
from engage.models import CARD_NAME, AdapterCard, adapter_fingerprint
from engage.store import compact, count_rows, cycles_with, delete_rows, scenarios_from
from engage.tracking.removal import TrackedCycle, forget_traces, vacuum
from engage.training import load_pairs, save_pairs
from engage.workspace import Workspace

NOTE = "forgetting.json"
_TEXT = (".md", ".html", ".json", ".jsonl", ".txt", ".csv")
_PAGE = ".html"
_OF_NOBODY = (RECORD, "verdict.json")
"""Files that the next command needs and that tell of no scenario, though a short id may stand in them by chance."""


@dataclass(frozen=True)
class Forgetting:
    """What goes: `rows` by table, `files` (pair sets lose rows, the others are deleted), `exports` by folder are written anew.

    `adapters` were trained on what goes, or begin with one that was; they stay.
    """

    scenario_ids: tuple[str, ...]
    cycles: tuple[str, ...]
    rows: dict[str, int]
    files: tuple[Path, ...]
    exports: dict[str, str]
    adapters: tuple[Path, ...]


def plan_forgetting(workspace: Workspace, source: str | None, scenario: str | None) -> Forgetting:
    """What goes with one scenario, or with all of a source, and what an earlier, killed command left.

    A person of a corpus may stand in files alone (human pairs, tables of experiments). ConfigError if nothing knows the name.
    """
    if (source is None) == (scenario is None):
        raise ConfigError("name what to forget: --scenario ID or --scenario-source TEXT")
    database, wait_s = workspace.home.database, workspace.wait_s
    ids, sources = scenarios_from(database, source, scenario, wait_s)
    begun_ids, begun_cycles = _begun(workspace)
    if scenario and not ids and _named_in_files(workspace, scenario):
        ids = [scenario]
    if not (ids or begun_ids):
        known = f"; the sources are {', '.join(sources)}" if source else ""
        raise ConfigError(f"{source or scenario!r}: no such scenario{' source' if source else ''} in this home{known}")
    ids = sorted({*ids, *begun_ids})
    trained_on = [cycle for cycle in workspace.store.cycle_ids() if _has_pairs_of(workspace, cycle, ids)]
    cycles = list(dict.fromkeys([*cycles_with(database, ids, wait_s), *trained_on[::-1], *begun_cycles]))
    searched = [file for cycle in cycles for file in _files(workspace, cycle)]
    files = [file for file in (*searched, *_of_experiments(workspace, cycles)) if _tells_of(file, ids)]
    trained = {workspace.home.cycle(cycle) for cycle in trained_on}
    return Forgetting(
        tuple(ids),
        tuple(cycles),
        count_rows(database, "scenario_id", ids, wait_s),
        tuple(files),
        {out: cycle for out, cycle in exports(workspace.home).items() if cycle in cycles},
        tuple(_trained_in(workspace, trained)),
    )


def forget(workspace: Workspace, plan: Forgetting) -> int:
    """Delete what the plan names, in files first and in the store last, and the space that it took; returns the number of MLflow's traces.

    StoreError if something is in the way; the same command then goes on.
    """
    home, ids = workspace.home, list(plan.scenario_ids)
    write_whole(home.path / NOTE, json.dumps({"scenarios": ids, "cycles": plan.cycles}))
    for copy in (home.snapshot, *home.path.glob(f"{home.database.name}.schema-*")):  # with what lies beside one
        _delete(copy)
    for file in plan.files:
        if _is_pair_set(file):
            save_pairs([pair for pair in load_pairs(file) if pair.scenario_id not in ids], file)
        else:
            _delete(file)
    for out in plan.exports:
        for table in (*plan.rows, "challenge"):  # not all files: people keep their own beside them
            _delete(Path(out) / f"{table}.parquet")
    traces = forget_traces(workspace.tracker, ids)
    delete_rows(home.database, "scenario_id", ids, workspace.wait_s)
    for out, cycle in plan.exports.items():
        export_to(workspace, cycle, Path(out))
    compact(home.database, workspace.wait_s)
    vacuum(home)
    (home.path / NOTE).unlink()
    workspace.snapshot()
    return traces


def exports_of_pruned(workspace: Workspace, ids: Sequence[str]) -> list[str]:
    """Folders with exports of pruned cycles that tell of these scenarios: they cannot be written anew, and stay."""
    stored = workspace.store.cycle_ids()
    gone = [Path(out) / "scenario.parquet" for out, cycle in exports(workspace.home).items() if cycle not in stored]
    return [str(table.parent) for table in gone if table.is_file() and _tells_of(table, ids)]


def _delete(file: Path) -> None:
    try:
        file.unlink(missing_ok=True)
    except OSError as error:
        raise StoreError(
            f"{file}: cannot be deleted: {error.strerror}; remove it, and give the same command"
        ) from error


def _begun(workspace: Workspace) -> tuple[list[str], list[str]]:
    """Scenarios and cycles of a command that was killed."""
    try:
        note = json.loads((workspace.home.path / NOTE).read_text(encoding="utf-8"))
        return list(note["scenarios"]), list(note["cycles"])
    except FileNotFoundError:
        return [], []
    except (OSError, ValueError, KeyError) as error:
        raise StoreError(
            f"{workspace.home.path / NOTE}: cannot be read; remove it, and forget those scenarios again"
        ) from error


def _files(workspace: Workspace, cycle_id: str) -> Iterator[Path]:
    """The files of a cycle, in its folder and in MLflow's."""
    for folder in (workspace.home.cycle(cycle_id), *TrackedCycle(workspace.tracker, cycle_id).folders()):
        for path in sorted(folder.rglob("*")):
            if (
                path.is_file() and path.name not in _OF_NOBODY and not (path.parent / CARD_NAME).exists()
            ):  # an adapter tells of nobody by name
                yield path


def _of_experiments(workspace: Workspace, cycles: Sequence[str]) -> Iterator[Path]:
    """Files of experiments that read a corpus, in the home and in all other cycles: they name people with whom no search of the cycle talked."""
    home = workspace.home.path
    yield from (path for path in sorted((home / "feedback").rglob("*")) if path.is_file())
    for cycle_id in workspace.store.cycle_ids():
        if cycle_id not in cycles:
            yield from (file for file in _files(workspace, cycle_id) if "people" in file.relative_to(home).parts[2:])


def _named_in_files(workspace: Workspace, scenario_id: str) -> bool:
    """Whether a pair set or a file of an experiment has the scenario where ids stand: a word of a page or of a setting is nobody."""
    if any(_has_pairs_of(workspace, cycle, [scenario_id]) for cycle in workspace.store.cycle_ids()):
        return True
    return any(_has_row_of(file, scenario_id) for file in _of_experiments(workspace, ()))


def _has_row_of(file: Path, scenario_id: str) -> bool:
    """Whether a table's column `scenario_id` has the id, or whether kept scores (JSON Lines that begin with an id) do."""
    if file.suffix == ".csv":
        with file.open(encoding="utf-8", errors="replace", newline="") as table:
            return any(row.get("scenario_id") == scenario_id for row in csv.DictReader(table))
    if file.suffix != ".jsonl":
        return False
    begins = tuple(f"[{json.dumps(scenario_id, ensure_ascii=plain)}," for plain in (True, False))
    return any(line.startswith(begins) for line in file.read_text(encoding="utf-8", errors="replace").split("\n"))


def _has_pairs_of(workspace: Workspace, cycle_id: str, ids: Sequence[str]) -> bool:
    """Whether a pair set of the cycle has pairs of these scenarios: with `pairs.cycles` also of some that only an earlier cycle searched."""
    return any(_is_pair_set(file) and _tells_of(file, ids) for file in _files(workspace, cycle_id))


def _tells_of(file: Path, ids: Sequence[str]) -> bool:
    """Whether a file names one of the scenarios; a page of dialogues (HTML) always counts."""
    if file.suffix == ".parquet":
        import pyarrow.parquet as pq

        table = pq.read_table(file)
        if "scenario_id" in table.column_names:
            return bool(set(table["scenario_id"].to_pylist()) & set(ids))
        return any(f"'{one}" in str(table.to_pylist()) for one in ids)
    if file.suffix not in _TEXT:
        return False
    if file.suffix == _PAGE:
        return True
    text = file.read_text(encoding="utf-8", errors="replace")
    if file.suffix in (".json", ".jsonl"):
        text = "\n".join(_strings(text))
    return any(re.search(rf"(?<![\w-]){re.escape(one)}(?![\w-])", text) for one in ids)


def _strings(text: str) -> Iterator[str]:
    """The keys and texts in JSON, or in JSON Lines, without its numbers: a scenario may be called 7. What is no JSON, as it is."""
    try:
        waiting = [json.loads(text)]
    except ValueError:
        try:
            waiting = [json.loads(line) for line in text.split("\n") if line.strip()]
        except ValueError:
            yield text
            return
    while waiting:
        one = waiting.pop()
        if isinstance(one, str):
            yield one
        elif isinstance(one, dict):
            waiting += [*one, *one.values()]
        elif isinstance(one, list):
            waiting += one


def _is_pair_set(file: Path) -> bool:
    return file.name == "pairs.parquet"


def _trained_in(workspace: Workspace, folders: set[Path]) -> list[Path]:
    """The adapters below these folders, and all adapters of the home that begin with one of them."""
    cards = sorted(workspace.home.cycle("any").parent.rglob(CARD_NAME))
    found = [card.parent for card in cards if any(card.is_relative_to(folder) for folder in folders)]
    marks = {adapter_fingerprint(folder) for folder in found}
    grown = True
    while grown:
        more = [
            card.parent for card in cards if card.parent not in found and AdapterCard.read(card.parent).parent in marks
        ]
        marks |= {adapter_fingerprint(folder) for folder in more}
        found += more
        grown = bool(more)
    return found
