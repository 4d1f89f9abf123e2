"""The peer's own data format, written from ours: `images/SPLIT`, `labels/SPLIT` and a data.yaml."""

import json
import shutil
from pathlib import Path

from vision.record import Dataset, Record


def write_yolo_data(train: Dataset, test: Dataset, folder: Path) -> Path:
    """Write both splits and return the path of data.yaml; classes keep their numbers.

    `val`, which the peer demands and looks at once its training is over, is the test split.
    """
    for split, dataset in (("train", train), ("test", test)):
        for kind in ("images", "labels"):
            (folder / kind / split).mkdir(parents=True)
        for record in dataset.records:
            # A copy: the peer rewrites image files that it takes for damaged.
            shutil.copyfile(record.path, folder / "images" / split / record.path.name)
            label_file = (folder / "labels" / split / record.path.name).with_suffix(".txt")
            label_file.write_text("".join(f"{line}\n" for line in label_lines(record)))
    description = {"path": str(folder), "train": "images/train", "val": "images/test", "names": list(train.classes)}
    file = folder / "data.yaml"
    file.write_text(json.dumps(description))  # JSON is YAML
    return file


def label_lines(record: Record) -> list[str]:
    """One line per box: class, then centre and size as shares of the image's."""
    height, width = record.image_size
    x1, y1, x2, y2 = record.boxes.astype(float).T
    shares = zip((x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height, strict=True)
    return [
        f"{label} " + " ".join(f"{value:.6f}" for value in box)
        for label, box in zip(record.labels.tolist(), shares, strict=True)
    ]
