"""The samples of a run are the same however it is run: none lost, none repeated, none different.

The ledger holds the id of every sample that a step saw and a checksum of its augmented pixels and boxes.
"""

import copy
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.job import TrainJob
from engine.ledger import effective_content
from engine.loop import train
from engine.runtimes import InProcessRuntime
from tests.integration.head import Head
from tests.integration.project import DETECTOR, TIMEOUT_S, Project, Run, is_alive, wait, wait_until
from tests.integration.test_torchrun import job_of

pytestmark = pytest.mark.integration

EPOCHS, NUM_IMAGES, BATCH_SIZE = 3, 120, 2
"""Small but many: a step takes milliseconds, and a kill must come between the first and the last."""
STEPS_PER_EPOCH = NUM_IMAGES // BATCH_SIZE
FIRST_KILL, SECOND_KILL = 10, STEPS_PER_EPOCH + 10
LOADERS = (0, 1, 2)
STAGE: dict[str, Any] = {
    **copy.deepcopy(DETECTOR),
    "augment": {
        "preset": "small_objects",
        "stitcher": 0.1,
        "zoom": 0.25,
        "mixup": 0.2,
        "transpose": 0.5,
        "close_mosaic": 0.34,
    },
    "val_split": None,
}
"""The preset that draws most: objects and whole images of the rest of the split, and their places, sizes and turns."""

SCRIPT = """
import json, sys
from pathlib import Path
from engine.job import TrainJob
from engine.loop import train
from engine.runtimes import TorchrunRuntime

with TorchrunRuntime(use_gpu=False) as runtime:
    for job in json.loads(Path(sys.argv[1]).read_text()):
        train(TrainJob.from_json(job), runtime)
"""

Content = dict[int, list[tuple[int, int]]]


@pytest.fixture(scope="module")
def plain(project: Project) -> Run:
    """The pipeline, not run yet; with one trainer and no loader process."""
    return write(project, "exact", num_workers=0, num_loader_workers=0)


@pytest.fixture(scope="module")
def expected(plain: Run, tmp_path_factory: pytest.TempPathFactory) -> Content:
    """What every step saw in one process that nothing happened to."""
    return content_of(with_loaders(job_of(plain, tmp_path_factory.mktemp("expected")), 0))


def write(project: Project, name: str, num_workers: int, num_loader_workers: int) -> Run:
    """Write the pipeline file; one of the same name is the same pipeline on other resources."""
    loop = {**STAGE["loop"], "epochs": EPOCHS, "batch_size": BATCH_SIZE, "num_loader_workers": num_loader_workers}
    stage = {**STAGE, "loop": loop, "resources": {"num_workers": num_workers}}
    data = {"scenes": {"format": "scenes", "num_images": NUM_IMAGES, "image_size": [64, 64]}}
    return project.write(name, {"detector": stage}, data=data)


def with_loaders(job: TrainJob, count: int) -> TrainJob:
    loop = job.loop.model_copy(update={"num_loader_workers": count})
    return replace(job, loop=loop, folder=job.folder / f"loaders-{count}")


def content_of(job: TrainJob) -> Content:
    """Train in this process; return what each step saw."""
    train(job, InProcessRuntime(use_gpu=False))
    return effective_content(job.folder)


def train_on_two_trainers(jobs: list[TrainJob], folder: Path) -> None:
    """Train one job after the other under torchrun."""
    (folder / "jobs.json").write_text(json.dumps([job.to_json() for job in jobs]))
    (folder / "script.py").write_text(SCRIPT)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*torchrun, str(folder / "script.py"), str(folder / "jobs.json")],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr


def test_every_epoch_shows_every_sample_once_and_in_a_new_way(expected: Content) -> None:
    assert list(expected) == list(range(EPOCHS * STEPS_PER_EPOCH))
    epochs = [
        [pair for step in range(epoch * STEPS_PER_EPOCH, (epoch + 1) * STEPS_PER_EPOCH) for pair in expected[step]]
        for epoch in range(EPOCHS)
    ]
    for pairs in epochs:
        assert sorted(sample_id for sample_id, _ in pairs) == list(range(NUM_IMAGES))
    checksums = {checksum for pairs in epochs for _, checksum in pairs}
    assert len(checksums) == EPOCHS * NUM_IMAGES


@pytest.mark.parametrize("loaders", LOADERS[1:])
def test_loader_processes_change_no_sample(loaders: int, plain: Run, expected: Content, tmp_path: Path) -> None:
    assert content_of(with_loaders(job_of(plain, tmp_path), loaders)) == expected


def test_a_second_trainer_changes_no_sample(plain: Run, expected: Content, tmp_path: Path) -> None:
    jobs = [with_loaders(job_of(plain, tmp_path), loaders) for loaders in LOADERS]
    train_on_two_trainers(jobs, tmp_path)
    for job in jobs:
        assert len(list(job.folder.glob("ledger-*"))) == 2
        assert effective_content(job.folder) == expected


def test_a_run_that_is_killed_twice_and_resized_sees_the_same_samples(
    project: Project, cluster: Head, expected: Content
) -> None:
    run = write(project, "exact-disturbed", num_workers=2, num_loader_workers=2).on(cluster)
    driver = run.start()
    run.wait_for_step(FIRST_KILL, driver)
    os.kill(run.journal("start")[0]["workers"][1]["pid"], signal.SIGKILL)  # Ray starts both trainers again
    wait_until(lambda: any(r["attempt"] == 1 and r["step"] >= SECOND_KILL for r in run.journal("step")), driver)
    driver.kill()
    wait(driver)
    trainers = [worker["pid"] for start in run.journal("start") for worker in start["workers"]]
    wait_until(lambda: not any(is_alive(pid) for pid in trainers))
    assert run.journal("end") == []

    write(project, "exact-disturbed", num_workers=1, num_loader_workers=1)
    resumed = run.command("resume", str(run.file))
    assert resumed.code == 0, resumed.err
    starts = run.journal("start")
    assert [start["world_size"] for start in starts] == [2, 2, 1]
    assert 0 < starts[1]["first_step"] < starts[2]["first_step"] < len(expected)
    assert effective_content(run.stage("detector")) == expected
