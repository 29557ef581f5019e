"""`make fuzz`: mutated inputs; each must be accepted or refused in one sentence.

    python tests/fuzz/fuzz.py --inputs 10000 --seed 1 --out found
    python tests/fuzz/fuzz.py --seed 1 --only esconv/417

The inputs are scenario files, both corpora, profiles, `--set`, outbox files and server answers, read in this process. An input fails
if it takes longer than 30 s, or is neither accepted nor refused by an EngageError of one line of fewer than 600 characters. Failing
inputs are written to the folder with kind, number and seed, and the exit code is 1.
"""

import argparse
import asyncio
import json
import logging
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
for place in (ROOT, ROOT / "tests"):
    sys.path.insert(0, str(place))

from chat_server import ChatServer, answer  # noqa: E402
from small_stores import hand_dialogue, hand_tree, support_scenario  # noqa: E402

from engage.config import setting_names  # noqa: E402
from engage.engines.base import Message, Prompt, Sampling, Side  # noqa: E402
from engage.engines.openai.config import OpenAIConfig, ServerConfig  # noqa: E402
from engage.engines.openai.engine import OpenAIEngine  # noqa: E402
from engage.errors import EngageError  # noqa: E402
from engage.models import ModelsConfig  # noqa: E402
from engage.scenario import read_scenarios  # noqa: E402
from engage.store import Outbox, PairConfig, TrajectoryStore  # noqa: E402
from engage.store.outbox import Kind, _schema  # noqa: E402
from flows.cli.profiles import PROFILES, load_config  # noqa: E402

FIXTURES = ROOT / "tests" / "fixtures"
LONGEST_S, LONGEST_SENTENCE = 30, 600
NASTY: list[Any] = [
    None, True, False, 0, -1, 2.0, 1e308, float("nan"), float("inf"), 10**30, -(2**63), 2**63, "", " ", "0", "NaN", "1e400", "null",
    [], {}, [[]], [None], {"": None}, "\0", "a\nb", "\ud800", "\u202e", "\x1b[31m", "😀", "<|im_end|>", "x" * 5_000, "é" * 300,
    "2026-01-01", "-0", "1_000", "0x10", "$", "%s", "../../x", "'; drop table tree; --", {"a": {"a": {"a": []}}},
]  # fmt: skip
BYTES = [
    b"\0",
    b"\xff",
    b"\xef\xbb\xbf",
    b"\r",
    b"\n\n",
    b'"',
    b",",
    b"{",
    b"}",
    b"[" * 2_000,
    b"9" * 5_000,
    b"\\u0000",
    b"\\ud800",
    b"nan",
]


class Refused(Exception):
    """A failing input: neither accepted nor refused in one sentence."""


def judged(work: Callable[[], Any]) -> str:
    """`taken` or `refused`; raises Refused for anything else."""
    try:
        work()
    except EngageError as error:
        sentence = str(error)
        if "\n" in sentence or len(sentence) >= LONGEST_SENTENCE or not sentence.strip():
            raise Refused(f"{type(error).__name__} of {len(sentence)} characters: {sentence[:900]!r}") from error
        return "refused"
    return "taken"


def mutated_bytes(raw: bytes, draw: random.Random) -> bytes:
    """One to four cuts, copies, insertions or flips."""
    for _ in range(draw.randint(1, 4)):
        start = draw.randint(0, len(raw))
        end = min(len(raw), start + draw.choice([1, 2, 8, 40, 400]))
        before, part, after = raw[:start], raw[start:end], raw[end:]
        flipped = bytes(byte ^ (1 << draw.randint(0, 7)) for byte in part)
        put = draw.choice(BYTES)
        raw = draw.choice(
            [
                before + after,
                before + part + part + after,
                before + put + part + after,
                before + put + after,
                before + flipped + after,
                before,
            ]
        )
    return raw


def mutated_value(value: Any, draw: random.Random) -> Any:
    """A JSON value with one to three of its parts replaced, removed, doubled or wrapped."""
    value = json.loads(json.dumps(value))
    for _ in range(draw.randint(1, 3)):
        places = list(_places(value))
        if not places:
            return draw.choice(NASTY)
        holder, key = draw.choice(places)
        act = draw.randint(0, 5)
        if act == 0:
            del holder[key]
        elif act == 1 and isinstance(holder, list):
            holder.insert(key, holder[key])
        elif act == 2 and isinstance(holder, dict):
            holder[str(draw.choice(["", "x" * 300, "a\nb", "id", "text", "role"]))] = holder.pop(key)
        elif act == 3:
            holder[key] = [holder[key]]
        else:
            holder[key] = draw.choice(NASTY)
    return value


def _places(value: Any):
    for key in list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else []:
        yield value, key
        yield from _places(value[key])


def dumped(value: Any) -> bytes:
    """JSON with NaN and infinity, as Python and many servers write it."""
    return json.dumps(value).encode("utf-8", "surrogatepass")


class Fuzz:
    """The kinds of input; each method makes one from a generator, writes it to `self.input`, and tries it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.input = folder, b""
        self.scenarios = (FIXTURES / "own_scenarios.jsonl").read_text().splitlines()[:3] + (
            (ROOT / "engage" / "data" / "emotional_support.jsonl").read_text().splitlines()[:3]
        )
        self.esconv_records = json.loads((FIXTURES / "esconv_upstream" / "ESConv.json").read_text())
        self.tables = {path.name: path.read_bytes() for path in (FIXTURES / "p4g" / "data" / "FullData").glob("*.csv")}
        self.profiles = [path.read_bytes() for path in sorted(PROFILES.glob("*.toml"))]
        self.names = setting_names()
        self.chat, self.status = ChatServer(), 200
        self.chat.behave = self._answer
        self.scenario = support_scenario("s1")
        self._stores = 0

    def scenario_file(self, draw: random.Random) -> str:
        """A file of JSON Lines."""
        lines = [line.encode() for line in draw.sample(self.scenarios, 3)]
        if draw.random() < 0.7:
            lines[1] = dumped(mutated_value(json.loads(lines[1]), draw))
            self.input = b"\n".join(lines)
        else:
            self.input = mutated_bytes(b"\n".join(lines), draw)
        path = self._write("fuzzed.jsonl")

        def read() -> None:
            for problem in read_scenarios(path).problems:
                if "\n" in problem or len(problem) >= LONGEST_SENTENCE:
                    raise Refused(f"a problem of {len(problem)} characters: {problem[:900]!r}")

        return judged(read)

    def esconv(self, draw: random.Random) -> str:
        """ESConv's JSON."""
        from engage.corpora.esconv import read_esconv

        if draw.random() < 0.75:
            self.input = dumped(mutated_value(self.esconv_records, draw))
        else:
            self.input = mutated_bytes(dumped(self.esconv_records), draw)
        path = self._write("ESConv.json")
        return judged(lambda: self._imported(read_esconv, path))

    def p4g(self, draw: random.Random) -> str:
        """PersuasionForGood's two tables; one of them is mutated."""
        from engage.corpora.p4g import read_p4g

        name = draw.choice(sorted(self.tables))
        for other, raw in self.tables.items():
            (self.folder / other).write_bytes(raw)
        if draw.random() < 0.6:
            rows = [line.split(b",") for line in self.tables[name].splitlines()]
            row = draw.choice(rows)
            row[draw.randrange(len(row))] = str(draw.choice(NASTY)).encode("utf-8", "surrogatepass")
            self.input = b"\n".join(b",".join(row) for row in rows)
        else:
            self.input = mutated_bytes(self.tables[name], draw)
        path = self._write(name)
        return judged(lambda: self._imported(read_p4g, path.parent / "full_dialog.csv"))

    def _imported(self, read: Callable[[Path], Any], path: Path) -> None:
        from engage.corpora import report, save_scenarios

        corpus = read(path)
        report(corpus)
        save_scenarios(corpus, self.folder / "imported.jsonl")

    def profile(self, draw: random.Random) -> str:
        """A TOML file."""
        raw = draw.choice(self.profiles)
        if draw.random() < 0.5:
            self.input = mutated_bytes(raw, draw)
        else:
            lines = [self._setting(draw).encode("utf-8", "surrogatepass") for _ in range(draw.randint(1, 4))]
            self.input = b"\n".join(lines)
        path = self._write("fuzzed.toml")
        return judged(lambda: load_config(str(path)))

    def override(self, draw: random.Random) -> str:
        """`--set`."""
        chosen = [self._setting(draw) for _ in range(draw.randint(1, 3))]
        if draw.random() < 0.3:
            raw = mutated_bytes(chosen[0].encode("utf-8", "surrogatepass"), draw)
            chosen[0] = raw.decode("utf-8", "surrogateescape")
        self.input = dumped(chosen)
        return judged(lambda: load_config("laptop", chosen))

    def _setting(self, draw: random.Random) -> str:
        name = draw.choice(self.names)
        if draw.random() < 0.2:
            name = draw.choice(
                ["", ".", "a..b", name + ".x", name.rpartition(".")[0], "x" * 3_000, "é.b", name.upper()]
            )
        value = draw.choice(NASTY)
        text = draw.choice(
            [str(value), json.dumps(value), "[" * draw.choice([3, 400, 30_000]), "'" * 3, "{a.b.c=1}", "1e400", "0o9"]
        )
        return f"{name}={text}"

    def outbox(self, draw: random.Random) -> str:
        """Five files beside a good one: the good one is stored, and the store stays readable."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        self._stores += 1
        folder = self.folder / f"store{self._stores}"
        store, outbox = TrajectoryStore(folder / "engage.duckdb"), Outbox(folder / "outbox")
        store.begin_cycle("c1", {})
        store.add_scenarios([self.scenario])
        good = hand_tree(self.scenario, {"A": [[0.1], [0.9]], "B": [[0.5], [0.4]]})
        outbox.put_tree(good)
        outbox.put_dialogues([hand_dialogue(self.scenario, 0.5)])
        first = {path: path.read_bytes() for path in outbox.pending()}
        for number in range(5):
            path, raw = draw.choice(sorted(first.items()))
            kind = Kind.TREE if ".tree." in path.name else Kind.DIALOGUES
            if draw.random() < 0.5:
                made = mutated_bytes(raw, draw)
            else:
                rows = pq.read_table(pa.BufferReader(raw)).to_pylist()
                rows[0]["tree_id" if kind is Kind.TREE else "trajectory_id"] = f"c1/x{number}"
                try:
                    table = pa.Table.from_pylist(mutated_value(rows, draw), schema=_schema(kind))
                except Exception:
                    continue  # nothing that a file of these columns can hold
                sink = pa.BufferOutputStream()
                pq.write_table(table, sink)
                made = sink.getvalue().to_pybytes()
            name = draw.choice(["x", "é" * 100, "a b", "-", "%s", "a\nb", "y" * 200])
            (outbox.folder / f"{name}{number}.{kind}.parquet").write_bytes(made)
            self.input = made

        def work() -> None:
            store.drain(outbox)
            if "c1/s1" not in store.stored_tree_ids("c1"):
                raise Refused("the good tree is not stored")
            store.score_pairs("c1", PairConfig())
            for name in ("reward_by_domain", "pairs", "sibling_values", "flaws"):
                store.rows(name, {"cycle": "c1"})

        try:
            if judged(work) == "refused":
                raise Refused("an odd file stops the others")
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return "taken"

    def server_answer(self, draw: random.Random) -> str:
        """A server's answers to a chat completion and to a scoring, through the engine."""
        self.status = draw.choice([200] * 8 + [400, 429, 500])
        base = answer({"model": "m", "n": draw.choice([1, 2]), "logprobs": True, "top_logprobs": 20})
        if draw.random() < 0.8:
            self.input = dumped(
                mutated_value(draw.choice([base, base, {"error": {"message": "no", "code": 400}}]), draw)
            )
        else:
            self.input = mutated_bytes(dumped(base), draw)
        scored = draw.random() < 0.5
        return judged(lambda: self.ask(scored))

    def ask(self, scored: bool) -> None:
        """One request of a new engine to a server that answers with the input."""
        settings = OpenAIConfig(policy=ServerConfig(base_urls=(self.chat.url,), model="m"), timeout_s=5.0, retry_s=0.0)
        engine = OpenAIEngine(ModelsConfig(policy_adapter="bare", simulator_adapter="bare"), settings)
        prompt = Prompt("s1/r", Side.POLICY, (Message("user", "Hello"),))
        try:
            if scored:
                asyncio.run(engine.score(prompt, ["1", "2", "3"]))
            else:
                asyncio.run(engine.complete(prompt, Sampling(max_tokens=5), [1, 2]))
        finally:
            engine.close()

    def _answer(self, handler: Any, _body: dict[str, Any], _before: int) -> None:
        handler.send_response(self.status)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(self.input)))
        handler.end_headers()
        handler.wfile.write(self.input)

    def _write(self, name: str) -> Path:
        path = self.folder / name
        path.write_bytes(self.input)
        return path


KINDS = {
    "scenarios": Fuzz.scenario_file, "esconv": Fuzz.esconv, "p4g": Fuzz.p4g, "profile": Fuzz.profile, "set": Fuzz.override,
    "outbox": Fuzz.outbox, "answer": Fuzz.server_answer,
}  # fmt: skip


def hung(*_: Any) -> None:
    """Signal handler of the alarm."""
    raise Refused(f"not ended within {LONGEST_S} s")


def attempt(fuzz: Fuzz, kind: str, number: int, seed: int) -> tuple[str, str | None]:
    """The outcome of one input, and what was wrong."""
    signal.alarm(LONGEST_S)
    try:
        return KINDS[kind](fuzz, random.Random(f"{seed}/{kind}/{number}")), None
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise
        return "wrong", "".join(traceback.format_exception(error))
    finally:
        signal.alarm(0)


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(description="try mutated inputs: each is taken, or refused in one sentence")
    parser.add_argument("--inputs", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("fuzz-found"))
    parser.add_argument("--only", help="kind/number, to try one again")
    asked = parser.parse_args()
    logging.disable(logging.WARNING)
    signal.signal(signal.SIGALRM, hung)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    folder = Path(tempfile.mkdtemp(prefix="engage-fuzz-"))
    fuzz, counts, began, wrong = Fuzz(folder), Counter[str](), time.monotonic(), 0
    kinds = list(KINDS)
    inputs = [(kinds[index % len(kinds)], index // len(kinds)) for index in range(asked.inputs)]
    if asked.only:
        kind, _, number = asked.only.partition("/")
        inputs = [(kind, int(number))]
    try:
        for index, (kind, number) in enumerate(inputs, start=1):
            outcome, problem = attempt(fuzz, kind, number, asked.seed)
            counts[f"{kind} {outcome}"] += 1
            if problem:
                wrong += 1
                asked.out.mkdir(parents=True, exist_ok=True)
                name = f"{kind}-{number}-seed{asked.seed}"
                (asked.out / f"{name}.input").write_bytes(fuzz.input)
                (asked.out / f"{name}.txt").write_text(problem, errors="backslashreplace")
            if index % 500 == 0:
                print(f"{time.monotonic() - began:6.0f} s  {index} of {len(inputs)} inputs, {wrong} wrong", flush=True)
    finally:
        fuzz.chat.stop()
        shutil.rmtree(folder, ignore_errors=True)
        print(f"{sum(counts.values())} tried, {wrong} wrong", flush=True)
    print(f"seed {asked.seed}: " + ", ".join(f"{name} {count}" for name, count in sorted(counts.items())))
    print(f"{len(inputs)} inputs, {wrong} wrong" + (f"; see {asked.out}" if wrong else ""))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
