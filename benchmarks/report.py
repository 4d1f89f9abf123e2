"""What every benchmark prints beside its figures: date, machine and versions, and one table."""

import json
import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any


def surroundings() -> dict[str, Any]:
    """Date, machine and versions of the libraries that matter."""
    cpuinfo = Path("/proc/cpuinfo")
    models = [line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
    return {
        "date": date.today().isoformat(),
        "cpu": models[0] if models else platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "torchvision", "ray", "mlflow")},
    }


def median(values: Sequence[float]) -> float:
    """The median, rounded to four digits."""
    return round(statistics.median(values), 4)


def show(results: Sequence[Mapping[str, Any]], as_json: bool, **more: Any) -> None:
    """Print the results with their surroundings, as JSON or as a Markdown table."""
    if as_json:
        print(json.dumps({"results": list(results), **more, "surroundings": surroundings()}, indent=2))
        return
    columns = list(results[0])
    print("| " + " | ".join(columns) + " |")
    print("|" + "---|" * len(columns))
    for row in results:
        print("| " + " | ".join(str(row[column]) for column in columns) + " |")
    for name, value in more.items():
        print(f"\n{name}: {value}")
    print("\n" + ", ".join(f"{name} {value}" for name, value in surroundings().items()))
