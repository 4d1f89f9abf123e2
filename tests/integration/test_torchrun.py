"""The loop under torchrun, without Ray, does what it does on Ray."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from engine.job import TrainJob
from engine.journal import read_journal
from engine.ledger import effective_samples
from engine.task import TaskSpec
from orchestrator.pipeline.load import load_pipeline
from orchestrator.pipeline.settings import TrainStage
from tests.integration.project import TIMEOUT_S, Run

pytestmark = pytest.mark.integration

SCRIPT = """
import json, sys
from pathlib import Path
from engine.job import TrainJob
from engine.loop import train
from engine.runtimes import TorchrunRuntime

with TorchrunRuntime() as runtime:
    train(TrainJob.from_json(json.loads(Path(sys.argv[1]).read_text())), runtime)
"""


def test_torchrun_trains_as_ray_does(undisturbed: Callable[[int], Run], tmp_path: Path) -> None:
    on_ray = undisturbed(2)
    job = job_of(on_ray, tmp_path / "stage")
    (tmp_path / "job.json").write_text(json.dumps(job.to_json()))
    (tmp_path / "script.py").write_text(SCRIPT)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*torchrun, str(tmp_path / "script.py"), str(tmp_path / "job.json")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert done.returncode == 0, done.stderr

    assert effective_samples(job.folder) == effective_samples(on_ray.stage("detector"))
    assert losses(job.folder) == losses(on_ray.stage("detector"))
    weights, expected = load_file(job.folder / "bundle" / "model.safetensors"), on_ray.weights()
    assert all(torch.equal(weights[name], expected[name]) for name in expected)


def job_of(run: Run, folder: Path) -> TrainJob:
    pipeline = load_pipeline(run.file).pipeline
    stage = pipeline.stages["detector"]
    assert isinstance(stage, TrainStage)
    return TrainJob(
        spec=TaskSpec(
            task=stage.task,
            settings=stage.task_settings().model_dump(mode="json"),
            data=pipeline.data[stage.data].model_dump(mode="json"),
            seed=pipeline.seed,
            epochs=stage.loop.epochs,
        ),
        loop=stage.loop,
        checkpoint=stage.checkpoint,
        folder=folder,
        train_split=stage.train_split,
        val_split=stage.val_split,
        main_metric="map",
    )


def losses(folder: Path) -> list[float]:
    return [record["loss"] for record in read_journal(folder / "journal.jsonl") if record["kind"] == "step"]
