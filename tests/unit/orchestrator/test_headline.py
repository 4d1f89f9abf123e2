"""Which metrics are shown when a stage or a run ends."""

from orchestrator.execution.folders import StageRecord
from orchestrator.headline import NOT_DEFINED, UNDEFINED, main_metrics, summary_rows

METRICS = {"ap/RBC": 0.7, "map_small": UNDEFINED, "map_50": 0.9, "map": 0.6, "mar_1": 0.3}


def record(name: str, kind: str, model: object = None) -> StageRecord:
    return StageRecord(name, kind, "f", {"stage": {"model": model}}, metrics=dict(METRICS))


def test_main_metrics_puts_the_wanted_one_first() -> None:
    metrics = {"map_50": 0.9, "map": 0.6, "ap/x": 0.1}
    assert list(main_metrics(metrics, "map")) == ["map", "map_50"]
    assert list(main_metrics({})) == []


def test_main_metrics_leaves_out_what_is_undefined() -> None:
    assert list(main_metrics({"map_small": UNDEFINED, "map": 0.0, "map_50": 0.1})) == ["map", "map_50"]


def test_a_measured_model_has_the_rows_of_its_evaluation_only() -> None:
    stages = {
        "detector": record("detector", "train", {"name": "yolo"}),
        "test": record("test", "evaluate", "stage:detector"),
    }
    assert summary_rows(stages, {"test.map": 0.5, "test.map_50": UNDEFINED}) == [
        ("test.map", 0.6, 0.6 - 0.5),
        ("test.map_50", 0.9, None),
        ("test.map_small", NOT_DEFINED, None),
    ]


def test_a_model_that_nobody_measured_has_the_rows_of_its_training() -> None:
    stages = {"a": record("a", "train", {"name": "yolo"}), "test": record("test", "evaluate", "models:/b@champion")}
    assert [name for name, _, _ in summary_rows(stages, {})][::3] == ["a.map", "test.map"]


def test_no_stages_give_no_rows() -> None:
    assert summary_rows({}, {}) == []
