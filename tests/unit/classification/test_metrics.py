"""Every number against scikit-learn or a slow loop, by hand where small, and the same from any split over ranks."""

import numpy as np
import pytest
from sklearn import metrics as sk

from classification.calibration import BINS, reliability
from classification.metrics import ClassificationMetric, frequency_groups, top_k_accuracy
from classification.predictions import Prediction
from tests.unit.classification.labelled import make_dataset, make_predictions, random_answers

CLASSES = tuple("abcdefgh")


def measured(probabilities, labels, train_counts=None, classes=CLASSES):
    metric = ClassificationMetric(make_dataset(labels, classes), train_counts)
    metric.update(make_predictions(probabilities))
    return metric.compute()


@pytest.mark.parametrize("seed", range(4))
def test_numbers_equal_those_of_scikit_learn(seed):
    probabilities, labels = random_answers(200, len(CLASSES), seed)
    values, guesses = measured(probabilities, labels), probabilities.argmax(axis=1)
    everything = list(range(len(CLASSES)))
    expected = {
        "top1": sk.accuracy_score(labels, guesses),
        "top5": sk.top_k_accuracy_score(labels, probabilities, k=5, labels=everything),
        "f1_macro": sk.f1_score(labels, guesses, average="macro", zero_division=0),
        "precision_macro": sk.precision_score(labels, guesses, average="macro", zero_division=0),
        "recall_macro": sk.recall_score(labels, guesses, average="macro", zero_division=0),
        "balanced_accuracy": np.mean([(guesses == labels)[labels == c].mean() for c in np.unique(labels)]),
        "nll": sk.log_loss(labels, probabilities, labels=everything),
    }
    for name, value in expected.items():
        assert values[name] == pytest.approx(value, abs=1e-6), name
    per_class = sk.precision_recall_fscore_support(labels, guesses, labels=everything, zero_division=0)
    for label, name in enumerate(CLASSES):
        if (labels == label).any():
            assert values[f"recall/{name}"] == pytest.approx(per_class[1][label])
            assert values[f"f1/{name}"] == pytest.approx(per_class[2][label])
        if (guesses == label).any():
            assert values[f"precision/{name}"] == pytest.approx(per_class[0][label])


def test_a_class_without_images_and_answers_counts_nowhere():
    values = measured([[0.9, 0.1, 0.0], [0.2, 0.8, 0.0]], [0, 1], classes=("a", "b", "c"))
    assert values["f1_macro"] == values["balanced_accuracy"] == 1.0
    assert not any(name.endswith("/c") for name in values)


def test_calibration_error_against_a_slow_loop():
    probabilities, labels = random_answers(300, 6, seed=3)
    confidence, is_right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    expected = 0.0
    for index in range(BINS):
        inside = (confidence > index / BINS) & (confidence <= (index + 1) / BINS)
        if inside.any():
            expected += inside.mean() * abs(confidence[inside].mean() - is_right[inside].mean())
    assert reliability(confidence, is_right).calibration_error == pytest.approx(expected, abs=1e-6)


def test_calibration_of_nothing_is_undefined_and_of_certainty_is_exact():
    assert reliability(np.zeros(0), np.zeros(0, bool)).calibration_error == -1.0
    assert reliability(np.ones(4), np.array([True, True, True, False])).calibration_error == pytest.approx(0.25)


def test_of_equal_probabilities_the_lower_label_comes_first():
    probabilities = np.full((2, 6), 1 / 6)
    assert top_k_accuracy(probabilities, np.array([4, 5]), 5) == 0.5
    assert Prediction(0, probabilities[0]).ranking.tolist() == [0, 1, 2, 3, 4, 5]


def test_top_5_of_five_classes_is_undefined():
    assert measured(np.eye(5), range(5), classes=CLASSES[:5])["top5"] == -1.0


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        pytest.param([5, 100, 40, 1, 60, 2], [1, 0, 1, 2, 0, 2], id="thirds by falling frequency"),
        pytest.param([9, 9, 9, 1], [0, 0, 1, 2], id="ties by label, the first groups are the larger ones"),
        pytest.param([10, 11, 12], None, id="about equally frequent"),
        pytest.param([1, 100], None, id="too few classes"),
        pytest.param(None, None, id="unknown"),
    ],
)
def test_groups_by_frequency(counts, expected):
    groups = frequency_groups(None if counts is None else np.array(counts))
    assert (None if groups is None else groups.tolist()) == expected


def test_accuracy_of_each_group():
    probabilities = np.eye(3)[[0, 0, 1, 0]]
    values = measured(probabilities, [0, 0, 1, 1], np.array([100, 10, 1]), CLASSES[:3])
    assert (values["top1_head"], values["top1_medium"], values["top1_tail"]) == (1.0, 0.5, -1.0)


def test_ranks_in_any_order_give_the_same_numbers():
    probabilities, labels = random_answers(101, len(CLASSES), seed=5)
    dataset, predictions = make_dataset(labels, CLASSES), make_predictions(probabilities)
    whole = ClassificationMetric(dataset)
    whole.update(predictions)
    parts = [ClassificationMetric(dataset) for _ in range(4)]
    for index, part in enumerate(parts[:3]):  # the last rank has no image
        part.update(predictions[index::3])
    merged = ClassificationMetric(dataset)
    merged.merge([part.state() for part in reversed(parts)])
    assert merged.compute() == whole.compute()
    assert merged.to_json() == whole.to_json()
    assert whole.to_json()[7]["label"] == labels[7]


def test_without_predictions_there_are_no_numbers():
    metric = ClassificationMetric(make_dataset([0, 1], CLASSES))
    assert metric.compute() == {}
    assert metric.to_json() == []


def test_an_image_counts_once_and_must_belong_to_the_split():
    metric = ClassificationMetric(make_dataset([0], CLASSES))
    (prediction,) = make_predictions([np.eye(8)[0]])
    metric.update([prediction])
    with pytest.raises(ValueError, match="twice"):
        metric.update([prediction])
    with pytest.raises(ValueError, match="not in this split"):
        metric.update([Prediction(9, prediction.probabilities)])
