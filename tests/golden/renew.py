"""Write the golden trees anew."""

import sys
from pathlib import Path

here = Path(__file__).parent
sys.path.insert(0, str(here.parent))

from scripted_scenarios import as_json, searched  # noqa: E402

from engage.search import SearchConfig  # noqa: E402
from engage.simulation import DialogueConfig, SpeechConfig  # noqa: E402

for name in ("two_exchanges", "wide_first_round", "pattern_reader"):
    search = SearchConfig(num_simulations=6, round_size={"wide_first_round": 6}.get(name, 2))
    speech = SpeechConfig(reader="pattern" if name == "pattern_reader" else "expected")
    record = searched(search=search, dialogue=DialogueConfig(max_exchanges=2, speech=speech))
    (here / f"{name}.json").write_text(as_json(record) + "\n")
