"""Faults that show only when a pipeline runs: one paragraph, the right exit code, no traceback."""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import cv2
import numpy as np
import pytest

from orchestrator.cli import main
from tests.integration.head import Head
from tests.integration.project import DETECTOR, Project, Run

pytestmark = pytest.mark.integration

USER, REFUSED, INFRASTRUCTURE = 2, 3, 5
QUICK_S = 60.0
"""On a machine that is busy otherwise; MLflow alone would try for four minutes."""


@pytest.fixture(autouse=True)
def _environment_of_its_own() -> Iterator[None]:
    with mock.patch.dict(os.environ):
        yield


@pytest.fixture
def fails(capsys: pytest.CaptureFixture[str]) -> Callable[[Run, int], str]:
    """Runs a pipeline that must end with an exit code, and gives what it said on standard error."""

    def run_and_fail(run: Run, code: int) -> str:
        os.environ.update(run.environment)
        given = main(["run", str(run.file), "--plain"])
        said = capsys.readouterr().err
        assert given == code, said
        assert said.startswith("error: ")
        assert all(line.startswith("  ") for line in said.splitlines()[1:]), "one paragraph, and its list"
        assert "Traceback" not in said
        return said

    return run_and_fail


Fails = Callable[[Run, int], str]


def detector(**changes: Any) -> dict[str, Any]:
    """A stage that trains one epoch in this process."""
    loop = {**DETECTOR["loop"], "epochs": 1}
    return {"detector": {**DETECTOR, "loop": loop, "resources": {"num_workers": 0}, **changes}}


def yolo_data(root: Path, num_images: int) -> dict[str, Any]:
    """A data set in YOLO's format with one grey object in each image."""
    for split in ("train", "val"):
        for kind in ("images", "labels"):
            (root / kind / split).mkdir(parents=True)
        for index in range(num_images):
            image = np.full((64, 64, 3), 40, np.uint8)
            image[16:48, 16:48] = 200
            cv2.imwrite(str(root / "images" / split / f"{index}.jpg"), image)
            (root / "labels" / split / f"{index}.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    return {"data": {"scenes": {"format": "yolo", "root": str(root), "classes": ["square"]}}}


def test_more_workers_than_cpus(project: Project, cluster: Head, fails: Fails) -> None:
    said = fails(project.pipeline("too-many-workers", 3).on(cluster), USER)
    assert "stages.detector.resources asks for 3 workers with 3 CPU in all, and the cluster has 2" in said


@pytest.mark.parametrize("num_workers", [0, 1])
def test_gpu_where_there_is_none(project: Project, cluster: Head, fails: Fails, num_workers: int) -> None:
    resources = {"num_workers": num_workers, "use_gpu": True}
    run = project.pipeline(f"no-gpu-{num_workers}", resources=resources).on(cluster)
    said = fails(run, USER)
    assert "GPU" in said
    assert "use_gpu: auto" in said


def test_unreachable_tracking_server(project: Project, fails: Fails) -> None:
    begun = time.monotonic()
    said = fails(project.write("no-server", detector(), tracking={"uri": "http://127.0.0.1:9"}), INFRASTRUCTURE)
    assert "http://127.0.0.1:9" in said
    assert "`tracking.uri`" in said
    assert time.monotonic() - begun < QUICK_S


def test_storage_that_cannot_be_written(project: Project, fails: Fails, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    storage = tmp_path / "file" / "runs"
    said = fails(project.write("no-storage", detector(), storage=str(storage)), INFRASTRUCTURE)
    assert str(storage) in said
    assert "`storage`" in said


def test_alias_that_does_not_exist(project: Project, fails: Fails) -> None:
    stages = {"test": {"kind": "evaluate", "model": "models:/nothing@champion", "data": "scenes", "split": "val"}}
    said = fails(project.write("no-alias", stages), USER)
    assert "models:/nothing@champion" in said
    assert "orchestrator models ls" in said


def test_folder_without_images(project: Project, fails: Fails, tmp_path: Path) -> None:
    said = fails(project.write("no-images", detector(), **yolo_data(tmp_path / "empty", 0)), USER)
    assert str(tmp_path / "empty") in said


def test_truncated_jpeg(project: Project, fails: Fails, tmp_path: Path) -> None:
    content = yolo_data(tmp_path / "cut", 8)
    victim = tmp_path / "cut" / "images" / "train" / "3.jpg"
    victim.write_bytes(victim.read_bytes()[: victim.stat().st_size * 2 // 3])
    said = fails(project.write("cut-jpeg", detector(), **content), USER)
    assert str(victim) in said


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Ray's own, about itself
@pytest.mark.parametrize("num_workers", [0, 1])
def test_weights_of_another_shape(
    project: Project, cluster: Head, fails: Fails, bundle: Path, num_workers: int
) -> None:
    """On Ray the worker finds the fault: it is not tried again, and what it says arrives here."""
    model = {"name": "yolo", "size": "nano", "weights": f"file:{bundle}"}
    stages = detector(model=model, resources={"num_workers": num_workers})
    said = fails(project.write(f"other-shapes-{num_workers}", stages).on(cluster), USER)
    assert "the weights do not fit yolo nano" in said
    assert "stem.conv.weight is (8, 3, 3, 3) in the weights and (12, 3, 3, 3) in the model" in said


def test_refusing_gate_registers_nothing(project: Project, fails: Fails, capsys: pytest.CaptureFixture[str]) -> None:
    gate = [{"metric": "detector.map", "min": 0.99}]
    register = {"kind": "register", "model": "stage:detector", "name": "too-weak", "gate": gate}
    run = project.write("too-weak", {**detector(), "register": register})
    said = fails(run, REFUSED)
    assert "at least 0.99 asked" in said
    assert main(["models", "ls", "--pipeline", str(run.file)]) == 0
    assert "too-weak" not in capsys.readouterr().out
