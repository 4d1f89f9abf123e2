"""Fakes of the house: small data sets, detections with known faults, and a detector of twenty lines."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from detection.detections import Detections
from engine.bundle import Manifest, save_bundle
from vision.record import Dataset, Record


def make_record(
    sample_id: int,
    boxes: Sequence[Sequence[float]] | np.ndarray,
    labels: Sequence[int] | np.ndarray,
    *,
    iscrowd: Sequence[bool] | np.ndarray | None = None,
    area: Sequence[float] | np.ndarray | None = None,
    image_size: tuple[int, int] = (100, 100),
    path: Path = Path("missing.png"),
) -> Record:
    """Build a record; area defaults to the box's, and no box is a crowd."""
    array = np.asarray(boxes, np.float64).reshape(-1, 4)
    own_area = (array[:, 2] - array[:, 0]) * (array[:, 3] - array[:, 1])
    return Record(
        sample_id=sample_id,
        name=f"image-{sample_id}",
        path=path,
        image_size=image_size,
        boxes=array,
        labels=np.asarray(labels, np.int64).reshape(-1),
        iscrowd=np.zeros(len(array), bool) if iscrowd is None else np.asarray(iscrowd, bool),
        area=own_area if area is None else np.asarray(area, np.float64),
    )


def make_detections(
    sample_id: int,
    boxes: Sequence[Sequence[float]] | np.ndarray,
    scores: Sequence[float] | np.ndarray,
    labels: Sequence[int] | np.ndarray,
) -> Detections:
    """Build detections in float64, so that nothing is rounded on the way to the metric."""
    return Detections(
        sample_id,
        np.asarray(boxes, np.float64).reshape(-1, 4),
        np.asarray(scores, np.float64),
        np.asarray(labels, np.int64),
    )


def random_boxes(rng: np.random.Generator, count: int, image_size: tuple[int, int]) -> np.ndarray:
    """Draw boxes of all three COCO sizes, (count, 4) float64 xyxy inside the image."""
    height, width = image_size
    sides = np.exp(rng.uniform(np.log(4), np.log(min(height, width) * 0.8), (count, 2)))
    top_left = rng.uniform(0, 1, (count, 2)) * (np.array([width, height]) - sides)
    return np.concatenate([top_left, top_left + sides], axis=1)


def jittered_detections(
    dataset: Dataset, seed: int = 0, *, jitter: float = 0.08, miss: float = 0.15, false: float = 1.5
) -> list[Detections]:
    """Turn ground truth into plausible detections: moved, sometimes missed or mislabelled, with false ones added."""
    rng = np.random.default_rng(seed)
    predictions = []
    for record in dataset.records:
        keep = rng.random(len(record.boxes)) >= miss
        sides = np.tile(record.boxes[keep, 2:] - record.boxes[keep, :2], 2)
        hits = record.boxes[keep] + rng.normal(0, jitter, sides.shape) * sides
        hits = np.concatenate([np.minimum(hits[:, :2], hits[:, 2:]), np.maximum(hits[:, :2], hits[:, 2:])], axis=1)
        extra = random_boxes(rng, rng.poisson(false), record.image_size)
        labels = np.concatenate([record.labels[keep], rng.integers(0, len(dataset.classes), len(extra))])
        wrong = rng.random(len(labels)) < 0.05
        labels[wrong] = rng.integers(0, len(dataset.classes), wrong.sum())
        scores = np.concatenate([rng.beta(6, 2, len(hits)), rng.beta(2, 6, len(extra))])
        order = np.argsort(-scores, kind="stable")
        boxes = np.concatenate([hits, extra])
        predictions.append(make_detections(record.sample_id, boxes[order], scores[order], labels[order]))
    return predictions


def write_yolo_dataset(folder: Path, images: int = 8, image_size: tuple[int, int] = (48, 64)) -> Path:
    """Write splits `train` and `val` of dark noisy images with one or two rectangles: reddish `ruby`, bluish `opal`."""
    (folder / "data.yaml").parent.mkdir(parents=True, exist_ok=True)
    (folder / "data.yaml").write_text("names: [ruby, opal]\ntrain: images/train\nval: images/val\n")
    for split, seed in (("train", 0), ("val", 1)):
        rng = np.random.default_rng(seed)
        for kind in ("images", "labels"):
            (folder / kind / split).mkdir(parents=True)
        for index in range(images):
            image, lines = _rectangles(rng, 1 + index % 2, image_size)
            cv2.imwrite(str(folder / "images" / split / f"{index:02d}.png"), image[..., ::-1])
            (folder / "labels" / split / f"{index:02d}.txt").write_text("\n".join(lines) + "\n")
    return folder


CLASS_COLOURS = {"jade": (120, 220, 150), "opal": (180, 180, 250), "ruby": (250, 140, 140)}


def write_class_folders(folder: Path, images: int = 4, image_size: tuple[int, int] = (40, 48)) -> Path:
    """Write splits `train` and `val`, `SPLIT/CLASS/NN.png`: dark noise with one bright square in the class's colour."""
    for split, seed in (("train", 0), ("val", 1)):
        rng = np.random.default_rng(seed)
        for name, colour in CLASS_COLOURS.items():
            (folder / split / name).mkdir(parents=True)
            for index in range(images):
                image = rng.integers(0, 60, (*image_size, 3), dtype=np.uint8)
                top, left = rng.integers(4, 12, 2)
                image[top : top + 22, left : left + 22] = colour
                cv2.imwrite(str(folder / split / name / f"{index:02d}.png"), image[..., ::-1])
    return folder


def _rectangles(rng: np.random.Generator, count: int, image_size: tuple[int, int]) -> tuple[np.ndarray, list[str]]:
    height, width = image_size
    image, lines = rng.integers(0, 60, (height, width, 3), dtype=np.uint8), []
    for position in range(count):
        label = int(rng.integers(0, 2))
        w, h = (int(side) for side in rng.integers(14, 26, 2))
        x1 = int(rng.integers(0, width // 2 - w)) + position * width // 2 if w < width // 2 else 0
        y1 = int(rng.integers(0, height - h))
        image[y1 : y1 + h, x1 : x1 + w] = (250, 180, 180) if label == 0 else (180, 180, 250)
        lines.append(f"{label} {(x1 + w / 2) / width} {(y1 + h / 2) / height} {w / width} {h / height}")
    return image, lines


class FakeDetector(nn.Module):
    """Sees the bright rectangle: one detection per image around all pixels above one half.

    Its single weight is the box's label as a float, so that a bundle has something to keep.
    """

    normalises_over_ranks = False

    def __init__(self, label: float = 0.0) -> None:
        super().__init__()
        self.label = nn.Parameter(torch.tensor([label]))

    def forward(self, images: Tensor, targets: list[dict[str, Tensor]] | None = None) -> object:
        if self.training:
            assert targets is not None
            return {"loss_count": self.label.sum() + sum(len(target["boxes"]) for target in targets) / len(targets)}
        return [self._detect(image) for image in images]

    def _detect(self, image: Tensor) -> dict[str, Tensor]:
        rows, columns = torch.nonzero(image.mean(0) > 0.5, as_tuple=True)
        if len(rows) == 0:
            return {"boxes": torch.zeros(0, 4), "scores": torch.zeros(0), "labels": torch.zeros(0, dtype=torch.int64)}
        box = torch.stack([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]).float()
        return {"boxes": box[None], "scores": torch.tensor([0.9]), "labels": self.label.round().long()}


def save_fake_bundle(folder: Path, label: float = 1.0) -> Path:
    """Write the bundle of a `FakeDetector` that calls everything by this label, and return its folder."""
    settings = {"image_size": [64, 64]}
    manifest = Manifest(task="detection", settings=settings, classes=("ruby", "opal"), preprocessing={})
    save_bundle(folder / "bundle", FakeDetector(label).state_dict(), manifest)
    return folder / "bundle"
