"""The pictures are drawn for few and many classes, and the sheet shows what matters."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from classification.metrics import ClassificationMetric
from classification.report import choose, draw_report
from tests.unit.classification.labelled import make_dataset, make_predictions, random_answers

PICTURES = {"confusion_matrix.png", "reliability.png", "classes.png", "errors.png"}


@pytest.mark.parametrize(
    ("num_classes", "count"),
    [pytest.param(3, 30, id="few"), pytest.param(40, 60, id="more than are shown"), pytest.param(2, 1, id="one image")],
)
def test_all_pictures_are_drawn(tmp_path: Path, num_classes: int, count: int) -> None:
    cv2.imwrite(str(tmp_path / "grey.png"), np.full((8, 8, 3), 90, np.uint8))
    probabilities, labels = random_answers(count, num_classes)
    classes = [f"a class with a long name {index}" for index in range(num_classes)]
    metric = ClassificationMetric(
        make_dataset(labels, classes, tmp_path / "grey.png"), np.bincount(labels, minlength=num_classes) + 1
    )
    metric.update(make_predictions(probabilities))
    paths = draw_report(metric, tmp_path / "pictures")
    assert {path.name for path in paths} == PICTURES
    assert all(cv2.imread(str(path)) is not None for path in paths)


def test_without_predictions_nothing_is_drawn(tmp_path: Path) -> None:
    assert draw_report(ClassificationMetric(make_dataset([0], "ab")), tmp_path / "pictures") == []


def test_confident_errors_come_first_then_doubtful_hits() -> None:
    rows = [[0.6, 0.4], [0.1, 0.9], [0.2, 0.8], [0.99, 0.01]]
    chosen = choose(make_predictions(rows), {0: 0, 1: 0, 2: 0, 3: 0}, count=3)
    assert [prediction.sample_id for prediction in chosen] == [1, 2, 0]
