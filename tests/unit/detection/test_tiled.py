"""Tiles and passes, with a detector that sees every bright spot: what comes out is as if the image was seen at once."""

import json
from itertools import chain
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from detection import data as data_module
from detection import tiled_data
from detection.preview import preview_sheet
from detection.settings import DetectionSettings
from detection.task import DetectionTask
from detection.tiled import predict_sliced
from detection.tiled_data import SlicedDataset, collate_sliced, slice_image
from engine.evaluation import evaluate
from engine.precision import resolve_precision
from engine.runtimes import InProcessRuntime
from engine.task import SampleKey, TaskSpec
from vision.settings import CocoData

SIZE = (64, 64)
SPOTS = [(8, 10, 16, 18), (58, 20, 70, 32), (100, 60, 110, 90)]
"""In an image of 100 x 150: in the first tile of 64 alone, across the first edge, and in the second row."""


class SpotDetector(nn.Module):
    """One detection of class 0 per bright spot of at least `least_px` pixels; a little surer of larger ones."""

    normalises_over_ranks = False

    def __init__(self, least_px: int = 4, only_left: bool = False) -> None:
        super().__init__()
        self.least_px, self.only_left = least_px, only_left
        self.batch_sizes: list[int] = []

    def forward(self, images: Tensor, targets: object = None) -> list[dict[str, Tensor]]:
        self.batch_sizes.append(len(images))
        return [self._detect(image.mean(0).numpy()) for image in images]

    def _detect(self, image: np.ndarray) -> dict[str, Tensor]:
        count, marks, stats, _ = cv2.connectedComponentsWithStats((image > 0.6).astype(np.uint8))
        spots = [n for n in range(1, count) if stats[n, cv2.CC_STAT_AREA] >= self.least_px]
        boxes = [[x, y, x + w, y + h] for x, y, w, h, _ in stats[spots].tolist()]
        spots = [n for n, box in zip(spots, boxes, strict=True) if not self.only_left or box[0] < 32]
        boxes = [box for box in boxes if not self.only_left or box[0] < 32]
        scores = [float(np.median(image[marks == n])) - 0.1 / int((marks == n).sum()) for n in spots]
        return {
            "boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
            "scores": torch.tensor(scores, dtype=torch.float32),
            "labels": torch.zeros(len(spots), dtype=torch.int64),
        }


def picture(spots: list[tuple[int, ...]], size: tuple[int, int] = (100, 150)) -> np.ndarray:
    image = np.zeros((*size, 3), np.uint8)
    for x1, y1, x2, y2 in spots:
        image[y1:y2, x1:x2] = 230
    return image


def settings_of(**settings: Any) -> DetectionSettings:
    return DetectionSettings.model_validate({"image_size": list(SIZE), "augment": {"preset": "none"}} | settings)


def detect(images: list[np.ndarray], model: SpotDetector | None = None, **settings: Any) -> list[Any]:
    parsed = settings_of(**settings)
    batch = collate_sliced([slice_image(image, index, parsed) for index, image in enumerate(images)])
    return predict_sliced(model or SpotDetector(), batch, parsed)


def tiles(**settings: Any) -> dict[str, Any]:
    return {"tile_size": [64, 64], "overlap": 0.25, "full_frame": False} | settings


def boxes_of(detections: Any) -> list[list[float]]:
    return sorted(detections.boxes.round().tolist())


@pytest.mark.parametrize("merge", ["nms", "nmm"])
def test_every_object_is_found_once_in_the_images_own_pixels(merge: str) -> None:
    (found,) = detect([picture(SPOTS)], tiling=tiles(merge=merge))
    np.testing.assert_allclose(boxes_of(found), sorted(SPOTS))
    assert found.scores == pytest.approx([230 / 255] * 3, abs=0.01)


@pytest.mark.parametrize("settings", [{"merge": "wbf"}, {"merge": "nms", "measure": "iou"}])
def test_by_iou_an_object_in_two_tiles_is_one_and_its_cut_part_another(settings: dict[str, str]) -> None:
    (found,) = detect([picture([(50, 4, 60, 14), (58, 20, 70, 32)])], tiling=tiles(**settings))
    assert boxes_of(found) == [[50, 4, 60, 14], [58, 20, 64, 32], [58, 20, 70, 32]]


def test_tiles_of_another_size_than_the_models_are_mapped_back() -> None:
    (found,) = detect([picture(SPOTS)], tiling=tiles(tile_size=[32, 48]))
    for spot in SPOTS[:2]:
        assert sum(np.abs(box - np.array(spot)).max() < 1 for box in found.boxes) == 1


def test_an_object_larger_than_the_overlap_becomes_whole_by_its_smaller_parts() -> None:
    spot = (30, 20, 90, 40)
    (cut,) = detect([picture([spot])], tiling=tiles(merge="nms"))
    assert list(spot) not in boxes_of(cut)
    (whole,) = detect([picture([spot])], tiling=tiles(merge="nmm", iou_threshold=0.3))
    assert boxes_of(whole) == [list(spot)]


def test_the_whole_image_gives_the_objects_that_are_larger_than_a_tile() -> None:
    """Although their parts in the tiles are found with a higher score."""
    (found,) = detect([picture([(10, 20, 140, 40)])], tiling=tiles(full_frame=True))
    np.testing.assert_allclose(found.boxes, [(10, 20, 140, 40)], atol=2.5)


def test_tiles_find_what_is_too_small_in_the_whole_image() -> None:
    image = picture([(300, 200, 306, 206)], size=(640, 640))
    assert len(detect([image], tiling=None, test_time={"flip": True})[0].scores) == 0
    assert boxes_of(detect([image], tiling=tiles(full_frame=True))[0]) == [[300, 200, 306, 206]]


@pytest.mark.parametrize("size", [(64, 64), (40, 50)], ids=["exactly a tile", "smaller"])
def test_an_image_of_one_tile_is_seen_as_without_tiling(size: tuple[int, int]) -> None:
    image = picture([(8, 10, 16, 18)], size=size)
    sliced = slice_image(image, 0, settings_of(tiling=tiles(full_frame=True)))
    assert len(sliced.windows) == 1
    plain = slice_image(image, 0, settings_of())
    np.testing.assert_array_equal(sliced.pixels[0][0], plain.pixels[0][0])


def test_the_whole_image_is_seen_after_its_tiles() -> None:
    sliced = slice_image(picture(SPOTS), 0, settings_of(tiling=tiles(full_frame=True)))
    assert len(sliced.windows) == 7 and sliced.windows[-1] == (0, 0, 150, 100)
    assert {pixels.shape for pixels in sliced.pixels[0]} == {(3, *SIZE)}


def test_images_of_different_numbers_of_tiles_share_batches_and_keep_apart() -> None:
    images = [picture(SPOTS), picture([], size=(30, 30)), picture([(3, 4, 12, 14)], size=(64, 100))]
    expected = [sorted(SPOTS), [], [(3, 4, 12, 14)]]
    for batch_size, sizes in ((16, [9]), (4, [4, 4, 1]), (1, [1] * 9)):
        model = SpotDetector()
        found = detect(images, model, tiling=tiles(batch_size=batch_size))
        assert [one.sample_id for one in found] == [0, 1, 2]
        assert [boxes_of(one) for one in found] == [[list(box) for box in boxes] for boxes in expected]
        assert model.batch_sizes == sizes
        assert (found[1].boxes.shape, found[1].labels.dtype) == ((0, 4), np.int64)


def test_only_the_strongest_of_the_image_are_reported() -> None:
    image = picture([])
    for x in range(0, 150, 10):
        image[40:46, x : x + 6] = 180 + x // 10
    (found,) = detect([image], tiling=tiles(), max_detections=2)
    assert found.boxes[:, 0].round().tolist() == [140, 130]


@pytest.mark.parametrize(("flip", "scales"), [(True, [1.0]), (False, [1.0, 2.0]), (True, [1.0, 1.5, 2.0])])
def test_passes_see_the_same_objects_and_agree(flip: bool, scales: list[float]) -> None:
    spot = (8, 10, 24, 18)
    (found,) = detect([picture([spot], size=SIZE)], test_time={"flip": flip, "scales": scales})
    np.testing.assert_allclose(found.boxes, [spot], atol=0.7)
    assert found.scores == pytest.approx([230 / 255], abs=0.02)


def test_what_one_of_two_passes_found_counts_half() -> None:
    model = SpotDetector(only_left=True)
    (found,) = detect([picture([(40, 10, 50, 20)], size=SIZE)], model, test_time={"flip": True})
    np.testing.assert_allclose(found.boxes, [(40, 10, 50, 20)])
    assert found.scores == pytest.approx([115 / 255], abs=1e-3)


def test_passes_are_in_multiples_of_32_and_of_the_images_own_pixels() -> None:
    sliced = slice_image(picture(SPOTS), 0, settings_of(image_size=[64, 96], test_time={"scales": [1.0, 0.8, 2.0]}))
    assert [pixels[0].shape[1:] for pixels in sliced.pixels] == [(64, 96), (64, 64), (128, 192)]
    assert sliced.infos[2][0].fitted_size == (128, 192)


@pytest.fixture()
def root(tmp_path: Path) -> Path:
    """A COCO data set of one image per split, with three objects."""
    for split in ("train", "val"):
        (tmp_path / split).mkdir()
        cv2.imwrite(str(tmp_path / split / "one.png"), picture(SPOTS))
        rows = [
            {"id": n, "image_id": 1, "category_id": 1, "bbox": [x, y, r - x, b - y], "iscrowd": 0}
            | {"area": (r - x) * (b - y)}
            for n, (x, y, r, b) in enumerate(SPOTS, start=1)
        ]
        content = {
            "images": [{"id": 1, "file_name": "one.png", "height": 100, "width": 150}],
            "categories": [{"id": 1, "name": "spot"}],
            "annotations": rows,
        }
        (tmp_path / f"{split}.json").write_text(json.dumps(content))
    return tmp_path


def coco(root: Path) -> dict[str, Any]:
    splits = {s: {"images": str(root / s), "annotations": str(root / f"{s}.json")} for s in ("train", "val")}
    return {"format": "coco", "splits": splits}


def task_of(root: Path, **settings: Any) -> DetectionTask:
    spec = {"image_size": list(SIZE), "augment": {"preset": "none"}} | settings
    return DetectionTask(TaskSpec("detection", spec, coco(root)))


def test_evaluation_counts_whole_images(root: Path) -> None:
    task = task_of(root, tiling=tiles(), cache="none")
    metrics, metric = evaluate(
        task, SpotDetector(), "val", 4, resolve_precision("fp32", torch.device("cpu")), InProcessRuntime()
    )
    assert len(task.build_dataset("val", False)) == 1
    assert metrics["map"] == pytest.approx(1.0)
    assert len(metric.to_json()) == 3


def test_an_evaluation_without_tiles_is_what_it_was(root: Path) -> None:
    plain = task_of(root).build_dataset("val", False)
    assert not isinstance(plain, SlicedDataset)


def test_evaluation_decodes_an_image_once_where_it_is_kept(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = task_of(root, tiling=tiles(full_frame=True), test_time={"scales": [1.0, 1.5]})
    dataset = task.build_dataset("val", False)
    first = dataset[SampleKey(0, 0)]
    monkeypatch.setattr(tiled_data, "read_image", None)
    again = dataset[SampleKey(1, 0)]
    for one, other in zip(chain(*first.pixels), chain(*again.pixels), strict=True):
        np.testing.assert_array_equal(one, other)


def test_training_samples_are_tiles_with_their_own_boxes(root: Path) -> None:
    dataset = task_of(root, tiling=tiles(train=True), cache="none").build_dataset("train", True)
    assert len(dataset) == 6
    assert [len(labels) for labels in dataset.sample_labels()] == [1, 1, 0, 0, 1, 1]
    for sample_id in range(len(dataset)):
        sample = dataset[SampleKey(0, sample_id)]
        bright = np.zeros(SIZE, bool)
        for x1, y1, x2, y2 in sample.boxes.round().astype(int):
            bright[y1:y2, x1:x2] = True
        assert not bright[sample.image[0] == 0].any()


def test_tiles_of_one_file_are_decoded_once_and_not_mixed_up(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another tiling of the same files, with as many tiles of the same size, must not find the first one's pixels."""
    kept = task_of(root, tiling=tiles(train=True)).build_dataset("train", True)
    expected = [kept[SampleKey(0, 0)].image]
    other = task_of(root, tiling=tiles(train=True, overlap=0.1)).build_dataset("train", True)
    fresh = task_of(root, tiling=tiles(train=True, overlap=0.1), cache="none").build_dataset("train", True)
    assert len(fresh) >= len(kept)
    for sample_id in range(len(fresh)):
        np.testing.assert_array_equal(other[SampleKey(0, sample_id)].image, fresh[SampleKey(0, sample_id)].image)
    monkeypatch.setattr(data_module, "read_image", None)
    assert [kept[SampleKey(0, n)].image is not None for n in range(6)] == [True] * 6
    np.testing.assert_array_equal(kept[SampleKey(0, 0)].image, expected[0])


def test_the_preview_shows_tiles(root: Path) -> None:
    data = CocoData.model_validate(coco(root))
    sheet = preview_sheet(data, "train", settings_of(tiling=tiles(train=True)), seed=0, count=6)
    assert sheet.shape[1] > 4 * SIZE[1]


def test_a_bundle_says_how_images_are_cut_up(root: Path) -> None:
    told = task_of(root, tiling=tiles(train=True), test_time={"flip": True}).preprocessing()
    assert told["tiling"]["tile_size"] == [64, 64] and told["test_time"]["flip"] is True
    assert "train" not in told["tiling"]
    assert not {"tiling", "test_time"} & set(task_of(root).preprocessing())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        pytest.param({"tiling": {"overlap": 0.2}}, "tile_size", id="tiles of no size"),
        pytest.param({"tiling": tiles(overlap=1.0)}, "less than 1", id="tiles without a step"),
        pytest.param(
            {"tiling": tiles(merge="wbf", measure="ios")}, "no effect", id="measure that fusion does not take"
        ),
        pytest.param({"test_time": {"merge": "nms"}}, "single pass", id="merging one pass"),
        pytest.param({"test_time": {"scales": [1.0, 1.0]}}, "twice", id="the same pass twice"),
        pytest.param({"test_time": {"scales": []}}, "at least 1", id="no pass"),
    ],
)
def test_settings_without_effect_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        settings_of(**settings)


def test_settings_survive_being_written_down() -> None:
    settings = settings_of(tiling=tiles(), test_time={"scales": [0.5], "flip": False})
    assert DetectionSettings.model_validate(settings.model_dump(mode="json")) == settings
    plain = settings_of()
    assert DetectionSettings.model_validate(plain.model_dump(mode="json")) == plain
