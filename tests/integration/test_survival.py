"""What a run survives: a killed worker, a killed driver, Ctrl-C and SIGTERM; and that `resume` loses nothing."""

import os
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from mlflow import MlflowClient

from engine.ledger import effective_samples
from orchestrator.execution.folders import load_stage_record
from tests.integration.head import Head
from tests.integration.project import (
    CHECKPOINT_EVERY,
    EPOCHS,
    STEPS_PER_EPOCH,
    Project,
    Run,
    is_alive,
    wait,
    wait_until,
)

pytestmark = pytest.mark.integration

KILL_AT_STEP = 14
"""Early in the second epoch, between two checkpoints, with much left to do."""
LAST_STEP = EPOCHS * STEPS_PER_EPOCH


def test_killed_worker_costs_only_the_steps_since_the_last_checkpoint(
    project: Project, cluster: Head, undisturbed: Callable[[int], Run]
) -> None:
    run = project.pipeline("killed-worker", 2).on(cluster)
    driver = run.start()
    run.wait_for_step(KILL_AT_STEP, driver)
    os.kill(run.journal("start")[0]["workers"][1]["pid"], signal.SIGKILL)
    done = wait(driver)
    assert done.code == 0, done.err
    assert done.err == ""

    again = run.journal("start")[1]
    assert again["attempt"] == 1
    assert KILL_AT_STEP - CHECKPOINT_EVERY <= again["first_step"] < LAST_STEP
    assert_same_run(run, undisturbed(2))
    print_restart_times(run)


def test_killed_driver_is_marked_and_resumed_in_the_same_run(
    project: Project, cluster: Head, undisturbed: Callable[[int], Run]
) -> None:
    run = project.pipeline("killed-driver", 2).on(cluster)
    driver = run.start()
    run.wait_for_step(KILL_AT_STEP, driver)
    driver.kill()
    wait(driver)
    api = MlflowClient(project.store)
    before = run.record
    stage = load_stage_record(run.stage("detector"))
    assert before.run_id is not None and stage is not None and stage.run_id is not None
    for run_id in (before.run_id, stage.run_id):
        wait_until(lambda run_id=run_id: api.get_run(run_id).info.status == "KILLED")
    wait_until(lambda: not any(is_alive(pid) for pid in pids(run)))

    resumed = run.command("resume", str(run.file))
    assert resumed.code == 0, resumed.err
    assert run.record.run_id == before.run_id
    assert run.record.status == "done"
    assert {api.get_run(run_id).info.status for run_id in (before.run_id, stage.run_id)} == {"FINISHED"}
    assert_same_run(run, undisturbed(2))
    history = Counter(point.step for point in api.get_metric_history(stage.run_id, "train/loss"))
    assert history == Counter(range(1, LAST_STEP + 1))


@pytest.mark.parametrize(
    ("number", "num_workers"),
    [
        pytest.param(signal.SIGTERM, 0, id="SIGTERM in this process"),
        pytest.param(signal.SIGINT, 2, id="Ctrl-C on a Ray of its own"),
    ],
)
def test_a_stop_keeps_every_step_and_leaves_nothing_running(
    project: Project,
    undisturbed: Callable[[int], Run],
    number: signal.Signals,
    num_workers: int,
) -> None:
    run = project.pipeline(f"stopped-{number.name}-{num_workers}", num_workers)
    driver = run.start()
    run.wait_for_step(KILL_AT_STEP, driver)
    os.killpg(driver.pid, number)
    done = wait(driver)
    assert done.code == 130, done.err
    (end,) = run.journal("end")
    assert end["status"] == "interrupted"
    assert f"stopped after step {end['step']}; everything up to there is kept" in done.err
    assert "Traceback" not in done.err
    assert KILL_AT_STEP <= end["step"] < LAST_STEP
    assert (run.stage("detector") / "checkpoints" / f"step-{end['step']:08d}").is_dir()
    assert run.record.status == "interrupted"
    assert MlflowClient(project.store).get_run(str(run.record.run_id)).info.status == "KILLED"
    wait_until(lambda: not any(is_alive(pid) for pid in [*pids(run), *group_of(driver.pid)]))

    resumed = run.command("resume", str(run.file))
    assert resumed.code == 0, resumed.err
    assert run.journal("start")[-1]["first_step"] == end["step"]
    assert_same_run(run, undisturbed(num_workers))


def test_damaged_checkpoint_is_passed_over_and_said(project: Project, undisturbed: Callable[[int], Run]) -> None:
    run = project.pipeline("damaged", 0)
    driver = run.start()
    run.wait_for_step(KILL_AT_STEP, driver)
    driver.kill()
    wait(driver)
    kept = sorted((run.stage("detector") / "checkpoints").glob("step-*"))
    assert len(kept) == 2
    newest = kept[-1] / "state.pt"
    newest.write_bytes(newest.read_bytes()[: newest.stat().st_size // 2])

    resumed = run.command("resume", str(run.folder))
    assert resumed.code == 0, resumed.err
    assert f"checkpoint {kept[-1].name} is damaged" in resumed.out
    assert run.journal("start")[-1]["first_step"] == int(kept[0].name.removeprefix("step-"))
    assert_same_run(run, undisturbed(0))


def assert_same_run(run: Run, expected: Run) -> None:
    """Fail unless every step counts the same samples, and the weights and metrics are the same to the last bit."""
    assert effective_samples(run.stage("detector")) == effective_samples(expected.stage("detector"))
    weights, other = run.weights(), expected.weights()
    assert weights.keys() == other.keys()
    assert [name for name in other if not torch.equal(weights[name], other[name])] == []
    assert run.metrics("detector") == expected.metrics("detector")


def pids(run: Run) -> list[int]:
    """The processes that trained."""
    return [worker["pid"] for start in run.journal("start") for worker in start["workers"]]


def group_of(leader: int) -> list[int]:
    """The processes of a process group."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields: list[Any] = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == leader:
            found.append(int(folder.name))
    return found


def print_restart_times(run: Run) -> None:
    """Say how long the run stood still, beside what its first start took; a loaded machine makes both mean little."""
    steps, starts = run.journal("step"), run.journal("start")
    lost = max(step["time"] for step in steps if step["attempt"] == 0)
    back = min(step["time"] for step in steps if step["attempt"] == 1)
    stage = load_stage_record(run.stage("detector"))
    assert stage is not None
    first = min(step["time"] for step in steps)
    print(
        f"\nfrom the last step before the kill to the next: {back - lost:.1f} s; from the stage's start to its first "
        f"step: {first - stage.started:.1f} s (to the workers' `start` record: {starts[0]['time'] - stage.started:.1f})"
    )
