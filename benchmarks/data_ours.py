"""Our side of `benchmarks.data`: the input pipeline epoch by epoch, a short training, and detection in tiles."""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from detection.data import DetectionDataset
from detection.predictor import DetectionPredictor
from detection.settings import DetectionSettings
from detection.task import DetectionTask
from detection.tiled_data import plan_slicing
from engine.job import TrainJob
from engine.journal import JOURNAL_FILE, read_journal
from engine.loader import PlanSampler, build_loader
from engine.loop import train
from engine.runtimes import InProcessRuntime
from engine.sampling import SamplingPlan
from engine.settings import CheckpointSettings, LoopSettings
from engine.task import TaskSpec
from vision.record import Dataset
from vision.settings import VocData

AUGMENT: dict[str, Any] = {
    "preset": "none",
    "mosaic": 1.0,
    "mosaic_scale": [0.5, 1.5],
    "flip_horizontal": 0.5,
    "gain": 0.15,
    "brightness": 0.15,
    "contrast": 0.15,
    "close_mosaic": 0.0,
}
"""What Ultralytics does by default: always a mosaic, its parts scaled by 0.5 to 1.5, mirrored and recoloured."""
CPU = torch.device("cpu")


class OurPipeline:
    """The data set, sampler and loader that `orchestrator run` uses, in this process.

    Args:
        data: the images' settings.
        images: read split.
        image_size: side in pixels of what comes out.
        batch_size: images.
        folder: an empty folder, for links to the images: under a new path no cache knows them.
    """

    def __init__(self, data: VocData, images: Dataset, image_size: int, batch_size: int, folder: Path) -> None:
        settings = {"image_size": [image_size, image_size], "augment": AUGMENT}
        self.task: Any = DetectionTask(TaskSpec("detection", settings, data.model_dump(mode="json")), images.classes)
        self.settings = DetectionSettings.model_validate(settings)
        self.images, self.batch_size, self.folder = images, batch_size, folder
        self.epoch = 0
        self.warm = self._dataset(images)
        self.warm.warm()

    def images_per_cpu_s(self, is_cold: bool) -> float:
        """Go through one more epoch; cold: with a cache that is empty at first."""
        dataset = self._dataset(self._never_seen()) if is_cold else self.warm
        count = len(self.images.records)
        plan = SamplingPlan(count, self.batch_size, world_size=1, micro_batch=None, seed=0)
        sampler = PlanSampler(plan, rank=0, epochs=self.epoch + 1)
        sampler.set_position(self.epoch, 0)
        self.epoch += 1
        loader = build_loader(self.task, dataset, sampler, 0, CPU)
        started = time.process_time()
        loaded = sum(len(batch.sample_ids) for batch in loader)
        seconds = time.process_time() - started
        assert loaded == count
        return count / seconds

    def _dataset(self, images: Dataset) -> DetectionDataset:
        return DetectionDataset(images, self.settings, train=True, seed=0, epochs=1_000)

    def _never_seen(self) -> Dataset:
        """The same images by a path that is new to every cache."""
        link = self.folder / f"epoch-{self.epoch}"
        link.symlink_to(self.images.records[0].path.parent, target_is_directory=True)
        records = [replace(record, path=link / record.path.name) for record in self.images.records]
        return replace(self.images, records=tuple(records))


def train_nano(data: VocData, split: str, image_size: int, epochs: int, num_loader_workers: int, folder: Path) -> float:
    """Train yolo nano in this process; return the share of the steps' time that it waited for data.

    The bundle lies in `folder / "bundle"` afterwards.
    """
    loop = {
        "epochs": epochs,
        "batch_size": 8,
        "optimizer": {"name": "adamw", "lr": 3.0e-3},
        "num_loader_workers": num_loader_workers,
        "log_every_steps": 5,
    }
    settings = {"image_size": [image_size, image_size], "augment": {"close_mosaic": 0.0}}
    job = TrainJob(
        spec=TaskSpec("detection", settings, data.model_dump(mode="json"), epochs=epochs),
        loop=LoopSettings.model_validate(loop),
        checkpoint=CheckpointSettings(every_epochs=epochs),
        folder=folder,
        train_split=split,
        val_split=None,
        main_metric="map",
    )
    train(job, InProcessRuntime(use_gpu=False))
    return _wait_share([record for record in read_journal(folder / JOURNAL_FILE) if record["kind"] == "step"])


def _wait_share(records: Sequence[dict[str, Any]]) -> float:
    """The mean of the journal's figure, each record weighted by how long its steps took."""
    steps = np.diff([record["step"] for record in records], prepend=0)
    seconds = steps / np.array([record["images_per_s"] for record in records])
    return float(np.average([record["wait_share"] for record in records], weights=seconds))


class Tiles:
    """One large picture, detected in tiles, and the same tiles detected as pictures of their own.

    Args:
        bundle: a detector.
        image_size: side of a tile in pixels, which is what the model sees.
        overlap: of neighbouring tiles.
        picture: (H, W, 3) uint8.
    """

    def __init__(self, bundle: Path, image_size: int, overlap: float, picture: np.ndarray) -> None:
        tiling = {"tile_size": [image_size, image_size], "overlap": overlap}
        self.plain, self.sliced = DetectionPredictor(bundle), DetectionPredictor(bundle)
        settings = {**self.sliced.manifest.settings, "tiling": tiling}
        self.sliced.task = DetectionTask.from_bundle(settings, self.sliced.classes)
        self.picture = picture
        windows = plan_slicing((picture.shape[0], picture.shape[1]), self.sliced.task.settings).windows
        self.tiles = [picture[w.top : w.bottom, w.left : w.right] for w in windows]

    def tiles_per_cpu_s(self, is_sliced: bool) -> float:
        """Detect once."""
        started = time.process_time()
        if is_sliced:
            self.sliced.predict([self.picture])
        else:
            self.plain.predict(self.tiles)
        return len(self.tiles) / (time.process_time() - started)


def large_picture(images: Sequence[np.ndarray], columns: int) -> np.ndarray:
    """Lay (H, W, 3) images of one size side by side, row by row."""
    rows = [np.concatenate(images[start : start + columns], axis=1) for start in range(0, len(images), columns)]
    return np.concatenate(rows)
