"""The embedded data set: deterministic, honest boxes, long-tailed, safe to generate from several processes."""

import json
import multiprocessing
from pathlib import Path

import numpy as np
import pytest

from foundation.errors import DataError
from vision.generated import ensure_folder
from vision.images import read_image
from vision.scenes import CLASSES, SPLITS, ensure_crops, read_masks, read_scenes, scenes_folder
from vision.scenes.canvas import Canvas
from vision.scenes.compose import MIN_VISIBLE, compose_scene, plan_labels
from vision.scenes.digits import enlarge_scan, load_scans
from vision.scenes.rle import mask_from_rle, rle_from_mask
from vision.scenes.sprites import CLUTTER, Paint, Patch
from vision.scenes.storage import box_from_mask, ensure_scenes
from vision.scenes.video_sequence import compose_sequence
from vision.settings import ScenesData

SIZE = (160, 160)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> ScenesData:
    return ScenesData(root=tmp_path_factory.mktemp("scenes"), seed=3, num_images=8, image_size=SIZE)


def _content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_the_same_settings_give_the_same_bytes(data, tmp_path):
    read_scenes(data, "train")
    again = data.model_copy(update={"root": tmp_path})
    read_scenes(again, "train")
    first = _content(scenes_folder(data))
    assert {name: first[name] for name in _content(scenes_folder(again))} == _content(scenes_folder(again))


@pytest.mark.parametrize("change", [{"seed": 4}, {"num_images": 9}, {"image_size": (128, 160)}])
def test_everything_that_shapes_the_scenes_stands_in_the_folder_name(data, change):
    assert scenes_folder(data.model_copy(update=change)) != scenes_folder(data)


def test_a_scene_does_not_depend_on_those_before_it():
    labels = np.array([0, 3, 7])
    alone = compose_scene(1, "val", 5, labels, SIZE)
    compose_scene(1, "val", 4, labels, SIZE)
    after_another = compose_scene(1, "val", 5, labels, SIZE)
    np.testing.assert_array_equal(alone.image, after_another.image)
    np.testing.assert_array_equal(alone.masks, after_another.masks)


def test_other_seeds_and_splits_look_different():
    labels = np.array([0])
    reference = compose_scene(1, "train", 0, labels, SIZE).image
    assert not np.array_equal(reference, compose_scene(2, "train", 0, labels, SIZE).image)
    assert not np.array_equal(reference, compose_scene(1, "test", 0, labels, SIZE).image)


@pytest.mark.parametrize(("split", "expected"), [("train", 8), ("val", 2), ("test", 2)])
def test_each_split_has_its_share_of_images_and_every_class(data, split, expected):
    dataset = read_scenes(data, split)
    assert dataset.classes == CLASSES
    assert [record.sample_id for record in dataset.records] == list(range(expected))
    assert set(np.concatenate([record.labels for record in dataset.records])) == set(range(10))


def test_names_are_unique_over_the_splits(data):
    names = [record.name for split in SPLITS for record in read_scenes(data, split).records]
    assert len(set(names)) == len(names)


def test_boxes_areas_and_masks_agree(data):
    for record in read_scenes(data, "train").records:
        masks = read_masks(data, "train", record.sample_id)
        assert masks.shape == (len(record.labels), *SIZE)
        assert record.boxes.dtype == np.float32 and record.labels.dtype == np.int64
        np.testing.assert_array_equal(record.boxes, np.array([box_from_mask(mask) for mask in masks]).reshape(-1, 4))
        np.testing.assert_array_equal(record.area, masks.sum(axis=(1, 2)))
        assert masks.sum(axis=0).max(initial=0) <= 1, "visible masks never overlap"


def test_the_images_have_the_size_that_is_written_down(data):
    record = read_scenes(data, "test").records[0]
    assert read_image(record.path).shape == (*record.image_size, 3) == (*SIZE, 3)


def test_the_plan_is_long_tailed_and_sometimes_empty():
    plan = plan_labels(seed=0, split="train", num_images=400)
    counts = np.bincount(np.concatenate(plan), minlength=10)
    assert (np.diff(counts) < 0).all()
    assert 17 <= counts[0] / counts[-1] <= 23
    sizes = [len(labels) for labels in plan]
    assert min(sizes) == 0 and max(sizes) <= 14
    assert 4 <= sizes.count(0) <= 20


@pytest.mark.parametrize("num_images", [1, 2, 5])
def test_even_the_smallest_plan_shows_every_class(num_images):
    plan = plan_labels(seed=0, split="val", num_images=num_images)
    assert len(plan) == num_images
    assert set(np.concatenate(plan)) == set(range(10))


def test_most_digits_are_small_and_all_planned_ones_are_placed():
    plan = plan_labels(seed=0, split="train", num_images=400)[:24]
    scenes = [compose_scene(0, "train", index, labels, (320, 320)) for index, labels in enumerate(plan)]
    assert [len(scene.labels) for scene in scenes] == [len(labels) for labels in plan]
    areas = np.concatenate([scene.masks.sum(axis=(1, 2)) for scene in scenes])
    assert (areas < 32**2).mean() > 0.55
    assert min(scene.visibility.min(initial=1) for scene in scenes) >= MIN_VISIBLE


def test_no_scan_belongs_to_two_splits():
    seen: set[bytes] = set()
    num_scans = 0
    for split in SPLITS:
        own = {scan.tobytes() for scans in load_scans(split) for scan in scans}
        assert not own & seen
        seen |= own
        num_scans += sum(len(scans) for scans in load_scans(split))
    assert num_scans == 1797


def test_an_enlarged_scan_keeps_its_place_and_a_thick_pen_gives_more_ink():
    scan = load_scans("train")[0][0]
    thin, thick = enlarge_scan(scan, 96, weight=0.0), enlarge_scan(scan, 96, weight=1.0)
    assert thin.shape == (96, 96) and thin.min() >= 0 and thin.max() == 1
    assert thin.sum() < thick.sum()
    assert thick[:8].max() == 0 and thick[:, :8].max() == 0


def _square(top: int, left: int, side: int) -> Patch:
    layers = np.zeros((side, side, 3), np.float32)
    layers[..., 0] = 1
    return Patch(layers, np.ones((side, side), bool), top, left)


def test_visibility_counts_what_is_hidden_and_what_lies_outside():
    canvas = Canvas(np.zeros((10, 10, 3), np.float32))
    black = np.zeros(3, np.float32)
    paint = Paint(black, black, black, shadow=0.0, halo=0.0)
    canvas.paint(_square(0, -2, 4), paint)  # 8 of its 16 pixels are in the picture
    assert canvas.visible_shares().tolist() == [0.5]
    own, others = canvas.visible_shares_after(_square(2, 0, 4))  # would hide 4 of the 8
    assert own == 1.0 and others.tolist() == [0.25]
    canvas.paint(_square(2, 0, 4), paint)
    assert canvas.visible_shares().tolist() == [0.25, 1.0]
    assert canvas.owner[3, 1] == 1 and canvas.owner[1, 1] == 0 and canvas.owner[9, 9] == -1


@pytest.mark.parametrize(
    ("mask", "counts"),
    [
        pytest.param([[0, 0], [0, 0]], [4], id="empty"),
        pytest.param([[1, 1], [1, 1]], [0, 4], id="full"),
        pytest.param([[0, 1], [1, 1]], [1, 3], id="runs go down the columns"),
        pytest.param([[1, 0, 1]], [0, 1, 1, 1], id="a gap"),
    ],
)
def test_run_lengths(mask, counts):
    mask = np.array(mask, dtype=bool)
    rle = rle_from_mask(mask)
    assert rle == {"size": list(mask.shape), "counts": counts}
    np.testing.assert_array_equal(mask_from_rle(rle), mask)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools and numpy 2
def test_run_lengths_agree_with_the_fields_own_decoder(data):
    from pycocotools import mask as coco_mask

    text = (ensure_scenes(data) / "annotations" / "instances_train.json").read_text(encoding="utf-8")
    rle = json.loads(text)["annotations"][0]["segmentation"]
    decoded = coco_mask.decode(coco_mask.frPyObjects(rle, *rle["size"]))
    np.testing.assert_array_equal(mask_from_rle(rle), decoded.astype(bool))


def test_runs_that_do_not_cover_the_image_are_refused():
    with pytest.raises(ValueError, match="cover 3 pixels"):
        mask_from_rle({"size": [2, 2], "counts": [1, 2]})


def test_an_unknown_split_is_refused(data):
    with pytest.raises(DataError, match=r"'dev'.*train, val, test"):
        read_scenes(data, "dev")


def test_classes_may_be_reordered_but_not_left_out(data):
    backwards = read_scenes(data.model_copy(update={"classes": CLASSES[::-1]}), "train")
    forwards = read_scenes(data, "train")
    for one, other in zip(backwards.records, forwards.records, strict=True):
        np.testing.assert_array_equal(one.labels, 9 - other.labels)
    with pytest.raises(DataError, match="expected the ten digits"):
        read_scenes(data.model_copy(update={"classes": ("zero", "one")}), "train")


@pytest.mark.parametrize("victim", ["images/train/train_000001.jpg", "annotations/instances_train.json"])
def test_a_damaged_folder_says_what_to_delete(tmp_path, victim):
    data = ScenesData(root=tmp_path, num_images=2, image_size=(96, 96))
    read_scenes(data, "train")
    (scenes_folder(data) / victim).unlink()
    with pytest.raises(DataError, match="delete the folder"):
        read_scenes(data, "train")


def test_a_place_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match="ORCHESTRATOR_CACHE"):
        read_scenes(ScenesData(root=tmp_path / "file", num_images=1), "train")


def test_a_failed_generation_leaves_nothing_behind(tmp_path):
    def fail(folder: Path) -> None:
        (folder / "half").write_text("done")
        raise OSError("disk full")

    with pytest.raises(DataError, match="disk full"):
        ensure_folder(tmp_path / "made", fail)
    assert [path.name for path in tmp_path.iterdir()] == [".made.lock"]


def _ensure_slowly(folder: Path, counter: Path) -> None:
    def fill(target: Path) -> None:
        with counter.open("a") as file:
            file.write("x")
        (target / "content").write_text("whole")

    ensure_folder(folder, fill)
    assert (folder / "content").read_text() == "whole"


def test_two_processes_at_once_generate_once(tmp_path):
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_ensure_slowly, args=(tmp_path / "made", tmp_path / "count")) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=30)
    assert [process.exitcode for process in processes] == [0] * 4
    assert (tmp_path / "count").read_text() == "x"


def test_what_a_killed_process_left_is_swept_away(tmp_path):
    (tmp_path / ".made.tmp-abandoned").mkdir()
    ensure_folder(tmp_path / "made", lambda folder: (folder / "content").touch())
    assert sorted(path.name for path in tmp_path.iterdir()) == [".made.lock", "made"]


def test_one_crop_for_each_box(data):
    folder = ensure_crops(data)
    for split in SPLITS:
        records = read_scenes(data, split).records
        expected = np.bincount(np.concatenate([record.labels for record in records]), minlength=10)
        assert [len(list((folder / split / name).glob("*.png"))) for name in CLASSES] == expected.tolist()
    assert read_image(next((folder / "train" / "zero").iterdir())).ndim == 3


def test_a_sequence_keeps_its_tracks_and_moves():
    scenes = compose_sequence(seed=0, split="train", index=0, num_frames=6, image_size=SIZE)
    label_of_track: dict[int, int] = {}
    for scene in scenes:
        for track, label in zip(scene.painted.tolist(), scene.labels.tolist(), strict=True):
            assert label != CLUTTER
            assert label_of_track.setdefault(track, label) == label
    assert len(label_of_track) >= 3
    assert not np.array_equal(scenes[0].masks.any(axis=0), scenes[5].masks.any(axis=0))
