import json

import cv2
import pytest

from foundation.errors import DataError
from vision.formats.stats import stats
from vision.formats.stats_pictures import save_pictures
from vision.settings import ImageFolderData


def test_counts_and_buckets_worked_out_by_hand(voc, object_xml):
    objects = [
        object_xml("cat", (1, 1, 10, 20)),  # 10 x 20: small
        object_xml("cat", (1, 1, 40, 40)),  # 1600: medium
        object_xml("dog", (1, 1, 32, 32)),  # 1024: medium, its lowest
        object_xml("dog", (9, 9, 9, 9)),  # faulty
    ]
    result = stats(voc({"train": {"a": objects, "b": []}}), ["train"])
    assert json.loads(json.dumps(result)) == result
    assert result["classes"] == ["cat", "dog"]
    split = result["splits"]["train"]
    assert (split["images"], split["images_without_objects"], split["objects"]) == (2, 1, 3)
    assert split["classes"] == {
        "cat": {"objects": 2, "images": 1, "small": 1, "medium": 1, "large": 0},
        "dog": {"objects": 1, "images": 1, "small": 0, "medium": 1, "large": 0},
    }
    assert split["objects_per_image"]["median"] == pytest.approx(1.5)
    assert split["aspect_ratio"]["min"] == pytest.approx(0.5)
    assert split["image_sizes"] == [{"height": 40, "width": 60, "images": 2}]
    assert split["faults"] == {"zero_area": 1}


def test_split_without_objects_has_no_quantiles(voc):
    split = stats(voc({"train": {"a": []}}, classes=("cat",)), ["train"])["splits"]["train"]
    assert split["objects"] == 0
    assert split["box_width_px"] == {}
    assert split["objects_per_image"]["max"] == 0
    assert split["classes"] == {"cat": {"objects": 0, "images": 0, "small": 0, "medium": 0, "large": 0}}


def test_counts_are_drawn_one_picture_a_subject(voc, object_xml, tmp_path):
    boxes = [object_xml("cat", (1, 1, 10 + side, 20)) for side in range(20)]
    data = voc({"train": {"a": boxes, "b": []}, "val": {"c": []}})
    paths = save_pictures(data, ["train", "val"], tmp_path / "new" / "pictures", "cats")
    assert [path.name for path in paths] == [
        "cats-classes.png",
        "cats-image-sizes.png",
        "cats-object-sizes.png",
        "cats-aspect-ratios.png",
        "cats-objects-per-image.png",
    ]
    for path in paths:
        assert cv2.imread(str(path)).std() > 5, f"{path} is blank"


def test_nothing_to_count_and_labels_only_can_be_drawn(voc, write_image, tmp_path):
    save_pictures(voc({"train": {"a": []}}, classes=("cat",)), ["train"], tmp_path / "empty", "none")
    for name in ("a", "b"):
        write_image(tmp_path / "folder" / "train" / name / "0.png")
    names = [
        path.name for path in save_pictures(ImageFolderData(root=tmp_path / "folder"), ["train"], tmp_path, "labels")
    ]
    assert names == ["labels-classes.png", "labels-image-sizes.png"]
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot write the picture"):
        save_pictures(ImageFolderData(root=tmp_path / "folder"), ["train"], tmp_path / "file", "labels")
