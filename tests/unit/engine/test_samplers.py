"""Samplers: what an epoch shows of each class, exactly, in every epoch, and for any number of workers."""

import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter

from engine.samplers import Repeats, build_repeats, sampler_notes
from engine.sampling import SamplingPlan, epoch_draws
from engine.settings import SamplerSettings
from foundation.errors import ConfigError

SETTINGS: TypeAdapter = TypeAdapter(SamplerSettings)
CLASSES = ("cat", "dog", "owl")


class Labelled:
    """A data set of nothing but labels."""

    def __init__(self, labels: list[list[int]]) -> None:
        self.labels = labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, key: Any) -> Any:
        raise AssertionError("a sampler looks at no sample")

    def sample_labels(self) -> list[np.ndarray]:
        return [np.array(labels, np.int64) for labels in self.labels]


def _single(*counts: int) -> Labelled:
    """So many samples of class 0, 1, ..., in a mixed order."""
    labels = np.repeat(np.arange(len(counts)), counts)
    return Labelled([[label] for label in np.random.default_rng(0).permutation(labels).tolist()])


def _repeats(dataset: Labelled, **settings: Any) -> Repeats:
    repeats = build_repeats(SETTINGS.validate_python(settings), dataset, CLASSES)
    assert repeats is not None
    return repeats


def _ids(dataset: Labelled, repeats: Repeats | None, epoch: int = 0, seed: int = 7) -> list[int]:
    return epoch_draws(len(dataset), seed, epoch, repeats)[:, 0].tolist()


def _shown(dataset: Labelled, repeats: Repeats, epoch: int = 0) -> Counter[int]:
    return Counter(label for sample_id in _ids(dataset, repeats, epoch) for label in dataset.labels[sample_id])


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        # 160 images: 128, 24 and 8 of a class.
        pytest.param({"name": "class_balanced"}, [160 / 3] * 3, id="a third each"),
        pytest.param(
            {"name": "square_root"},
            [160 * np.sqrt(n) / (np.sqrt(128) + np.sqrt(24) + np.sqrt(8)) for n in (128, 24, 8)],
            id="as the square roots",
        ),
        pytest.param({"name": "oversample"}, [128, 128, 128], id="as many as the largest"),
        pytest.param({"name": "undersample"}, [8, 8, 8], id="as many as the smallest"),
        pytest.param(
            # Shares 0.8, 0.15 and 0.05: repeated sqrt(0.2 / share) times where that is above 1.
            {"name": "repeat_factor", "threshold": 0.2},
            [128, 24 * np.sqrt(0.2 / 0.15), 8 * 2],
            id="by the square root of the lack",
        ),
    ],
)
def test_every_epoch_shows_each_class_as_often_as_promised(settings: dict[str, Any], expected: list[float]) -> None:
    dataset = _single(128, 24, 8)
    repeats = _repeats(dataset, **settings)
    for epoch in range(5):
        shown = _shown(dataset, repeats, epoch)
        assert all(abs(shown[label] - expected[label]) <= 1 for label in range(3)), shown
        assert sum(shown.values()) == repeats.total == math.ceil(sum(expected) - 1e-6)


@pytest.mark.parametrize("name", ["class_balanced", "square_root", "oversample", "undersample"])
def test_images_of_a_class_are_shown_equally_often_up_to_one(name: str) -> None:
    dataset = _single(100, 30, 7)
    counts = Counter(_ids(dataset, _repeats(dataset, name=name)))
    for label in range(3):
        of_class = [counts[sample_id] for sample_id, labels in enumerate(dataset.labels) if labels == [label]]
        assert max(of_class) - min(of_class) <= 1


def test_over_many_epochs_every_image_has_its_share() -> None:
    dataset = _single(30, 8, 2)
    repeats = _repeats(dataset, name="undersample")
    counts = Counter(sample_id for epoch in range(600) for sample_id in _ids(dataset, repeats, epoch))
    for sample_id, expected in enumerate(repeats.expected):
        assert counts[sample_id] / 600 == pytest.approx(expected, abs=0.07)


def test_images_of_several_classes_count_for_each() -> None:
    # cat in 4 images, dog in 2, owl in 1; image 3 shows all of them.
    dataset = Labelled([[0], [0], [0], [0, 1, 2], [1]])
    balanced = _repeats(dataset, name="class_balanced").expected
    # A class is drawn, then one of its images: 5 draws, a third of them for each class.
    np.testing.assert_allclose(balanced, np.array([1 / 4, 1 / 4, 1 / 4, 1 / 4 + 1 / 2 + 1, 1 / 2]) * 5 / 3)
    np.testing.assert_allclose(_repeats(dataset, name="oversample").expected, [1, 1, 1, 4, 2])
    np.testing.assert_allclose(_repeats(dataset, name="undersample").expected, [0.25, 0.25, 0.25, 1, 0.5])
    factors = _repeats(dataset, name="repeat_factor", threshold=0.8).expected
    np.testing.assert_allclose(factors, [1, 1, 1, 2, np.sqrt(2)])


def test_images_without_objects_are_shown_once() -> None:
    dataset = Labelled([[0], [0], [0], [1], [2], [], []])
    for name in ("class_balanced", "square_root", "oversample", "repeat_factor"):
        assert _repeats(dataset, name=name).expected[5:].tolist() == [1.0, 1.0], name
    assert _repeats(dataset, name="class_balanced").total == 7
    assert _repeats(dataset, name="undersample").expected[5:].tolist() == [0.5, 0.5]


def test_random_shows_each_once_and_asks_for_no_labels() -> None:
    dataset = Labelled([[0], [0], [1]])
    assert build_repeats(SETTINGS.validate_python({}), dataset, CLASSES) is None
    assert sorted(_ids(dataset, None)) == [0, 1, 2]
    assert epoch_draws(3, 1, 0, None)[:, 1].tolist() == [0, 0, 0]


def test_epochs_differ_and_repeat_with_the_seed() -> None:
    dataset = _single(20, 8, 3)
    repeats = _repeats(dataset, name="class_balanced")
    assert _ids(dataset, repeats, 0) == _ids(dataset, repeats, 0)
    assert _ids(dataset, repeats, 0) != _ids(dataset, repeats, 1)
    assert _ids(dataset, repeats, 0) != _ids(dataset, repeats, 0, seed=8)


def test_each_occurrence_of_a_sample_has_its_own_number() -> None:
    dataset = _single(20, 8, 2)
    draws = epoch_draws(len(dataset), 7, 0, _repeats(dataset, name="oversample"))
    seen: Counter[int] = Counter()
    for sample_id, occurrence in draws.tolist():
        assert occurrence == seen[sample_id]
        seen[sample_id] += 1
    assert max(seen.values()) == 10


@pytest.mark.parametrize("world_size", [1, 2, 3])
@pytest.mark.parametrize("micro", [None, 2])
def test_any_number_of_workers_is_shown_the_same(world_size: int, micro: int | None) -> None:
    dataset = _single(30, 9, 3)
    repeats = _repeats(dataset, name="square_root")
    plan = SamplingPlan(len(dataset), 8, world_size, micro, seed=7, repeats=repeats)
    keys = [
        (key.sample_id, key.occurrence)
        for rank in range(world_size)
        for batch in plan.micro_batches(epoch=3, rank=rank)
        for key in batch.keys
    ]
    assert sorted(keys) == sorted(map(tuple, epoch_draws(len(dataset), 7, 3, repeats).tolist()))
    assert len(set(keys)) == len(keys) == repeats.total == plan.num_drawn


@pytest.mark.parametrize("name", ["class_balanced", "square_root", "oversample", "undersample", "repeat_factor"])
def test_a_class_that_would_never_be_shown_is_named(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name} would never show dog: no training image") as caught:
        _repeats(_single(3, 0, 2), name=name)
    assert "sampler: {name: random}" in str(caught.value)


def test_the_note_says_what_an_epoch_is() -> None:
    settings = SETTINGS.validate_python({"name": "oversample"})
    repeats = _repeats(_single(128, 24, 8), name="oversample")
    assert sampler_notes(settings, repeats) == [
        "sampler oversample: an epoch shows 384 images out of 160, one of them up to 16 times"
    ]
    assert sampler_notes(SETTINGS.validate_python({}), None) == []


class Sized(Labelled):
    """Samples whose smallest object has the area that is given; None = none at all."""

    def __init__(self, areas: list[float | None]) -> None:
        super().__init__([[] if area is None else [0] for area in areas])
        self.areas = areas

    def has_small_objects(self, max_area: float) -> np.ndarray:
        return np.array([area is not None and area <= max_area for area in self.areas])


def test_images_with_small_objects_are_repeated_and_all_others_shown_once() -> None:
    dataset = Sized([100.0, 400.0, None, 5000.0, 1024.0, 1025.0])
    whole = Counter(_ids(dataset, _repeats(dataset, name="small_objects", factor=3.0)))
    assert [whole[sample_id] for sample_id in range(6)] == [3, 3, 1, 1, 3, 1]
    repeats = _repeats(dataset, name="small_objects", factor=1.5, max_area=400.0)
    assert repeats.total == 7
    for epoch in range(20):
        counts = Counter(_ids(dataset, repeats, epoch))
        assert [counts[sample_id] for sample_id in (2, 3, 4, 5)] == [1, 1, 1, 1]
        assert sorted([counts[0], counts[1]]) == [1, 2], "half of the small ones once more"
    assert len({Counter(_ids(dataset, repeats, epoch))[0] for epoch in range(20)}) == 2, "not always the same half"


@pytest.mark.parametrize(
    ("areas", "words"),
    [
        pytest.param([2000.0, None], "no image has an object of at most `max_area` 1024", id="nothing small"),
        pytest.param([2.0, 3.0], "every image has an object of at most `max_area` 1024", id="nothing else"),
    ],
)
def test_small_objects_without_effect_is_an_error(areas: list[float | None], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        _repeats(Sized(areas), name="small_objects")


def test_small_objects_needs_a_data_set_with_sizes() -> None:
    with pytest.raises(ConfigError, match="labels whole images; take another sampler"):
        _repeats(_single(3, 2, 1), name="small_objects")
