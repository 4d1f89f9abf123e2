"""A real search in which one trial diverges, one gets no memory and one is killed: it succeeds."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

pytestmark = pytest.mark.integration

DIVERGES, NO_MEMORY, KILLED, GOOD, SLOW = range(1, 6)
TRIALS = {
    DIVERGES: {"loop.optimizer.lr": 1e9},
    NO_MEMORY: {"model.width": 5000.0},
    KILLED: {"loop.epochs": 500},
    GOOD: {"loop.optimizer.lr": 0.02},
    SLOW: {"loop.optimizer.lr": 1e-6},
}
PIPELINE: dict[str, Any] = {
    "name": "failures",
    "data": {"digits": {"format": "digits"}},
    "stages": {
        "search": {
            "kind": "tune",
            "base": {
                "kind": "train",
                "task": "classification",
                "data": "digits",
                "model": {"name": "resnet18", "width": 0.125},
                "image_size": [32, 32],
                "augment": {"preset": "none"},
                "loop": {
                    "epochs": 2,
                    "batch_size": 64,
                    "optimizer": {"name": "sgd"},
                    "schedule": {"name": "constant", "warmup_steps": 0},
                },
                "resources": {"num_workers": 0},
            },
            "search": {"name": "manual", "trials": list(TRIALS.values())},
            "max_concurrent": 1,
        },
    },
    "storage": "runs",
}


def trial_process(driver: int) -> psutil.Process | None:
    """The one process that has a trial."""
    found = [process for process in psutil.Process(driver).children(recursive=True) if "ImplicitFunc" in process.name()]
    return found[0] if found else None


def has_result(folder: Path, trial: int) -> bool:
    lines = [line for path in folder.glob("runs/*/search/*/trials.jsonl") for line in path.read_text().splitlines()]
    return any(f'"event": "result", "trial": {trial},' in line for line in lines)


def test_a_search_survives_its_worst_trials(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(yaml.safe_dump(PIPELINE))
    command = [sys.executable, "-m", "orchestrator", "run", "p.yaml", "--json"]
    driver = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 300
        while not has_result(tmp_path, KILLED) and time.monotonic() < deadline:
            assert driver.poll() is None, driver.communicate()
            time.sleep(0.05)
        victim = trial_process(driver.pid)
        assert victim is not None
        os.kill(victim.pid, signal.SIGKILL)
        output, said = driver.communicate(timeout=250)
    finally:
        driver.kill()
    assert driver.returncode == 0, said

    stage = json.loads(output)["stages"]["search"]  # and nothing else on standard output
    assert stage["outputs"]["trial"] == GOOD
    assert stage["outputs"]["trials"] == {"pruned": 2, "failed": 1, "done": 2}
    shown = subprocess.run(
        [sys.executable, "-m", "orchestrator", "tune", "show", "search", "--json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    trials = {trial["number"]: trial for trial in json.loads(shown.stdout)["trials"]}
    assert {number: trial["values"] for number, trial in trials.items()} == TRIALS
    assert trials[DIVERGES]["status"] == "pruned" and "the loss became nan" in trials[DIVERGES]["reason"]
    assert trials[NO_MEMORY]["status"] == "pruned" and trials[NO_MEMORY]["reason"].startswith("out of memory")
    assert trials[KILLED]["status"] == "failed" and trials[KILLED]["reason"].startswith("its process died")
    assert f"trial {KILLED} failed (its process died" in said
