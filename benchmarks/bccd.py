"""What the three detectors of `pipelines/bccd.yaml` reach from scratch, and for how much CPU time.

python -m benchmarks.bccd [--json] [--storage runs]

Runs the pipeline (stages that are done are skipped) and reads the curves from the journals: CPU seconds are those of
training, summed over the workers; metrics are COCO's on the published test split, of the averaged weights.
"""

import argparse
from pathlib import Path

from benchmarks.pipeline_curves import curve, run
from benchmarks.report import show

DETECTORS = ("yolo", "yolox", "faster_rcnn")
METRICS = ("map_50", "map")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--storage", type=Path, help="where to run; default: the pipeline's own storage")
    arguments = parser.parse_args()
    folders = run("bccd", arguments.storage)
    show([row for name in DETECTORS for row in curve(name, folders[name], METRICS)], arguments.json)


if __name__ == "__main__":
    main()
