"""Recipes on two ranks under torchrun: freezing and samplers give what one process gives."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from engine import catalog
from engine.job import TrainJob
from engine.ledger import effective_samples
from engine.loop import train
from engine.runtimes import InProcessRuntime
from engine.settings import CheckpointSettings, LoopSettings, OversampleSettings
from engine.task import TaskSpec
from tests.integration.project import TIMEOUT_S
from tests.unit.engine.tiny_task import ENTRY, TinyTask

pytestmark = pytest.mark.integration

HOUSE = Path(__file__).resolve().parents[2]
SCRIPT = """
import json, sys
from pathlib import Path
from engine import catalog
from engine.job import TrainJob
from engine.loop import train
from engine.runtimes import TorchrunRuntime
from tests.integration.test_recipes_on_ranks import StagedNet
from tests.unit.engine.tiny_task import ENTRY, TinyTask

catalog.TASKS["tiny"] = ENTRY
TinyTask.build_model = lambda self: StagedNet()
with TorchrunRuntime(use_gpu=False) as runtime:
    train(TrainJob.from_json(json.loads(Path(sys.argv[1]).read_text())), runtime)
"""


class StagedNet(torch.nn.Sequential):
    """Nothing in it depends on who shares a batch, so that ranks change roundings only."""

    def __init__(self) -> None:
        super().__init__(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 8), torch.nn.Linear(8, 1))

    def parameter_stages(self) -> list[list[torch.nn.Parameter]]:
        return [list(self[index].parameters()) for index in (0, 2, 3)]


def _job(folder: Path, loop: dict[str, Any]) -> TrainJob:
    settings = {"epochs": 4, "batch_size": 8, "precision": "fp32", "channels_last": False, "ledger": True, **loop}
    return TrainJob(
        spec=TaskSpec("tiny", {}, {}, seed=3, epochs=4),
        loop=LoopSettings.model_validate(settings),
        checkpoint=CheckpointSettings(),
        folder=folder,
        train_split="train",
        val_split="val",
        main_metric="accuracy",
        sampler=OversampleSettings(name="oversample"),
    )


@pytest.mark.parametrize(
    "loop",
    [
        pytest.param({"fine_tune": {"freeze_epochs": 2, "layer_decay": 0.5}}, id="freed halfway"),
        pytest.param({"fine_tune": {"freeze_epochs": "all"}, "micro_batch": 2}, id="linear probe"),
        pytest.param({"batch_size": "full", "micro_batch": 5}, id="full batch"),
    ],
)
def test_two_ranks_end_where_one_does(loop: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(catalog.TASKS, "tiny", ENTRY)
    monkeypatch.setattr(TinyTask, "build_model", lambda self: StagedNet())
    alone, ranks = _job(tmp_path / "alone", loop), _job(tmp_path / "ranks", loop)
    train(alone, InProcessRuntime(use_gpu=False))
    (tmp_path / "job.json").write_text(json.dumps(ranks.to_json()))
    (tmp_path / "script.py").write_text(SCRIPT)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*torchrun, str(tmp_path / "script.py"), str(tmp_path / "job.json")]
    environment = {**os.environ, "PYTHONPATH": str(HOUSE), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    assert effective_samples(ranks.folder) == effective_samples(alone.folder)
    expected, weights = (load_file(job.folder / "bundle" / "model.safetensors") for job in (alone, ranks))
    for name, tensor in expected.items():
        torch.testing.assert_close(weights[name], tensor, rtol=1e-4, atol=1e-6)
