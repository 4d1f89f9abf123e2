"""Tiny pipelines run as a user runs them: the command line in a process of its own, judged by what it leaves behind."""

import copy
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psutil
import yaml
from safetensors.torch import load_file
from torch import Tensor

from engine.journal import JOURNAL_FILE, read_records
from orchestrator.execution.folders import RunRecord, load_run_record
from tests.integration.head import Head

TIMEOUT_S = 400.0
POLL_S = 0.01
STEPS_PER_EPOCH = 12
CHECKPOINT_EVERY = 5
EPOCHS = 15
"""A stop is heard within a hundred steps: of more, so that a run which is stopped early never comes to its end."""
DATA = {"format": "scenes", "num_images": 48, "image_size": [64, 64]}
DETECTOR: dict[str, Any] = {
    "kind": "train",
    "task": "detection",
    "data": "scenes",
    "model": {"name": "yolo", "size": "pico"},
    "image_size": [64, 64],
    "loop": {
        "epochs": EPOCHS,
        "eval_every": 5,
        "batch_size": 4,
        "precision": "fp32",
        "ledger": True,
        "log_every_steps": 1,
        "optimizer": {"name": "adamw", "lr": 3.0e-3},
        "ema": 0.9,
    },
    "checkpoint": {"every_steps": CHECKPOINT_EVERY},
}


@dataclass(frozen=True)
class Finished:
    """How a command ended."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Project:
    """A folder of pipeline files with one storage."""

    folder: Path

    @property
    def storage(self) -> Path:
        """Where results lie."""
        return self.folder / "runs"

    @property
    def store(self) -> str:
        """MLflow's URI."""
        return f"sqlite:///{self.storage / 'mlflow.db'}"

    def pipeline(self, name: str, num_workers: int = 0, **changes: Any) -> "Run":
        """Write a pipeline that trains a detector; `changes` replace whole keys of its stage."""
        detector = {**copy.deepcopy(DETECTOR), "resources": {"num_workers": num_workers}, **changes}
        return self.write(name, {"detector": detector})

    def write(self, name: str, stages: dict[str, Any], **more: Any) -> "Run":
        """Write a pipeline file with any stages."""
        content = {"name": name, "data": {"scenes": DATA}, "stages": stages, "storage": str(self.storage), **more}
        file = self.folder / f"{name}.yaml"
        file.write_text(yaml.safe_dump(content, sort_keys=False))
        return Run(file, Path(content["storage"]) / name)


@dataclass(frozen=True)
class Run:
    """A pipeline file, where it is run, and what its runs leave behind."""

    file: Path
    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    def on(self, cluster: Head) -> "Run":
        """The same on a running cluster instead of one of its own."""
        return replace(self, environment={**cluster.environment, "RAY_ADDRESS": cluster.address})

    def start(self, *arguments: str, cwd: Path | None = None) -> subprocess.Popen[str]:
        """Start `orchestrator ARGUMENTS` (default: run this file) as the leader of its own process group."""
        environment = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}
        return subprocess.Popen(
            [sys.executable, "-m", "orchestrator", *(arguments or ("run", str(self.file)))],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=cwd or self.file.parent,
            env={**environment, "OMP_NUM_THREADS": "1", **self.environment},
            start_new_session=True,
        )

    def command(self, *arguments: str, cwd: Path | None = None) -> Finished:
        """Run `orchestrator ARGUMENTS` (default: run this file) to its end."""
        return wait(self.start(*arguments, cwd=cwd))

    def to_the_end(self) -> "Run":
        """Run this file and expect it to go well."""
        done = self.command()
        assert done.code == 0, done.out + done.err
        return self

    def stage(self, name: str) -> Path:
        """The only result of a stage."""
        (folder,) = [path for path in (self.folder / name).iterdir() if path.is_dir()]
        return folder

    @property
    def record(self) -> RunRecord:
        """What `run.json` says."""
        record = load_run_record(self.folder)
        assert record is not None
        return record

    def journal(self, kind: str | None = None) -> list[dict[str, Any]]:
        """The detector's journal so far, or its records of one kind."""
        paths = list(self.folder.glob(f"detector/*/{JOURNAL_FILE}"))
        records = read_records(paths[0], 0, limit=10**6)[0] if paths else []
        return [record for record in records if kind in (None, record["kind"])]

    def wait_for_step(self, step: int, process: subprocess.Popen[str]) -> None:
        """Return as soon as the journal shows a step."""
        wait_until(lambda: any(record["step"] >= step for record in self.journal("step")), process)

    def weights(self) -> dict[str, Tensor]:
        """The detector's weights."""
        return load_file(self.stage("detector") / "bundle" / "model.safetensors")

    def metrics(self, stage: str) -> dict[str, float]:
        """What a finished stage measured."""
        return json.loads((self.stage(stage) / "stage.json").read_text())["metrics"]


def wait(process: subprocess.Popen[str], timeout_s: float = TIMEOUT_S) -> Finished:
    """Wait for a command; one that hangs is killed with its children, and fails the test."""
    try:
        out, err = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
        raise AssertionError(f"still running after {timeout_s:.0f} s\n{out}\n{err}") from None
    return Finished(process.returncode, out, err)


def wait_until(holds: Callable[[], bool], process: subprocess.Popen[str] | None = None) -> None:
    """Return as soon as a condition holds; fail if it takes too long, or the command ends before."""
    deadline = time.monotonic() + TIMEOUT_S
    while not holds():
        if process is not None and process.poll() is not None and not holds():
            raise AssertionError(f"it ended with code {process.returncode} first: {wait(process)}")
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(POLL_S)


def is_alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
