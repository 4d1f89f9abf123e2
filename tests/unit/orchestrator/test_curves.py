"""Pictures from journals: which are made, and that odd journals make no trouble."""

import json
from pathlib import Path
from typing import Any

import cv2
import pytest

from orchestrator.curves import draw_curves

STEPS = [{"kind": "step", "step": step, "loss": 1 / step, "loss_cls": 0.5 / step, "lr": 0.01} for step in (1, 2, 3)]
EPOCH = {"kind": "epoch", "step": 3, "epoch": 0, "metrics": {"map": 0.5, "map_50": 0.7, "ap/a": 0.1}}


@pytest.mark.parametrize(
    ("records", "expected"),
    [
        pytest.param([], [], id="empty"),
        pytest.param(STEPS, ["loss_curve.png"], id="never evaluated"),
        pytest.param([*STEPS, EPOCH], ["loss_curve.png", "metric_curve.png"], id="both"),
        pytest.param([{"kind": "step", "step": 1, "loss": None}], [], id="only a loss that was no number"),
        pytest.param([{**EPOCH, "metrics": {"own": -1.0}}], ["metric_curve.png"], id="a metric of another name"),
    ],
)
def test_pictures_that_are_made(tmp_path: Path, records: list[dict[str, Any]], expected: list[str]) -> None:
    journal = tmp_path / "journal.jsonl"
    journal.write_text("".join(json.dumps(record) + "\n" for record in records))
    written = draw_curves(journal, tmp_path / "pictures")
    assert [path.name for path in written] == expected
    assert all(cv2.imread(str(path)).std() > 1 for path in written)
