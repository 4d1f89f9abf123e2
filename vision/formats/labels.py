"""Data sets as labelled images for classification: whole images, or the objects of a data set with boxes cut out."""

from collections.abc import Iterator
from dataclasses import replace

from vision.boxes import CROP_MARGIN, crop_window
from vision.faults import FaultError
from vision.formats import LABELS_ONLY, AnyData, place, read_split
from vision.formats.imagefolder import TRAIN, only_class
from vision.record import Dataset, LabelledDataset, LabelledImage
from vision.scenes import ensure_crops
from vision.scenes.crops import crop_path
from vision.settings import ScenesData


def read_labels(data: AnyData, split: str) -> LabelledDataset:
    """Read and check one split; `imagefolder` and `digits` give whole images, the formats with boxes their objects.

    An object is shown with a tenth of its sides around it; crowds are left out. Those of `scenes` are read from the
    crops that are kept beside them. Ids are contiguous. No pixels are decoded.

    Raises:
        DataError: as `vision.formats.read_split` does; or if there is no object, or only one class (in `train`: with
            images).
    """
    dataset = read_split(data, split)
    images = _whole_images(dataset) if data.format in LABELS_ONLY else _objects(dataset)
    if isinstance(data, ScenesData):
        folder = ensure_crops(data) / split
        images = (
            replace(
                image, path=crop_path(folder, dataset.classes, image), image_size=image.shown_size, box=None, files=()
            )
            for image in images
        )
    labelled = LabelledDataset(dataset.classes, tuple(images), dataset.faults, dataset.digest, dataset.extra)
    _require_several_classes(labelled, data, split)
    return labelled


def _whole_images(dataset: Dataset) -> Iterator[LabelledImage]:
    for record in dataset.records:
        label = int(record.labels[0])
        yield LabelledImage(record.sample_id, record.name, record.path, record.image_size, label, files=record.files)


def _objects(dataset: Dataset) -> Iterator[LabelledImage]:
    """Cut every object out that is no crowd; its name is the image's, `_` and its place among the image's objects."""
    sample_id = 0
    for record in dataset.records:
        for index, (box, label) in enumerate(zip(record.boxes, record.labels, strict=True)):
            if record.iscrowd[index]:
                continue
            window = crop_window(box, record.image_size, CROP_MARGIN)
            name = f"{record.name}_{index:02d}"
            yield LabelledImage(sample_id, name, record.path, record.image_size, int(label), window, record.files)
            sample_id += 1


def _require_several_classes(dataset: LabelledDataset, data: AnyData, split: str) -> None:
    if not dataset.records:
        raise FaultError(f"split {split!r} has no object that could be classified", "no_images", place(data))
    present = {record.label for record in dataset.records} if split == TRAIN else range(len(dataset.classes))
    if len(present) > 1:
        return
    raise only_class(split, ", ".join(dataset.classes[label] for label in present), place(data))
