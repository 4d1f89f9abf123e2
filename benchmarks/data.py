"""The detection input pipeline against those of Ultralytics and torchvision; waiting for data; detection in tiles.

python -m benchmarks.data [--json] [--data ../shared/data/bccd] [--repeats 7]

Decoding, mosaic, augmentation and batches of the same images at 320 px on all three sides, in one process of one thread
each, so that images per CPU-second are images per second and core. Warm: every image is in the side's cache. Cold: one
epoch that begins with an empty cache. The sides alternate; a ratio is ours to the better of the two, pair by pair.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Protocol

import cv2
import torch

from benchmarks.data_ours import AUGMENT, OurPipeline, Tiles, large_picture, train_nano
from benchmarks.data_torchvision import TorchvisionPipeline
from benchmarks.detection_peer import DEFAULT_DATA, PEER_OFFLINE, Splits, read_splits
from benchmarks.peer_data import write_yolo_data
from benchmarks.peer_environment import ensure_environment
from benchmarks.report import median, show
from engine.threads import thread_environment
from vision.images import read_image

IMAGE_SIZE, BATCH_SIZE = 320, 16
TRAIN_EPOCHS = 2
TILE_OVERLAP = 0.2
FRAME_IMAGES, FRAME_COLUMNS = 12, 4
"""So many photographs make up the large picture that is cut into tiles."""
OURS = "orchestrator"
PLACES = ("in the training process", "in one loader process")
"""Where the data is made; the second says `wait_share`: with the training process it takes two cores."""
GOALS = {"warm_ratio": 1.5, "cold_ratio": 1.0, "wait_share": 0.02, "tiled_ratio": 0.95}
"""At least, other than `wait_share`, which is to be at most that."""


class Side(Protocol):
    """One side of the comparison."""

    def images_per_cpu_s(self, is_cold: bool) -> float: ...


class Peer:
    """Ultralytics in a process of its own, which waits while the others work."""

    def __init__(self, process: "subprocess.Popen[str]", answers: IO[str]) -> None:
        self.process, self.answers = process, answers
        self.versions = self._answer()

    def images_per_cpu_s(self, is_cold: bool) -> float:
        """Have it go through one epoch."""
        assert self.process.stdin is not None
        self.process.stdin.write("cold\n" if is_cold else "warm\n")
        self.process.stdin.flush()
        return float(self._answer())

    def _answer(self) -> Any:
        line = self.answers.readline()
        if not line:
            raise SystemExit(f"the peer ended with exit code {self.process.wait()}; what it said is below")
        return json.loads(line)


@contextmanager
def running_peer(splits: Splits, folder: Path) -> Iterator[Peer]:
    """Start the peer on the same images in its own format; end it afterwards."""
    read_end, write_end = os.pipe()
    request = {
        "data": str(write_yolo_data(splits.train, splits.test, folder / "data")),
        "image_size": IMAGE_SIZE,
        "batch_size": BATCH_SIZE,
        "answers": write_end,
    }
    (folder / "request.json").write_text(json.dumps(request))
    worker = Path(__file__).with_name("data_peer_worker.py")
    command = [str(ensure_environment()), str(worker), str(folder / "request.json")]
    environment = {**os.environ, **thread_environment(1), **PEER_OFFLINE, "YOLO_CONFIG_DIR": str(folder)}
    with (folder / "said.log").open("w+") as said, os.fdopen(read_end) as answers:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=said,
            stderr=said,
            text=True,
            cwd=folder,
            env=environment,
            pass_fds=[write_end],
        )
        os.close(write_end)
        try:
            yield Peer(process, answers)
        finally:
            process.kill()
            process.communicate()
            if process.returncode not in (0, -signal.SIGKILL):
                sys.stderr.write((folder / "said.log").read_text()[-4000:])


def compare_pipelines(sides: Mapping[str, Side], repeats: int) -> dict[str, list[dict[str, float]]]:
    """Let the sides go through epochs in turn; returns images per CPU-second by side, round by round."""
    rounds: dict[str, list[dict[str, float]]] = {"warm": [], "cold": []}
    for _ in range(repeats):
        for name, measured in rounds.items():
            measured.append({side: pipeline.images_per_cpu_s(name == "cold") for side, pipeline in sides.items()})
    return rounds


def ratio_to_the_better(rounds: Sequence[Mapping[str, float]]) -> float:
    """Ours to whichever other side has the better median, the median over the rounds."""
    better = max((side for side in rounds[0] if side != OURS), key=lambda side: _median_of(side, rounds))
    return median([measured[OURS] / measured[better] for measured in rounds])


def compare_tiles(tiles: Tiles, repeats: int) -> dict[str, list[float]]:
    """Detect in tiles and without in turn; returns tiles per CPU-second."""
    measured: dict[str, list[float]] = {"tiled": [], "plain": []}
    for _ in range(repeats + 1):  # the first pays for what is made on first use
        for name, values in measured.items():
            values.append(tiles.tiles_per_cpu_s(name == "tiled"))
    return {name: values[1:] for name, values in measured.items()}


def measure_waits(splits: Splits, folder: Path) -> dict[str, float]:
    """Train with data from the training process, and from a loader process on the second core; returns wait shares."""
    return {
        place: round(train_nano(splits.data, "trainval", IMAGE_SIZE, TRAIN_EPOCHS, count, folder / place), 4)
        for count, place in enumerate(PLACES)
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--data", type=Path, default=DEFAULT_DATA, help="folder of BCCD in Pascal VOC form")
    parser.add_argument("--repeats", type=int, default=7)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    splits = read_splits(arguments.data.resolve())
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for name in ("peer", "links"):
            (folder / name).mkdir()
        with running_peer(splits, folder / "peer") as peer:
            sides: dict[str, Side] = {
                OURS: OurPipeline(splits.data, splits.train, IMAGE_SIZE, BATCH_SIZE, folder / "links"),
                "Ultralytics": peer,
                "torchvision v2": TorchvisionPipeline(splits.train, IMAGE_SIZE, AUGMENT, BATCH_SIZE),
            }
            rounds = compare_pipelines(sides, arguments.repeats)
        waits = measure_waits(splits, folder)
        photographs = [read_image(record.path) for record in splits.test.records[:FRAME_IMAGES]]
        picture = large_picture(photographs, FRAME_COLUMNS)
        tiles = Tiles(folder / PLACES[1] / "bundle", IMAGE_SIZE, TILE_OVERLAP, picture)
        speeds = compare_tiles(tiles, arguments.repeats)
    ratios = {
        **{f"{cache}_ratio": ratio_to_the_better(measured) for cache, measured in rounds.items()},
        "wait_share": waits[PLACES[1]],
        "tiled_ratio": median([ours / plain for ours, plain in zip(speeds["tiled"], speeds["plain"], strict=True)]),
    }
    rows = [
        {
            "side": side,
            **{f"{cache}_images_per_cpu_s": _median_of(side, measured) for cache, measured in rounds.items()},
        }
        for side in sides
    ]
    more = {"waits": waits, "tiles": len(tiles.tiles), "tiles_per_cpu_s": {k: median(v) for k, v in speeds.items()}}
    show(rows, arguments.json, **ratios, goals=_goals(ratios), **more, peer=peer.versions)


def _median_of(side: str, rounds: Sequence[Mapping[str, float]]) -> float:
    return median([measured[side] for measured in rounds])


def _goals(ratios: Mapping[str, float]) -> dict[str, bool]:
    return {
        name: ratios[name] <= goal if name == "wait_share" else ratios[name] >= goal for name, goal in GOALS.items()
    }


if __name__ == "__main__":
    main()
