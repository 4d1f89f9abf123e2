"""How long the command line takes to answer, whole process, and whether it stays free of the heavy libraries.

python -m benchmarks.startup [--json] [--repeats 21]

Times the installed `orchestrator` script: `--help` (goal 0.3 s) and `validate pipelines/detection.yaml` (goal 1 s).
A further run of each lists the modules it imported; ends with exit code 1 if a heavy one is among them.
"""

import argparse
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.report import median, show

HEAVY = ("torch", "ray", "mlflow", "cv2", "albumentations")
PIPELINE = Path(__file__).parent.parent / "pipelines" / "detection.yaml"
CASES: dict[str, tuple[list[str], float]] = {
    "--help": (["--help"], 0.3),
    "validate": (["validate", str(PIPELINE)], 1.0),
}
"""Arguments, and the seconds that the median should stay below."""


def imported_modules(arguments: list[str]) -> set[str]:
    """Run the command once and return the top-level packages that it imported, as Python itself reports them."""
    command = [sys.executable, "-X", "importtime", str(_script()), *arguments]
    report = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    names = (line.rpartition("|")[2].strip() for line in report.splitlines() if line.startswith("import time:"))
    return {name.partition(".")[0] for name in names}


def measure(name: str, repeats: int) -> dict[str, Any]:
    """Time one command `repeats` times, after one run that warms the file cache."""
    arguments, goal_s = CASES[name]
    heavy = sorted(imported_modules(arguments) & set(HEAVY))
    seconds, cpu_seconds = zip(*(_cost(arguments) for _ in range(repeats)), strict=True)
    return {
        "command": f"orchestrator {name}",
        "median_s": median(seconds),
        "fastest_s": round(min(seconds), 4),
        "slowest_s": round(max(seconds), 4),
        "median_cpu_s": median(cpu_seconds),
        "goal_s": goal_s,
        "repeats": repeats,
        "imports_torch": "torch" in heavy,
        "heavy_imports": " ".join(heavy) or "none",
    }


def _cost(arguments: list[str]) -> tuple[float, float]:
    """Wall and CPU seconds of one run; on a busy machine the second says more."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([str(_script()), *arguments], stdout=subprocess.DEVNULL, check=True)
    seconds, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _script() -> Path:
    """The console script of the environment this runs in."""
    return Path(sys.executable).with_name("orchestrator")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--repeats", type=int, default=21)
    arguments = parser.parse_args()
    results = [measure(name, arguments.repeats) for name in CASES]
    show(results, arguments.json)
    return int(any(result["heavy_imports"] != "none" for result in results))


if __name__ == "__main__":
    sys.exit(main())
