"""A look at what the augmentation does to a data set, before anything is trained on it."""

import logging
from functools import partial

import numpy as np

from detection.data import DetectionDataset
from detection.settings import DetectionSettings
from detection.tiled_data import training_samples
from engine.task import SampleKey
from foundation.errors import DataError
from vision.drawing import contact_sheet, draw_boxes
from vision.formats import read_dataset
from vision.formats.outlines import read_outlines
from vision.settings import DataSettings

MAX_COLUMNS = 4

logger = logging.getLogger(__name__)


def preview_sheet(data: DataSettings, split: str, settings: DetectionSettings, *, seed: int, count: int) -> np.ndarray:
    """Draw augmented training samples with their boxes, side by side.

    Args:
        data: where the images are.
        split: which of its splits.
        settings: image size and augmentation, as a `train` stage has them.
        seed: draws the images and their augmentation.
        count: number of samples; above the number of images, some are shown again, augmented differently.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        DataError: if the split has no image, or one cannot be read.
    """
    dataset = read_dataset(data, split)
    if not dataset.records:
        raise DataError(f"the split {split!r} has no image to preview; name another one, or check `data`.")
    whole_or_tiles = training_samples(dataset, settings)
    outlines = partial(read_outlines, data, split) if whole_or_tiles is dataset else None
    samples = DetectionDataset(whole_or_tiles, settings, train=True, seed=seed, epochs=1, outlines=outlines)
    order = np.random.default_rng(seed).permutation(len(samples.records))
    images, captions = [], []
    for shown in range(count):
        occurrence, position = divmod(shown, len(order))
        record = samples.records[order[position]]
        sample = samples[SampleKey(0, record.sample_id, occurrence)]
        picture = np.ascontiguousarray(sample.image.transpose(1, 2, 0))
        images.append(draw_boxes(picture, sample.boxes, sample.labels, dataset.classes))
        captions.append(record.name)
    if homeless := samples.copies["without_room"]:
        logger.warning("copy-paste: %d of %d copies found no room", homeless, samples.copies.total())
    return contact_sheet(images, min(MAX_COLUMNS, count), captions)
