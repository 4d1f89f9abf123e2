import json

import pytest

from foundation.errors import ConfigError, DataError
from vision.formats import known_splits, read_dataset
from vision.settings import CocoData

LARGE_ID = 900100000000123
IMAGES = [
    {"id": LARGE_ID, "file_name": "deep/a.jpg", "height": 40, "width": 60},
    {"id": 7, "file_name": "b.jpg", "height": 40, "width": 60},
]
CATEGORIES = [{"id": 90, "name": "toothbrush"}, {"id": 3, "name": "car"}]


def annotation(**keys):
    return {"id": 1, "image_id": LARGE_ID, "category_id": 90, "bbox": [1.5, 2, 10, 20], **keys}


def test_gaps_crowds_areas_and_large_ids(coco):
    data = coco([annotation(area=33.5), annotation(id=2, category_id=3, iscrowd=1)], IMAGES, CATEGORIES)
    dataset = read_dataset(data, "train")
    record = dataset.records[0]
    assert dataset.classes == ("car", "toothbrush")
    assert record.labels.tolist() == [1, 0]
    assert record.boxes.tolist() == [[1.5, 2, 11.5, 22]] * 2
    assert record.area.tolist() == [33.5, 200.0]
    assert record.iscrowd.tolist() == [False, True]


def test_images_without_annotations_are_kept_in_order(coco):
    records = read_dataset(coco([annotation()], IMAGES, CATEGORIES), "train").records
    assert [(record.sample_id, record.name, len(record.boxes)) for record in records] == [(0, "deep/a", 1), (1, "b", 0)]


def test_names_that_would_clash_keep_their_suffix(coco):
    images = [{"id": 1, "file_name": "a.jpg"}, {"id": 2, "file_name": "a.png"}]
    records = read_dataset(coco([], images, CATEGORIES), "train").records
    assert [record.name for record in records] == ["a.jpg", "a.png"]


def test_given_classes_go_by_name(coco):
    data = coco([annotation()], IMAGES, CATEGORIES, classes=("toothbrush", "car"))
    assert read_dataset(data, "train").records[0].labels.tolist() == [0]


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        pytest.param({"image_id": 5}, "its image_id 5 is not among 'images'", id="unknown image"),
        pytest.param({"bbox": [1, 2, 3]}, "cannot be understood", id="three numbers"),
        pytest.param({"bbox": None}, "cannot be understood", id="no box"),
    ],
)
def test_broken_annotation_is_a_fault_with_its_place(coco, keys, words):
    data = coco([annotation(), annotation(**keys)], IMAGES, CATEGORIES, on_error="quarantine")
    dataset = read_dataset(data, "train")
    (fault,) = dataset.faults
    assert (fault.kind, fault.box_index) == ("broken_annotation", 1)
    assert words in fault.message
    assert len(dataset.records[0].boxes) == 1


def test_annotation_without_a_key_says_which(coco):
    broken = annotation()
    del broken["bbox"]
    with pytest.raises(DataError, match="entry 0 of 'annotations' cannot be understood: it has no 'bbox'"):
        read_dataset(coco([broken], IMAGES, CATEGORIES), "train")


def test_unknown_category_is_an_unknown_class(coco):
    with pytest.raises(DataError, match=r"category 5.*unknown_class"):
        read_dataset(coco([annotation(category_id=5)], IMAGES, CATEGORIES), "train")


def test_box_just_beyond_the_edge_has_no_area_left(coco):
    dataset = read_dataset(coco([annotation(bbox=[60, 1, 0.5, 8])], IMAGES, CATEGORIES, on_error="quarantine"), "train")
    assert [fault.kind for fault in dataset.faults] == ["zero_area"]
    assert "no area within its image of 60 x 40 pixels" in dataset.faults[0].message
    assert len(dataset.records[0].boxes) == 0


def test_repeated_image_is_a_fault(coco):
    data = coco([annotation()], [*IMAGES, IMAGES[1]], CATEGORIES, on_error="quarantine")
    dataset = read_dataset(data, "train")
    assert len(dataset.records) == 2
    assert "repeats id 7" in dataset.faults[0].message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("", r"train\.json: this annotation file is empty", id="empty"),
        pytest.param('{"images": [', r"train\.json: this annotation file is not JSON", id="cut short"),
        pytest.param("[]", "should hold a list 'images'", id="results instead of instances"),
        pytest.param('{"images": [], "categories": []}', "lists no image", id="no images"),
        pytest.param('{"images": [{}], "categories": [{"id": 1}]}', "should have an id and a name", id="categories"),
    ],
)
def test_broken_file_stops_at_once(coco, text, words):
    data = coco([], IMAGES, CATEGORIES, on_error="quarantine")
    data.splits["train"].annotations.write_text(text)
    with pytest.raises(DataError, match=words):
        read_dataset(data, "train")


def write_layout(root, write_image, second_name="dog"):
    """Write root/annotations/instances_{train,val}.json with root/train and root/val."""
    (root / "annotations").mkdir(parents=True)
    for split, name in (("train", "cat"), ("val", second_name)):
        write_image(root / split / "a.jpg")
        category = {"id": 1 if split == "train" else 2, "name": name}
        content = {"images": [{"id": 1, "file_name": "a.jpg"}], "categories": [category]}
        (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))


def test_usual_layout_is_found_below_the_root(tmp_path, write_image):
    write_layout(tmp_path, write_image)
    data = CocoData(root=tmp_path)
    assert known_splits(data) == ("train", "val")
    assert read_dataset(data, "val").records[0].path == tmp_path / "val" / "a.jpg"


def test_classes_are_joined_over_all_splits(tmp_path, write_image):
    write_layout(tmp_path, write_image)
    data = CocoData(root=tmp_path)
    assert read_dataset(data, "train").classes == read_dataset(data, "val").classes == ("cat", "dog")


def test_splits_that_disagree_about_an_id_are_refused(tmp_path, write_image):
    write_layout(tmp_path, write_image)
    path = tmp_path / "annotations" / "instances_val.json"
    path.write_text(path.read_text().replace('"id": 2', '"id": 1'))
    with pytest.raises(DataError, match=r"category 1 is 'cat' here and 'dog' in .*instances_val\.json"):
        read_dataset(CocoData(root=tmp_path), "train")
    assert read_dataset(CocoData(root=tmp_path, classes=("cat", "dog")), "train").classes == ("cat", "dog")


def test_export_with_one_json_per_folder(tmp_path, write_image):
    write_image(tmp_path / "valid" / "a.jpg")
    content = {"images": [{"id": 0, "file_name": "a.jpg"}], "categories": [{"id": 0, "name": "cat"}]}
    (tmp_path / "valid" / "_annotations.coco.json").write_text(json.dumps(content))
    assert len(read_dataset(CocoData(root=tmp_path), "valid").records) == 1


def test_split_that_is_not_in_splits_says_which_are(coco):
    with pytest.raises(DataError, match="no split 'val'; known splits: train"):
        read_dataset(coco([], IMAGES, CATEGORIES), "val")


def test_neither_root_nor_splits_is_a_mistake_of_configuration():
    with pytest.raises(ConfigError, match="needs `root`, or `splits`"):
        known_splits(CocoData())


def test_missing_image_folder_is_named(coco):
    data = coco([], IMAGES, CATEGORIES)
    moved = data.splits["train"].model_copy(update={"images": data.splits["train"].images / "wrong"})
    with pytest.raises(DataError, match=r"wrong: this folder of images does not exist"):
        read_dataset(data.model_copy(update={"splits": {"train": moved}}), "train")
