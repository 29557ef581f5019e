"""Tonight's challenges: which challenger of an earlier night talks again, and what becomes of each once its dialogues are compared."""

from dataclasses import replace

from engage.evaluation.challenge import fates, kept_challenge, weigh
from engage.evaluation.cycle_record import retell_verdict
from engage.evaluation.held_out import HeldOutStore, evaluation_seeds
from engage.evaluation.held_out_config import HeldOutConfig
from engage.evaluation.judgement import Incumbent, Judgement, failed_checks
from engage.evaluation.promoting import settle
from engage.evaluation.simulators import members
from engage.progress import tell
from engage.store import Challenge, Challenges, Cycle, State
from engage.workspace import Workspace


def kept_challenger(
    workspace: Workspace, cycle: Cycle, own: str | None, simulator: str, ground: str, config: HeldOutConfig
) -> Challenge | None:
    """The challenger of an earlier night that talks tonight as well, None if there is none; one whose folder is gone is dropped.

    `own` labels tonight's candidate, and `simulator` the one that decides.
    """
    challenges, begun = Challenges(workspace.store), workspace.store.cycle_ids()
    earlier = {*begun[begun.index(cycle.cycle_id) + 1 :]}  # a night that is judged again waits for no later one
    known = [one for one in challenges.all() if one.cycle_id in earlier]
    found = kept_challenge(known, Incumbent.of(cycle).label, simulator, ground, config.promotion == "auto", own)
    if found is None:
        return None
    folder = workspace.home.find(str(found.adapter))
    if not folder.is_dir():
        challenges.settle(found.number, State.DROPPED, f"its folder {folder} is gone")
        tell(f"candidate {found.number} is dropped: its folder {folder} is gone")
        return None
    counted = challenges.batches(found.number)
    seeds = evaluation_seeds(cycle, config.dialogues)
    if all(counted.get(seed, cycle.cycle_id) != cycle.cycle_id for seed in seeds):
        tell(f"candidate {found.number} does not talk: this cycle has the seeds of an earlier one (seed={cycle.seed})")
        return None
    return replace(found, adapter=str(folder))


def decided(
    workspace: Workspace,
    held: HeldOutStore,
    found: Judgement,
    adapter: str | None,
    kept: Challenge | None,
    simulator: str,
    ground: str,
    config: HeldOutConfig,
) -> Judgement:
    """The judgement with its verdict: the challenges of tonight's candidate and of the kept one are weighed, promoted, kept or dropped.

    `adapter` is the candidate's folder, `simulator` the one that decides.
    """
    challenges, contenders, failures = Challenges(workspace.store), [], tuple[str, ...]()
    if adapter and found.label:
        mine = weigh(challenges, held, found.label, adapter, simulator, ground, config.alpha)
        contenders.append((mine, mine.verdict(found.failures)))
    if kept is not None:
        theirs = weigh(challenges, held, kept.policy, str(kept.adapter), simulator, ground, config.alpha)
        sides = (held.replies(label, members(simulator)) for label in (found.incumbent.label, kept.policy))
        failures = failed_checks(*sides)
        contenders.append((theirs, theirs.verdict(failures)))
    notes = []
    for fate in fates(contenders, config.promotion == "manual"):
        done = settle(workspace, held.cycle, fate)
        if done.standing.challenge.policy == found.label:
            found = replace(found, verdict=done.verdict)
        else:
            number = done.standing.challenge.number
            retell_verdict(workspace, done.standing.challenge, done.verdict, failures)
            notes.append(f"candidate {number}, of cycle {done.standing.challenge.cycle_id}: {done.verdict.reason}")
    return replace(found, notes=(*notes, *found.notes))
