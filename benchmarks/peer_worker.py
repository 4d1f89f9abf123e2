"""Trains and predicts with the peer. Run as a program by the peer's own interpreter; knows nothing of this project.

Everything is the peer's default, except: image size and epochs as asked; no validation between epochs and no plots,
which only takes cost off its account; one seed. Its network traffic, telemetry and automatic installs are off.
"""

import json
import platform
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import torch
from ultralytics import YOLO, __version__, settings

MODEL = "yolo11n.yaml"
"""The smallest current model; the .yaml says from scratch."""
SCORE_THRESHOLD, MAX_DETECTIONS = 0.001, 100


class TrainingCost:
    """CPU and wall time between the start and the end of each training epoch, through the peer's callbacks."""

    def __init__(self) -> None:
        self.cpu_s = self.wall_s = 0.0

    def start(self, _trainer: Any) -> None:
        """An epoch begins."""
        self._cpu_from, self._wall_from = cpu_seconds(), time.perf_counter()

    def stop(self, _trainer: Any) -> None:
        """The epoch's last step and its upkeep are done; validation and saving come after."""
        self.cpu_s += cpu_seconds() - self._cpu_from
        self.wall_s += time.perf_counter() - self._wall_from


def cpu_seconds() -> float:
    """CPU time of this process and of its children, running and finished."""
    process = psutil.Process()
    own = process.cpu_times()
    running = [child.cpu_times() for child in process.children(recursive=True)]
    return own.user + own.system + own.children_user + own.children_system + sum(t.user + t.system for t in running)


def train(request: dict[str, Any], cost: TrainingCost) -> dict[str, Any]:
    """Train; return what can be said of the training itself."""
    model = YOLO(MODEL)
    model.add_callback("on_train_epoch_start", lambda _trainer: torch.set_num_threads(request["threads"]))
    model.add_callback("on_train_epoch_start", cost.start)
    model.add_callback("on_train_epoch_end", cost.stop)
    model.train(
        data=request["data"],
        epochs=request["epochs"],
        imgsz=request["image_size"],
        seed=0,
        device="cpu",
        val=False,
        plots=False,
        project=request["folder"],
        name="training",
    )
    trainer = model.trainer
    return {
        "precision": "bf16 or fp16" if trainer.amp else "fp32",
        "threads": torch.get_num_threads(),
        "batch_size": trainer.batch_size,
        "loader_workers": trainer.args.workers,
        "parameters": sum(p.numel() for p in trainer.model.parameters()),
        "train_images": len(trainer.train_loader.dataset),
        "own_metrics": {name: round(float(value), 4) for name, value in model.metrics.results_dict.items()},
        "weights": str(trainer.last),
    }


def predict(weights: str, request: dict[str, Any]) -> dict[str, list[list[float]]]:
    """Detect; returns by image stem rows of x1, y1, x2, y2 in original pixels, score, class, by falling score."""
    results = YOLO(weights).predict(
        request["images"],
        imgsz=request["image_size"],
        conf=SCORE_THRESHOLD,
        max_det=MAX_DETECTIONS,
        device="cpu",
        stream=True,
        verbose=False,
    )
    return {Path(result.path).stem: result.boxes.data.tolist() for result in results}


def main() -> None:
    request = json.loads(Path(sys.argv[1]).read_text())
    settings.update({"sync": False})
    cost = TrainingCost()
    figures = train(request, cost)
    detections = predict(figures.pop("weights"), request)
    answer = {
        **figures,
        "train_cpu_s": cost.cpu_s,
        "train_s": cost.wall_s,
        "detections": detections,
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "ultralytics": __version__},
    }
    Path(request["answer"]).write_text(json.dumps(answer))


if __name__ == "__main__":
    main()
