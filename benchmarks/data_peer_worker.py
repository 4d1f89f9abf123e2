"""Ultralytics' side of `benchmarks.data`. Run as a program by the peer's own interpreter; knows nothing of ours.

Its own data set, augmentation and loader with its own defaults, in this process. Reads `warm` or `cold`, one a line,
and answers each with the images per CPU-second of one epoch, as JSON, through the open file whose number it is told.
Network, telemetry and automatic installs are off.
"""

import json
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import torch
from ultralytics import __version__, settings
from ultralytics.cfg import get_cfg
from ultralytics.data.build import build_dataloader, build_yolo_dataset


def build_loader(request: dict[str, Any], is_cold: bool) -> Any:
    """The training loader; warm: with all images in its cache, cold: as it is by default, with those in its buffer."""
    config = get_cfg(overrides={"imgsz": request["image_size"], "cache": False if is_cold else "ram", "task": "detect"})
    description = json.loads(Path(request["data"]).read_text())
    names = dict(enumerate(description["names"]))
    data = {**description, "names": names, "nc": len(names), "channels": 3}
    images = str(Path(description["path"]) / description["train"])
    dataset = build_yolo_dataset(config, images, request["batch_size"], data, mode="train")
    return build_dataloader(dataset, request["batch_size"], workers=0, shuffle=True, device="cpu")


def images_per_cpu_s(loader: Any) -> float:
    """Go through one epoch."""
    started = time.process_time()
    loaded = sum(len(batch["img"]) for batch in loader)
    seconds = time.process_time() - started
    assert loaded == len(loader.dataset), "the peer left images out"
    return loaded / seconds


def main() -> None:
    request = json.loads(Path(sys.argv[1]).read_text())
    answers = os.fdopen(request["answers"], "w", buffering=1)  # the peer itself prints to standard output
    settings.update({"sync": False})
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    warm = build_loader(request, is_cold=False)
    images_per_cpu_s(warm)
    print(json.dumps({"python": platform.python_version(), "ultralytics": __version__}), file=answers)
    for line in sys.stdin:
        loader = build_loader(request, is_cold=True) if line.strip() == "cold" else warm
        print(json.dumps(images_per_cpu_s(loader)), file=answers)


if __name__ == "__main__":
    main()
