"""`engage chat`: a person talks with an assistant, plays one with a simulated user, or watches the two. Nothing is trained here."""

import asyncio
import secrets
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from random import Random

from rich.console import Console
from rich.text import Text

from engage.config import CycleConfig, load_cycle_scenarios
from engage.dialogue import Reaction, Role, Trajectory
from engage.domains.rules.crisis import CRISIS
from engage.engines import close_engines, shared_engine
from engage.engines.recording import RecordingEngine
from engage.errors import ConfigError, StoreError
from engage.evaluation import SEARCH_SIMULATOR
from engage.home import Home
from engage.scenario import Scenario
from engage.search import CHATS, DialogueRecord
from engage.simulation import Episode, Policy, begin_episode, conclude, exchanges_held, play_out
from engage.store import Outbox, TrajectoryStore, trajectory_id
from flows.cli.dialogues import answered, print_condition
from flows.cli.policies import named_policy
from flows.cli.running import quieten
from flows.cli.showing import visible
from flows.cli.speakers import END, Leaves, PersonAsAssistant, PersonAsUser, Rivals, Screen, ShownPolicy, ShownUser

LEFT = "left"
"""End reason of a talk that the person ended."""
SEATS = {"user": Role.USER, "assistant": Role.ASSISTANT, "watch": None}


@dataclass(frozen=True)
class Wish:
    """What the command line asks for: who plays whom, and whether it is kept."""

    seat: str = "user"
    policy: str = "base"
    against: str | None = None
    scenario: str | None = None
    domain: str | None = None
    save: bool = False

    def check(self) -> None:
        """Raise ConfigError for wishes that exclude each other."""
        if self.seat not in SEATS:
            raise ConfigError(f"--as {self.seat!r:.40}: write {', '.join(SEATS)}")
        if self.scenario and self.domain:
            raise ConfigError("--scenario and --domain: give one of them")
        if self.against and self.seat == "assistant":
            raise ConfigError("--against compares two assistants, and --as assistant makes you the only one")
        if self.save and self.seat == "watch":
            raise ConfigError("--save keeps what a person said; talk with --as user or --as assistant")


def hold_chat(console: Console, config: CycleConfig, wish: Wish) -> None:
    """Hold one conversation and say how it ended; with `save` it is kept, however it ends."""
    quieten(False)
    seed = secrets.randbits(63) if config.seed is None else config.seed
    scenario = pick_scenario(load_cycle_scenarios(config.scenarios), wish, seed)
    names = [] if wish.seat == "assistant" else [wish.policy, *([wish.against] if wish.against else [])]
    policies = dict(named_policy(config, name) for name in names)
    if wish.against and len(policies) < 2:
        raise ConfigError(f"--against {wish.against!r:.80} is the same assistant as --policy; name another one")
    engine = RecordingEngine(shared_engine(config.engine))
    first = next(iter(policies.values()), None)
    _, user = config.adapters(first).user(seed, scenario.scenario_id)
    episode = begin_episode(engine, scenario, config.dialogue, seed, first, user)
    screen = Screen(console, episode.domain, SEATS[wish.seat], scenario.opening)
    cast = _cast(episode, screen, wish, policies)
    labels = (" or ".join(policies), "human") if wish.seat == "user" else ("human", SEARCH_SIMULATOR)
    keep = _keeper(console, scenario, labels, engine) if wish.save else lambda _: None
    _introduce(screen, cast, wish, policies)
    try:
        trajectory = asyncio.run(_hold(cast, screen))
    except EOFError:
        console.print("\nthe input has ended, and with it the conversation")
        trajectory = _broken_off(cast, screen)
    except BaseException:  # a broken model, Ctrl-C: what was said until then is kept all the same
        keep(_broken_off(cast, screen))
        raise
    finally:
        close_engines()
    _print_end(screen, cast, trajectory)
    keep(trajectory)


def pick_scenario(scenarios: Sequence[Scenario], wish: Wish, seed: int) -> Scenario:
    """The scenario with this id or the only one whose id begins so, else one at random, of the wished domain if there is one."""
    if wish.scenario:
        exact = [one for one in scenarios if one.scenario_id == wish.scenario]
        found = exact or [one for one in scenarios if one.scenario_id.startswith(wish.scenario)]
        if len(found) != 1:
            shown = ", ".join(one.scenario_id for one in (found or scenarios)[:5])
            many = f"{len(found)} scenarios begin" if found else "no scenario begins"
            raise ConfigError(f"--scenario {wish.scenario!r:.80}: {many} so; there are {shown}, …")
        return found[0]
    found = [one for one in scenarios if wish.domain in (None, one.domain)]
    if not found:
        known = ", ".join(sorted({one.domain for one in scenarios}))
        raise ConfigError(f"--domain {wish.domain!r:.80}: the scenarios are of {known}")
    return Random(seed).choice(sorted(found, key=lambda one: one.scenario_id))


def _cast(episode: Episode, screen: Screen, wish: Wish, policies: dict[str, str | None]) -> Episode:
    """The episode with the person and the shown models in the places of its speakers."""
    policy: Policy = (
        PersonAsAssistant(episode.policy, screen) if wish.seat == "assistant" else ShownPolicy(episode.policy, screen)
    )
    if len(policies) > 1:
        first = episode.policy
        made = {name: Policy(first.engine, first.domain, first.speech, adapter) for name, adapter in policies.items()}
        policy = Rivals(made, screen)
    user = PersonAsUser(episode.user, screen) if wish.seat == "user" else ShownUser(episode.user, screen)
    return replace(episode, policy=policy, user=user)


def _introduce(screen: Screen, episode: Episode, wish: Wish, policies: dict[str, str | None]) -> None:
    """Say who talks with whom, and print the opening."""
    console = screen.console
    condition, domain = episode.scenario.user_condition.model_dump(exclude_none=True), episode.domain
    talks = f"{' and '.join(policies) or 'you'} as the {domain.assistant_name}"
    console.print(
        f"Scenario {episode.scenario.scenario_id}: {talks}, at most {episode.max_exchanges} exchanges (dialogue.max_exchanges).",
        soft_wrap=True,
    )
    if wish.seat == "assistant":
        console.print(Text.assemble(("What the assistant is told: ", "bold"), visible(domain.policy_prompt())))
    else:
        print_condition(console, "You are" if wish.seat == "user" else "The user is", condition)
    if wish.seat != "watch":
        console.print(
            Text(f"{END} ends the conversation and asks the exit survey; Ctrl-D leaves at once.", style="dim")
        )
    console.print()
    for turn in episode.scenario.opening.turns:
        screen.show(turn)


async def _hold(episode: Episode, screen: Screen) -> Trajectory:
    try:
        return await play_out(episode, episode.scenario.opening, 0, "chat", 0)
    except Leaves:
        said = screen.dialogue
        return await conclude(episode, said, exchanges_held(episode, said), LEFT, "chat", 0)


def _broken_off(episode: Episode, screen: Screen) -> Trajectory:
    """What was said so far; if the person was asked the survey already, with the answer that could not be read."""
    said, asked = screen.dialogue, screen.answer is not None
    exchanges = exchanges_held(episode, said)
    reaction = Reaction("human" if asked else "unasked", screen.answer or "", None)
    reason = (asked and episode.end_reason(said, exchanges)) or LEFT
    return Trajectory(episode.scenario.scenario_id, said, reaction, None, exchanges, reason)


def _print_end(screen: Screen, episode: Episode, trajectory: Trajectory) -> None:
    console = screen.console
    if trajectory.end_reason == CRISIS:
        screen.show(trajectory.dialogue.turns[-1])
    count = trajectory.exchanges
    console.print(f"\nEnded after {count} exchange{'' if count == 1 else 's'}: {trajectory.end_reason}.")
    reaction = trajectory.reaction
    row = {
        "reader": reaction.reader,
        "reaction_text": reaction.text,
        "value": reaction.value,
        "reward": trajectory.reward,
        "user_condition": episode.scenario.user_condition.model_dump_json(),
    }
    console.print(Text.assemble(("Exit survey: ", "bold"), visible(answered(row, episode.domain))))
    if isinstance(episode.policy, Rivals):
        console.print(f"Chosen: {', '.join(f'{label} {times}' for label, times in episode.policy.picked.items())}.")


def _keeper(
    console: Console, scenario: Scenario, labels: tuple[str, str], engine: RecordingEngine
) -> Callable[[Trajectory], None]:
    """Stores the scenario, so that what cannot be kept is refused before the talk; returns what stores the talk among the home's chats."""
    home = Home.from_env()
    home.make()
    outbox, store = Outbox(home.outbox), TrajectoryStore(home.database)
    store.add_scenarios([scenario])

    def keep(trajectory: Trajectory) -> None:
        person = Role.USER if labels[1] == "human" else Role.ASSISTANT
        if all(turn.role is not person for turn in trajectory.dialogue.turns[len(scenario.opening.turns) :]):
            console.print("you said nothing, so nothing is saved")
            return
        number = secrets.randbits(63)  # tells it from others on this scenario, whatever seed the models had
        record = DialogueRecord(CHATS, "human", *labels, number, trajectory, tuple(engine.calls))
        outbox.put_dialogues([record])
        try:
            store.drain(outbox)
            console.print(
                f"\nsaved; read it with: engage show --live {shlex.quote(trajectory_id(record))}", soft_wrap=True
            )
        except StoreError as error:
            console.print(f"saved in {home.outbox}; the next command that writes stores it ({error})", soft_wrap=True)

    return keep
