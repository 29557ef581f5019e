"""Messages about nights: what is worth one, that a webhook gets it, and that its address stays secret."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prefect import flow
from prefect.blocks.system import Secret
from prefect_logs import logged

from engage import webhook
from engage.config import CycleConfig
from engage.errors import ConfigError
from engage.evaluation import AlertConfig, Aligned, Collected, Judged, Night, Verdict, alerts
from engage.evaluation.collected import DomainRewards
from engage.training import PairSet
from flows.nightly import nightly
from tasks import notifying

SECRET = "/services/T0PS3CR3T/hook"
QUIET = Verdict(False, "not promoted: the gain is not significant: +0.011 [-0.015, +0.039] on 14 held-out scenarios")


class Receiver(HTTPServer):
    """A webhook that answers with the given statuses in turn, the last one for ever, and keeps what it got."""

    def __init__(self, *statuses: int) -> None:
        outer = self
        self.statuses = list(statuses)
        self.got: list[tuple[str, str | None, Any]] = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.got.append((self.path, self.headers["Content-Type"], json.loads(body)))
                self.send_response(outer.statuses.pop(0) if len(outer.statuses) > 1 else outer.statuses[0])
                self.end_headers()

            def log_message(self, *_) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server_port}{SECRET}"
        threading.Thread(target=self.serve_forever, daemon=True).start()


@pytest.fixture
def receiver(monkeypatch):
    """Makes receivers; a message is tried again at once."""
    monkeypatch.setattr(webhook, "AGAIN_S", 0.0)
    running = []

    def make(*statuses: int) -> Receiver:
        running.append(Receiver(*statuses))
        return running[-1]

    yield make
    for one in running:
        one.shutdown()
        one.server_close()


def a_night(crises=0, accepted=14, verdict=QUIET, failures=(), failed=None) -> Night:
    values: dict[str, Any] = dict.fromkeys(DomainRewards.__dataclass_fields__, 0)
    rows = (
        DomainRewards(**{**values, "domain": "persuasion", "simulations": 60}),
        DomainRewards(**{**values, "domain": "emotional_support", "simulations": 40}),
    )
    pairs = PairSet(Path(), "", accepted, {}, {"candidates": 60, "accepted": accepted})
    judged = Judged("base", verdict, "page", failures=failures)
    return Night("c1", Collected(rows, failed=failed or {}, crises=crises), Aligned(pairs, None), judged, "")


@pytest.mark.parametrize(
    ("night", "free_gb", "found"),
    [
        (a_night(crises=5), 5.0, []),  # 5 of 100 is not above 5 %
        (a_night(crises=6), 9.0, ["6 of 100 conversations ended in a crisis (6.0%; limit 5.0%)"]),
        (a_night(), 4.96, ["only 5.0 GB are free where the home is (limit 5)"]),
        (a_night(accepted=0), 9.0, ["no pair was accepted of 60 candidates, nothing was trained"]),
        (a_night(verdict=Verdict(True, "promoted: +0.2")), 9.0, ["promoted: +0.2"]),
        (a_night(failures=["replies are 40% longer"]), 9.0, ["failed check: replies are 40% longer"]),
        (a_night(failed={"s1": "x", "s2": "y"}), 9.0, ["2 scenarios failed"]),
    ],
)
def test_a_quiet_night_is_worth_no_message_and_others_say_why(night, free_gb, found):
    assert alerts(night, AlertConfig(), free_gb) == found


@pytest.mark.slow
def test_a_webhook_gets_one_message_about_all_of_it(receiver, monkeypatch, home):
    hook = receiver(200)
    monkeypatch.setenv("ENGAGE_NOTIFY_URL", hook.address)
    config = CycleConfig(alerts=AlertConfig(free_gb=0.0))
    notifying.announce(config, a_night())
    assert hook.got == []
    notifying.announce(config, a_night(accepted=0, failures=["flattery rises"]))
    text = "engage, night c1:\n• no pair was accepted of 60 candidates, nothing was trained\n• failed check: flattery rises"
    assert hook.got == [(SECRET, "application/json", {"text": text})]


def test_a_message_is_tried_again_and_given_up_without_a_word_of_the_address(receiver, prefect_server):
    good, bad = receiver(503, 200), receiver(500)

    @flow
    def sending() -> list[bool]:
        return [
            notifying.send("hello", {"ENGAGE_NOTIFY_URL": one})
            for one in (good.address, bad.address, "http://[" + SECRET)
        ]

    state = sending(return_state=True)
    assert state.result() == [True, False, False]
    assert (len(good.got), len(bad.got)) == (2, 3)
    assert [text for _, text in logged(state.state_details.flow_run_id)] == [
        "a message about this night was sent to 127.0.0.1",
        "the message about this night could not be sent to 127.0.0.1 (HTTP status 500)",
        "no message was sent: its address cannot be read (ConfigError)",
    ]


def test_without_an_address_nothing_is_sent():
    assert not notifying.send("hello", {})


def test_a_night_that_fails_says_so_through_the_secret_block(receiver, prefect_server, monkeypatch, home):
    hook = receiver(200)
    Secret(value=hook.address).save("engage-notify-test", overwrite=True)
    monkeypatch.setenv("ENGAGE_NOTIFY_BLOCK", "engage-notify-test")
    config = CycleConfig.model_validate({"evaluation": {"split": "test"}})
    state = nightly(config, "refused", return_state=True)
    assert state.is_failed()
    ((_, _, body),) = hook.got
    first, second = body["text"].splitlines()
    assert first == "engage, night refused:"
    assert second.startswith("• failed: Flow run encountered an exception: ConfigError: evaluation.split=test: ")
    assert not [text for _, text in logged(state.state_details.flow_run_id) if "T0PS3CR3T" in text]


def test_the_hook_of_a_killed_run_finds_the_block_of_its_deployment(receiver, prefect_server, monkeypatch):
    """A worker calls it in its own process, whose environment lacks the run's variables."""
    hook = receiver(200)
    Secret(value=hook.address).save("engage-notify-killed", overwrite=True)
    from prefect.client.orchestration import get_client

    client = get_client(sync_client=True)
    flow_id = client.create_flow_from_name("nightly")
    deployment_id = client.create_deployment(
        flow_id, "killed", job_variables={"env": {"ENGAGE_NOTIFY_BLOCK": "engage-notify-killed"}}
    )
    run = client.create_flow_run_from_deployment(deployment_id, name="random-animal")
    client.set_flow_run_name(run.id, "c7")
    assert run.name == "random-animal"
    notifying.announce_failure(None, run, SimpleNamespace(name="Crashed", message="exit code -9"))
    assert hook.got[0][2] == {"text": "engage, night c7:\n• crashed: exit code -9"}


@pytest.mark.parametrize(
    "address", ["", "hooks.example/T0", "ftp://host/x", "http://?x", "http:///x", "https://a b/c", "http://[x"]
)
def test_what_is_no_address_of_a_webhook_is_refused_and_not_repeated(address):
    with pytest.raises(ConfigError, match=r"^--notify: not an address of a webhook") as refused:
        webhook.check_address(address)
    assert not address or address not in str(refused.value)
