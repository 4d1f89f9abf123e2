"""What changes a stage's fingerprint, and what does not."""

from pathlib import Path
from typing import Any

import pytest

from orchestrator.pipeline.fingerprint import code_version, fingerprint_of, fingerprint_parts
from orchestrator.pipeline.settings import Pipeline


def fingerprint(stage: dict[str, Any] | None = None, data: dict[str, Any] | None = None, **changes: Any) -> str:
    train = {"kind": "train", "task": "detection", "data": "d", "model": {"name": "yolo"}, **(stage or {})}
    content = {"name": "x", "data": {"d": {"format": "scenes", **(data or {})}}, "stages": {"s": train}}
    pipeline = Pipeline.model_validate(content)
    arguments: dict[str, Any] = {"seed": 0, "upstream": {}, "code": "1", "data_digests": {"train": "aa"}, **changes}
    return fingerprint_of(fingerprint_parts(pipeline.stages["s"], data=pipeline.data["d"], **arguments))


@pytest.mark.parametrize(
    "stage",
    [
        {"resources": {"num_workers": 2}},
        {"cache": "disk", "cache_limit_gb": 3.0},
        {"failure": {"max_failures": 9}},
        {"checkpoint": {"every_steps": 5}},
        {"loop": {"log_every_steps": 1, "ledger": True, "num_loader_workers": 2}},
    ],
)
def test_how_a_stage_runs_does_not_count(stage: dict[str, Any]) -> None:
    assert fingerprint(stage) == fingerprint()


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"stage": {"loop": {"epochs": 11}}}, id="epochs"),
        pytest.param({"stage": {"model": {"name": "yolo", "size": "pico"}}}, id="model"),
        pytest.param({"data": {"classes": ["b", "a"]}}, id="order of classes"),
        pytest.param({"seed": 1}, id="seed"),
        pytest.param({"upstream": {"backbone": "ff"}}, id="an input"),
        pytest.param({"code": "2"}, id="our code"),
        pytest.param({"data_digests": {"train": "bb"}}, id="contents of the data"),
    ],
)
def test_what_changes_a_result_counts(changes: dict[str, Any]) -> None:
    assert fingerprint(**changes) != fingerprint()


def test_the_place_of_the_data_does_not_count() -> None:
    assert fingerprint(data={"root": "/elsewhere"}) == fingerprint()


def test_a_weights_file_counts_by_its_contents(tmp_path: Path) -> None:
    first, second = tmp_path / "first.pth", tmp_path / "second.pth"
    first.write_bytes(b"same")
    second.write_bytes(b"same")

    def with_weights(path: Path) -> str:
        return fingerprint({"model": {"name": "yolo", "weights": f"file:{path}"}})

    before = with_weights(first)
    assert with_weights(second) == before
    second.write_bytes(b"other")
    assert with_weights(second) != before


def test_a_bundle_folder_counts_by_names_and_contents(tmp_path: Path) -> None:
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "a").write_text("1")
    before = fingerprint({"model": {"name": "yolo", "weights": f"file:{tmp_path / 'bundle'}"}})
    (tmp_path / "bundle" / "a").rename(tmp_path / "bundle" / "b")
    assert fingerprint({"model": {"name": "yolo", "weights": f"file:{tmp_path / 'bundle'}"}}) != before


def test_the_code_version_is_the_release_and_a_hash() -> None:
    release, _, digest = code_version().partition("+")
    assert release[0].isdigit()
    assert len(digest) == 16
