"""`engage` with a scripted engine that takes its time (ENGAGE_TEST_LATENCY_S a call), so that a run can be interrupted."""

import os

import engage.engines
from engage.engines.scripted import ScriptedEngine
from flows.cli import command


def slow(_config):
    return ScriptedEngine(latency_s=float(os.environ["ENGAGE_TEST_LATENCY_S"]), slots=4)


if __name__ == "__main__":
    engage.engines._create = slow
    command()
