"""A real search on Ray Tune: the winner feeds the next stage, and a killed driver's search goes on where it was."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

pytestmark = pytest.mark.integration

PIPELINE: dict[str, Any] = {
    "name": "tuned",
    "data": {"digits": {"format": "digits"}},
    "stages": {
        "lenet": {
            "kind": "train",
            "task": "classification",
            "data": "digits",
            "model": {"name": "lenet5"},
            "image_size": [32, 32],
            "augment": {"preset": "none"},
            "loop": {"epochs": 3, "batch_size": 64},
            "resources": {"num_workers": 0},
        },
        "search": {
            "kind": "tune",
            "base": "lenet",
            "scheduler": {"name": "asha", "reduction_factor": 2.0},
            "num_samples": 6,
            "space": {"loop.optimizer.lr": {"loguniform": [1e-4, 1e-1]}},
        },
        "final": {
            "kind": "train",
            "base": "stage:search",
            "task": "classification",
            "data": "digits",
            "loop": {"epochs": 4},
        },
    },
    "storage": "runs",
}


def orchestrator(*arguments: str, folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "orchestrator", *arguments]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def events(folder: Path) -> list[dict[str, Any]]:
    found = list(folder.glob("runs/tuned/search/*/trials.jsonl"))
    lines = found[0].read_text().splitlines(keepends=True) if found else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def test_a_killed_search_goes_on_and_its_winner_is_trained(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(yaml.safe_dump(PIPELINE))
    driver = orchestrator("run", "p.yaml", "--only", "final", "--plain", folder=tmp_path)
    deadline = time.monotonic() + 240
    while sum(event["event"] == "ended" for event in events(tmp_path)) < 2 and time.monotonic() < deadline:
        assert driver.poll() is None, driver.communicate()[0]
        time.sleep(0.05)
    os.kill(driver.pid, signal.SIGKILL)
    driver.communicate()
    before = events(tmp_path)
    ended = {event["trial"] for event in before if event["event"] == "ended"}

    second = orchestrator("resume", "p.yaml", "--plain", folder=tmp_path)
    output, _ = second.communicate(timeout=400)
    assert second.returncode == 0, output
    after = events(tmp_path)[len(before) :]
    assert not ended & {event["trial"] for event in after}
    suggested = [event["trial"] for event in events(tmp_path) if event["event"] == "suggested"]
    assert suggested == [1, 2, 3, 4, 5, 6]

    record = json.loads(next(tmp_path.glob("runs/tuned/search/*/stage.json")).read_text())
    bundle = json.loads(next(tmp_path.glob("runs/tuned/final/*/bundle/bundle.json")).read_text())
    assert record["outputs"]["values"].keys() == {"loop.optimizer.lr"}
    assert bundle["settings"]["model"]["name"] == "lenet5"
    assert f"lr={record['outputs']['values']['loop.optimizer.lr']:.3g}" in output
