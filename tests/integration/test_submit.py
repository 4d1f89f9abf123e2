"""A pipeline as a job on the cluster does what `run` does here: results, exit codes, stop."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.head import Head
from tests.integration.project import DETECTOR, Finished, Project, Run, wait_until
from tests.integration.test_survival import KILL_AT_STEP, assert_same_run

pytestmark = pytest.mark.integration


def job_id(done: Finished) -> str:
    """The job that `submit` told of."""
    match = re.search(r" as (\S+)\.\n", done.out)
    assert match is not None, done.out + done.err
    return match[1]


def test_submitted_from_another_folder_gives_what_run_gives(
    project: Project, cluster: Head, undisturbed: Callable[[int], Run], tmp_path: Path
) -> None:
    run = project.pipeline("submitted", 2).on(cluster)
    done = run.command("submit", str(run.file), "--address", cluster.dashboard, "--wait", cwd=tmp_path)
    assert done.code == 0, done.out + done.err
    assert "detector: 2 workers on cpu" in done.out
    assert_same_run(run, undisturbed(2))

    name = job_id(done)
    seen = run.command("status", name, "--address", cluster.dashboard, cwd=tmp_path)
    assert "SUCCEEDED" in seen.out
    logs = run.command("logs", name, "--address", cluster.dashboard, cwd=tmp_path)
    assert "detector: done in" in logs.out


def test_exit_code_of_a_refusing_gate_comes_back(project: Project, cluster: Head) -> None:
    stages = {
        "detector": {**DETECTOR, "loop": {**DETECTOR["loop"], "epochs": 1}, "resources": {"num_workers": 0}},
        "register": {
            "kind": "register",
            "model": "stage:detector",
            "name": "refused",
            "gate": [{"metric": "detector.map", "min": 0.99}],
        },
    }
    run = project.write("gated", stages).on(cluster)
    done = run.command("submit", str(run.file), "--address", cluster.dashboard, "--wait")
    assert done.code == 3
    assert "refused was not registered: 1 of 1 gates refused" in done.out
    listed = run.command("models", "ls", "--pipeline", str(run.file))
    assert "refused" not in listed.out


def test_stopped_job_leaves_a_checkpoint_and_can_be_resumed(
    project: Project, cluster: Head, undisturbed: Callable[[int], Run]
) -> None:
    run = project.pipeline("stopped-job", 2).on(cluster)
    name = job_id(run.command("submit", str(run.file), "--address", cluster.dashboard))
    wait_until(lambda: any(record["step"] >= KILL_AT_STEP for record in run.journal("step")))
    stopped = run.command("stop", name, "--address", cluster.dashboard)
    assert stopped.code == 0, stopped.err
    assert "STOPPED" in stopped.out
    (end,) = run.journal("end")
    assert end["status"] == "interrupted"
    before = run.record
    assert before.status == "interrupted"

    resumed = run.command("resume", str(run.file))
    assert resumed.code == 0, resumed.err
    assert run.record.run_id == before.run_id
    assert_same_run(run, undisturbed(2))
