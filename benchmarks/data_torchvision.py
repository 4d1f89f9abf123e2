"""torchvision's side of `benchmarks.data`: the same operations written with its decoder and its v2 transforms.

It has no mosaic of its own; this one is laid like ours, at the final size at once. Its cache is a dictionary of decoded
and resized images. Mirroring, scaling, cropping, colour, clipping and dropping of boxes are torchvision's.
"""

import random
import time
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision import tv_tensors
from torchvision.io import ImageReadMode, decode_image
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from vision.augment.fitting import PAD_VALUE
from vision.record import Dataset

Fitted = tuple[tv_tensors.Image, tv_tensors.BoundingBoxes, Tensor]
"""(3, h, w) uint8, (N, 4) xyxy and (N,) labels."""


class TorchvisionDataset(torch.utils.data.Dataset):
    """Map-style data set of mosaics.

    Args:
        images: read split.
        image_size: side in pixels of what comes out.
        augment: `data_ours.AUGMENT`.
    """

    def __init__(self, images: Dataset, image_size: int, augment: dict[str, Any]) -> None:
        self.records, self.image_size, self.scale = images.records, image_size, augment["mosaic_scale"]
        self.kept: dict[int, Fitted] = {}
        self.fit = v2.Resize(None, max_size=image_size)
        self.flip = v2.RandomHorizontalFlip(augment["flip_horizontal"])
        # Without a factor per channel, which has no counterpart: less to do.
        colour = v2.ColorJitter(brightness=augment["brightness"], contrast=augment["contrast"])
        self.finish = v2.Compose([colour, v2.SanitizeBoundingBoxes(min_size=1)])

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> dict[str, Any]:
        size = self.image_size
        centre = [round(random.uniform(0.25, 0.75) * size) for _ in range(2)]
        canvas = torch.full((3, size, size), PAD_VALUE, dtype=torch.uint8)
        boxes, labels = [], []
        for position, other in enumerate([index, *random.choices(range(len(self)), k=3)]):
            tile_boxes, tile_labels = self._lay(canvas, self._fitted(other), centre, position)
            boxes.append(tile_boxes)
            labels.append(tile_labels)
        all_boxes = tv_tensors.BoundingBoxes(torch.cat(boxes), format="XYXY", canvas_size=(size, size))
        sample = {"image": tv_tensors.Image(canvas), "boxes": all_boxes, "labels": torch.cat(labels)}
        mosaic: dict[str, Any] = self.finish(sample)
        return mosaic

    def _fitted(self, index: int) -> Fitted:
        if index not in self.kept:
            record = self.records[index]
            image = tv_tensors.Image(decode_image(str(record.path), ImageReadMode.RGB))
            boxes = tv_tensors.BoundingBoxes(
                torch.from_numpy(record.boxes), format="XYXY", canvas_size=record.image_size
            )
            self.kept[index] = (*self.fit(image, boxes), torch.from_numpy(record.labels))
        return self.kept[index]

    def _lay(self, canvas: Tensor, tile: Fitted, centre: list[int], position: int) -> tuple[Tensor, Tensor]:
        """Draw one of four parts so that it touches the centre, in place; returns its boxes on the canvas."""
        (image, boxes), (centre_x, centre_y) = self.flip(*tile[:2]), centre
        factor = random.uniform(*self.scale)
        height, width = (max(1, round(side * factor)) for side in image.shape[-2:])
        image, boxes = F.resize(image, [height, width]), F.resize(boxes, [height, width])
        is_right, is_lower = position % 2 == 1, position >= 2
        left = centre_x if is_right else centre_x - width
        top = centre_y if is_lower else centre_y - height
        x1, x2 = max(left, 0), min(left + width, self.image_size)
        y1, y2 = max(top, 0), min(top + height, self.image_size)
        crop = (y1 - top, x1 - left, y2 - y1, x2 - x1)
        canvas[:, y1:y2, x1:x2] = F.crop(image, *crop)
        return F.crop(boxes, *crop).as_subclass(Tensor) + torch.tensor([x1, y1, x1, y1]), tile[2]


class TorchvisionPipeline:
    """Data set and loader in this process; arguments as for the data set, and the batch's size."""

    def __init__(self, images: Dataset, image_size: int, augment: dict[str, Any], batch_size: int) -> None:
        self.arguments, self.batch_size = (images, image_size, augment), batch_size
        self.warm = TorchvisionDataset(*self.arguments)
        for index in range(len(self.warm)):
            self.warm._fitted(index)

    def images_per_cpu_s(self, is_cold: bool) -> float:
        """Go through one epoch; cold: with a cache that is empty at first."""
        dataset = TorchvisionDataset(*self.arguments) if is_cold else self.warm
        loader = DataLoader(dataset, self.batch_size, shuffle=True, collate_fn=_collate)
        started = time.process_time()
        loaded = sum(len(images) for images, _ in loader)
        seconds = time.process_time() - started
        assert loaded == len(dataset)
        return loaded / seconds


def _collate(samples: list[dict[str, Any]]) -> tuple[Tensor, list[dict[str, Tensor]]]:
    targets = [{"boxes": sample["boxes"], "labels": sample["labels"]} for sample in samples]
    return torch.stack([sample["image"] for sample in samples]), targets
