"""Whether a trained policy leans towards what goes well between people, see `engage.experiments.people`."""

from prefect import flow

from engage.config import CycleConfig
from engage.experiments.people.page import PeoplePage
from engage.experiments.people.plan import PeopleConfig
from tasks.cycle import CLOSING, begin_cycle
from tasks.experiments.people import check_people, score_people, train_null, write_people


@flow(name="people", flow_run_name="{cycle_id}", **CLOSING)
def people(config: CycleConfig, cycle_id: str, adapter: str, asked: PeopleConfig) -> PeoplePage:
    """Train the nulls of a policy of this cycle, score people's replies under all, and compare; what exists is reused."""
    cycle = begin_cycle(config, cycle_id)
    policy = check_people(config, cycle, adapter, asked)
    nulls = {f"null {n}": train_null(config, cycle, asked, policy, n) for n in range(1, asked.nulls + 1)}
    adapters = {"start": policy.start, "policy": policy.adapter, **nulls}
    return write_people(config, cycle, asked, policy, score_people(config, cycle, asked, policy, adapters))
