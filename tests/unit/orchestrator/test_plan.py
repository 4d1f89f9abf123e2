"""What a run would do, and why: in words that a user reads before every stage."""

from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.execution.folders import StageRecord
from orchestrator.execution.plan import PlannedStage, plan, registry_addresses
from orchestrator.pipeline.load import LoadedPipeline, load_pipeline

TEXT = """
name: p
data: {scenes: {format: scenes, num_images: 1, root: data}}
stages:
  detector: {kind: train, task: detection, data: scenes, model: {name: yolo, size: pico}, val_split: null}
  test: {kind: evaluate, model: "stage:detector", data: scenes, split: train}
"""
Load = Callable[..., LoadedPipeline]


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Load:
    """Loads the pipeline above, with overrides; its picture is made once."""
    file = tmp_path_factory.mktemp("plan") / "p.yaml"
    file.write_text(TEXT)
    return lambda *overrides: load_pipeline(file, overrides)


def ended(planned: PlannedStage, status: str, checkpoints: tuple[str, ...] = ()) -> None:
    for name in checkpoints:
        (planned.folder / "checkpoints" / name).mkdir(parents=True)
    record = StageRecord(planned.name, planned.kind, planned.fingerprint, dict(planned.parts))
    (record if status == "running" else record.ended(status)).save(planned.folder)


@pytest.mark.parametrize(
    ("status", "checkpoints", "expected"),
    [
        pytest.param(
            "interrupted",
            ("step-00000100", "step-00000300"),
            "continuing from step 300 (the last run of it was interrupted)",
            id="interrupted",
        ),
        pytest.param("failed", (), "continuing from its start (the last run of it failed)", id="failed"),
        pytest.param("running", (), "continuing from its start (the last run of it never ended)", id="killed"),
    ],
)
def test_a_stage_that_was_begun_is_continued(
    load: Load, tmp_path: Path, status: str, checkpoints: tuple[str, ...], expected: str
) -> None:
    loaded = load(f"storage={tmp_path}")
    ended(plan(loaded)[0], status, checkpoints)
    detector, test = plan(loaded)
    assert (detector.action, detector.announcement) == ("continue", expected)
    assert (test.action, test.announcement) == ("run", "running (never run before)")


def test_a_stage_that_is_done_is_skipped(load: Load, tmp_path: Path) -> None:
    loaded = load(f"storage={tmp_path}")
    ended(plan(loaded)[0], "done")
    (detector,) = plan(loaded, only="detector")
    assert detector.action == "skip"
    assert detector.reason.startswith("done on 2")
    assert [stage.reason for stage in plan(loaded, fresh=True)] == ["--fresh was given"] * 2


def test_the_reason_names_what_changed_as_it_stands_in_the_file(load: Load, tmp_path: Path) -> None:
    weights = tmp_path / "w.pth"
    weights.write_bytes(b"1")
    storage = f"storage={tmp_path}"
    for planned in plan(load(storage)):
        ended(planned, "done")
    with_weights = f"stages.detector.model={{name: yolo, size: nano, weights: 'file:{weights}'}}"
    detector, test = plan(load(storage, with_weights))
    assert detector.reason == 'model.size was "pico", is "nano"; model.weights was null, is a file'
    assert test.reason == "its input detector changed"
    ended(detector, "done")
    weights.write_bytes(b"2")
    assert plan(load(storage, with_weights))[0].reason == "the file of model.weights changed"


def test_a_moved_alias_of_weights_is_noticed(load: Load, tmp_path: Path) -> None:
    address = "models:/cells@champion"
    loaded = load(f"storage={tmp_path}", f"stages.detector.model={{name: yolo, size: pico, weights: '{address}'}}")
    assert registry_addresses(loaded.pipeline.stages["detector"]) == [address]
    ended(plan(loaded, resolve_version=lambda _: "1")[0], "done")
    assert plan(loaded, resolve_version=lambda _: "1")[0].action == "skip"
    moved = plan(loaded, resolve_version=lambda _: "2")[0]
    assert (moved.action, moved.reason) == ("run", f"{address} is another version")
