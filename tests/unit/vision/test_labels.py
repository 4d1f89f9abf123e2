"""Objects of data sets with boxes, cut out for classification."""

import numpy as np
import pytest

from foundation.errors import DataError
from vision.boxes import crop_window
from vision.formats import read_dataset
from vision.formats.labels import read_labels
from vision.images import read_image, read_shown
from vision.settings import ScenesData


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        pytest.param((20, 20, 40, 30), (18, 19, 42, 31), id="a tenth of each side"),
        pytest.param((10, 10, 12, 12), (9, 9, 13, 13), id="at least a pixel"),
        pytest.param((0, 0, 60, 40), (0, 0, 60, 40), id="not beyond the image"),
        pytest.param((20.4, 20.6, 39.2, 29.1), (18, 19, 42, 31), id="outwards to whole pixels"),
    ],
)
def test_windows_around_boxes_in_an_image_of_60_x_40_pixels(box, expected):
    assert crop_window(np.array(box, np.float32), (40, 60), 0.1) == expected


def test_objects_become_samples_and_crowds_do_not(voc, object_xml):
    objects = [object_xml("cat", (21, 21, 40, 30)), object_xml("dog", (1, 1, 9, 9), difficult=1)]
    data = voc({"train": {"a": objects, "b": [], "c": [object_xml("dog", (1, 1, 60, 40))]}})
    first, second = read_labels(data, "train").records
    assert (first.sample_id, first.name, first.label, first.box) == (0, "a_00", 0, (18, 19, 42, 31))
    assert (second.sample_id, second.name, second.label, second.box) == (1, "c_00", 1, (0, 0, 60, 40))
    np.testing.assert_array_equal(read_shown(first), read_image(first.path)[19:31, 18:42])
    assert first.shown_size == read_shown(first).shape[:2]


def test_a_split_without_objects_is_refused(voc, object_xml):
    data = voc({"train": {"a": [object_xml("cat", (1, 1, 9, 9)), object_xml("dog", (1, 1, 9, 9))]}, "val": {"b": []}})
    with pytest.raises(DataError, match="no object that could be classified"):
        read_labels(data, "val")


def test_crops_of_scenes_hold_the_pixels_of_the_scenes(tmp_path):
    data = ScenesData(root=tmp_path, num_images=6, image_size=(160, 160))
    dataset = read_labels(data, "train")
    scenes = {record.name: record for record in read_dataset(data, "train").records}
    assert len(dataset.records) == sum(len(record.labels) for record in scenes.values())
    for image in dataset.records[:5]:
        scene, _, index = image.name.rpartition("_")
        assert dataset.classes[image.label] == dataset.classes[scenes[scene].labels[int(index)]]
        left, top, right, bottom = crop_window(scenes[scene].boxes[int(index)], (160, 160), 0.1)
        shown = read_shown(image)
        np.testing.assert_array_equal(shown, read_image(scenes[scene].path)[top:bottom, left:right])
        assert shown.shape[:2] == image.image_size


@pytest.mark.parametrize(
    "classes", [None, ("nine", "eight", "seven", "six", "five", "four", "three", "two", "one", "zero")]
)
def test_crops_of_scenes_exist_whatever_the_order_of_the_classes(tmp_path, classes):
    data = ScenesData(root=tmp_path, num_images=2, image_size=(160, 160), classes=classes)
    assert all(record.path.is_file() for record in read_labels(data, "train").records)
