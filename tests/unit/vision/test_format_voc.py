import pytest

from foundation.errors import DataError
from vision.formats import known_splits, read_dataset
from vision.settings import VocData


def test_one_based_inclusive_corners_become_pixel_edges(voc, object_xml):
    data = voc({"train": {"a": [object_xml("cat", (1, 1, 60, 40)), object_xml("dog", (11, 21, 20, 30), difficult=1)]}})
    (record,) = read_dataset(data, "train").records
    assert record.boxes.tolist() == [[0, 0, 60, 40], [10, 20, 20, 30]]
    assert record.area.tolist() == [2400, 100]
    assert record.iscrowd.tolist() == [False, True]
    assert (record.name, record.sample_id, record.image_size) == ("a", 0, (40, 60))
    assert str(record.boxes.dtype) == "float32"
    assert str(record.labels.dtype) == "int64"


def test_classes_are_sorted_over_all_splits(voc, object_xml):
    data = voc({"train": {"a": [object_xml("zebra", (1, 1, 9, 9))]}, "val": {"b": [object_xml("ant", (1, 1, 9, 9))]}})
    assert read_dataset(data, "train").classes == read_dataset(data, "val").classes == ("ant", "zebra")
    assert read_dataset(data, "train").records[0].labels.tolist() == [1]


def test_given_classes_keep_their_order(voc, object_xml):
    data = voc({"train": {"a": [object_xml("ant", (1, 1, 9, 9))]}}, classes=("zebra", "ant"))
    assert read_dataset(data, "train").records[0].labels.tolist() == [1]


def test_order_is_that_of_the_list_and_names_need_no_counter(voc):
    data = voc({"train": {"c": [], "a": [], "b": []}}, classes=("cat",))
    assert [record.name for record in read_dataset(data, "train").records] == ["c", "a", "b"]


def test_image_without_objects_is_background(voc):
    (record,) = read_dataset(voc({"train": {"a": []}}, classes=("cat",)), "train").records
    assert record.boxes.shape == (0, 4)
    assert record.area.shape == record.labels.shape == record.iscrowd.shape == (0,)


def test_parts_of_an_object_are_no_objects(voc):
    part = "<part><name>head</name><bndbox><xmin>1</xmin></bndbox></part>"
    box = "<bndbox><xmin>1.0</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox>"
    data = voc({"train": {"a": [f"<object>{part}<name>person</name>{box}</object>"]}})
    dataset = read_dataset(data, "train")
    assert dataset.classes == ("person",)
    assert dataset.records[0].boxes.tolist() == [[0, 0, 9, 9]]


def test_splits_leave_out_the_lists_per_class(voc):
    data = voc({"train": {"a": []}, "test": {"b": []}, "val": {"c": []}})
    (data.root / "ImageSets" / "Main" / "cat_train.txt").write_text("a 1\n")
    assert known_splits(data) == ("train", "val", "test")


def test_without_lists_everything_is_one_split(voc):
    data = voc({"train": {"b": [], "a": []}}, classes=("cat",))
    (data.root / "ImageSets" / "Main" / "train.txt").unlink()
    assert known_splits(data) == ("all",)
    assert [record.name for record in read_dataset(data, "all").records] == ["a", "b"]


def test_unknown_split_names_those_there_are(voc):
    with pytest.raises(DataError, match=r"no split 'trian' \(did you mean 'train'\?\); known splits: train, test"):
        read_dataset(voc({"train": {"a": []}, "test": {"b": []}}), "trian")


def test_missing_root_is_named(tmp_path):
    with pytest.raises(DataError, match=r"nowhere: this folder does not exist; mend `root`"):
        read_dataset(VocData(root=tmp_path / "nowhere"), "train")


def test_folder_of_another_layout_says_what_is_expected(tmp_path):
    with pytest.raises(DataError, match="no folder 'Annotations' here; `format: voc` expects"):
        read_dataset(VocData(root=tmp_path), "train")


def test_folder_without_images_stops_at_once(voc):
    data = voc({"train": {"a": []}}, on_error="quarantine")
    (data.root / "JPEGImages" / "a.jpg").unlink()
    with pytest.raises(DataError, match="JPEGImages: this folder holds no image"):
        read_dataset(data, "train")


def test_empty_list_stops_at_once(voc):
    data = voc({"train": {"a": []}, "val": {}})
    with pytest.raises(DataError, match=r"val\.txt: this split lists no image"):
        read_dataset(data, "val")
