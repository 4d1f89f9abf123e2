"""What a quarter-width ResNet-18 reaches from scratch on 3,000 photographs, and for how much CPU time.

python -m benchmarks.cifar10 [--json] [--storage runs]

Runs `pipelines/cifar10.yaml` (stages that are done are skipped) and reads the curves from the journals: CPU seconds are
those of training, summed over the workers; accuracy is that on the test split, which only watches.
"""

import argparse
from pathlib import Path

from benchmarks.pipeline_curves import curve, run
from benchmarks.report import show

SCHEDULES = ("short", "long")
METRICS = ("top1", "top5", "ece")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--storage", type=Path, help="where to run; default: the pipeline's own storage")
    arguments = parser.parse_args()
    folders = run("cifar10", arguments.storage)
    show([row for name in SCHEDULES for row in curve(name, folders[name], METRICS)], arguments.json)


if __name__ == "__main__":
    main()
