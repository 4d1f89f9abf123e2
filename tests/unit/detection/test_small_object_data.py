"""The preset `small_objects` and `anchors: auto` on a data set: the same whoever loads it, and told where idle."""

import pickle
from dataclasses import replace

import cv2
import numpy as np
import pytest
from torch.utils.data import DataLoader

from detection.data import DetectionDataset
from detection.models.fitted_anchors import FittedAnchors
from detection.settings import DetectionSettings
from detection.task import DetectionTask
from engine.task import SampleKey, TaskSpec
from foundation.errors import DataError
from tests.fakes import make_record
from vision.record import Dataset

SIZE = (96, 96)
SMALL = 20.0
RECTANGLE = {"size": [96, 96], "counts": [96 * 70 + 70, 10, 96 * 26 - 80]}
"""A mask of one pixel column, ten pixels high."""


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Four images of 96 x 96 pixels: a crowd, a large object, and in all but the last a small one of its own class."""
    folder = tmp_path_factory.mktemp("images")
    records = []
    for index in range(4):
        image = np.random.default_rng(index).integers(0, 80, (*SIZE, 3), dtype=np.uint8)
        boxes = [[1, 1, 5, 5], [10, 10, 50, 60], [70, 70, 80, 80]][: 2 if index == 3 else 3]
        for x1, y1, x2, y2 in boxes:
            image[y1:y2, x1:x2] = 250
        path = folder / f"{index}.png"
        cv2.imwrite(str(path), image)
        crowd = [True] + [False] * (len(boxes) - 1)
        labels = [0, 3, index][: len(boxes)]
        records.append(make_record(index, boxes, labels, iscrowd=crowd, image_size=SIZE, path=path))
    return Dataset(tuple("abcd"), tuple(records))


def build(dataset, *, outlines=None, **augment):
    given = {"preset": "small_objects", "stitcher": 0.1, "zoom": 0.25, "small_size": SMALL, **augment}
    settings = DetectionSettings.model_validate({"image_size": SIZE, "augment": given})
    return DetectionDataset(dataset, settings, train=True, seed=1, epochs=10, outlines=outlines)


def content(sample):
    return sample.image.tobytes(), sample.boxes.tobytes(), sample.labels.tobytes()


KEYS = [SampleKey(epoch, sample_id, times) for epoch in (0, 9) for sample_id in range(4) for times in range(3)]


def test_samples_do_not_depend_on_order_history_or_process(dataset):
    expected = [content(build(dataset)[key]) for key in KEYS]
    assert len(set(expected)) == len(KEYS)
    used = build(dataset)
    assert [content(used[key]) for key in reversed(KEYS)][::-1] == expected
    assert [content(pickle.loads(pickle.dumps(used))[key]) for key in KEYS[:3]] == expected[:3]
    loader = DataLoader(build(dataset), sampler=KEYS, batch_size=None, num_workers=2)
    assert [content(sample) for sample in loader] == expected


def test_copies_are_of_small_objects_that_are_no_crowds(dataset):
    samples = build(dataset, preset="none", copy_paste={"chance": 1.0, "source": "other"})
    copied = [label for key in KEYS[:12] for label in samples[key].labels if label != 3]
    assert set(copied) == {0, 1, 2}
    assert samples.copies["pasted"] > 0


def test_outlines_are_asked_for_small_objects_and_followed(dataset):
    asked = []

    def outlines(records, wanted):
        asked.extend(each.tolist() for each in wanted)
        return [{2: RECTANGLE} for _ in records]

    plain = {"preset": "none", "copy_paste": {"chance": 1.0, "source": "same", "rotation": 0.0, "scale": 0.0}}
    samples = build(dataset, outlines=outlines, **plain)
    assert asked == [[False, False, True]] * 3 + [[False, False]]
    sample = samples[SampleKey(0, 1)]
    sides = sample.boxes[2:, 2:] - sample.boxes[2:, :2]
    assert len(sides)
    assert np.abs(sides - [1, 10]).max() <= 1
    assert not samples.copies["without_room"]


def test_an_outline_that_is_none_names_its_file(dataset):
    samples = build(dataset, outlines=lambda records, _: [{2: [[1, 2]]}] * len(records), copy_paste={"chance": 1.0})
    with pytest.raises(DataError, match=r"png has a `segmentation`.*copy_paste.masks: false"):
        for key in KEYS[:12]:
            samples[key]


def test_outlines_are_not_read_where_they_are_not_wanted(dataset):
    def outlines(*_):
        raise AssertionError

    build(dataset, outlines=outlines, copy_paste={"masks": False})
    build(dataset, outlines=outlines, preset="default")


def test_a_split_without_small_objects_is_told(dataset):
    assert build(dataset).augment_notes() == []
    (note,) = build(dataset, small_size=2.0).augment_notes()
    assert "nothing for copy_paste and zoom to do" in note


def test_box_sizes_are_those_of_the_fitted_images_without_crowds(dataset):
    half = DetectionSettings.model_validate({"image_size": [48, 48]})
    samples = DetectionDataset(dataset, half, train=True, seed=0, epochs=1)
    assert samples.box_sizes().tolist() == [[20, 25], [5, 5]] * 3 + [[20, 25]]


def test_a_task_fits_anchors_to_its_training_split_and_says_so(dataset, monkeypatch):
    model = {"name": "retinanet", "anchors": "auto", "levels": [3, 4], "fpn_channels": 8, "head_convs": 1}
    settings = {"image_size": list(SIZE), "model": {**model, "backbone": {"name": "resnet18", "width": 0.125}}}
    data = {"format": "voc", "root": "nowhere"}
    task = DetectionTask(TaskSpec("detection", settings, data), classes=dataset.classes)
    sides = np.random.default_rng(0).uniform(20, 60, (4, 30, 2))
    many = [np.concatenate([np.zeros((30, 2)), each], axis=1) for each in sides]
    records = tuple(
        replace(make_record(i, boxes, [0] * 30, image_size=SIZE), path=r.path)
        for i, (boxes, r) in enumerate(zip(many, dataset.records, strict=True))
    )
    monkeypatch.setattr(task, "dataset", lambda _: replace(dataset, records=records))
    unfitted = task.build_model()
    task.build_dataset("train", train=True)
    fitted = task.build_model()
    assert ["levels fitted to 120 boxes" in note for note in task.notes()] == [True]
    sizes = [
        next(m for m in net.modules() if isinstance(m, FittedAnchors)).sizes_px(SIZE) for net in (unfitted, fitted)
    ]
    assert not np.array_equal(sizes[0][0], sizes[1][0])
