"""Fine-tuning: what is frozen stays bit for bit, what is freed learns, and every stage has its rate."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from engine import catalog
from engine.bundle import load_bundle
from engine.fine_tuning import Freezer, rate_factors, stages_of
from engine.job import TrainJob
from engine.journal import JOURNAL_FILE, read_journal
from engine.loop import train
from engine.runtimes import InProcessRuntime
from engine.sampling import SamplingPlan
from engine.settings import CheckpointSettings, FineTuneSettings, LoopSettings
from engine.state import build_state
from engine.task import TaskSpec
from foundation.errors import ConfigError
from tests.unit.engine.tiny_task import ENTRY, TinyTask

LOOP = {"epochs": 3, "batch_size": 8, "precision": "fp32", "channels_last": False, "log_every_steps": 1}


class Staged(nn.Sequential):
    """Stem, middle with a norm of no parameters, head behind a dropout."""

    def __init__(self) -> None:
        stem, middle = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5)), nn.Linear(8, 8)
        bare_norm = nn.BatchNorm1d(8, affine=False)
        super().__init__(stem, nn.ReLU(), middle, bare_norm, nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 1))

    def parameter_stages(self) -> list[list[nn.Parameter]]:
        return [list(self[index].parameters()) for index in (0, 2, 6)]


@pytest.fixture
def make_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., TrainJob]:
    monkeypatch.setitem(catalog.TASKS, "tiny", ENTRY)
    monkeypatch.setattr(TinyTask, "build_model", lambda self: Staged())

    def make(fine_tune: dict[str, Any] | None, **loop: Any) -> TrainJob:
        return TrainJob(
            spec=TaskSpec("tiny", {}, {}, seed=3, epochs=3),
            loop=LoopSettings.model_validate({**LOOP, "fine_tune": fine_tune, **loop}),
            checkpoint=CheckpointSettings(),
            folder=tmp_path / "stage",
            train_split="train",
            val_split="val",
            main_metric="accuracy",
        )

    return make


def _start_of(job: TrainJob) -> dict[str, torch.Tensor]:
    plan = SamplingPlan(37, 8, 1, None, seed=3)
    state = build_state(job, TinyTask(job.spec), plan, InProcessRuntime(use_gpu=False))
    return {name: tensor.clone() for name, tensor in state.model.state_dict().items()}


def _changed(job: TrainJob) -> set[str]:
    """Names of everything in the bundle that is not what the run began with."""
    start, end = _start_of(job), load_bundle(job.folder / "bundle")[1]
    return {name for name in start if not torch.equal(start[name], end[name])}


def test_a_linear_probe_changes_the_head_alone(make_job: Callable[..., TrainJob]) -> None:
    job = make_job({"freeze_epochs": "all"})
    train(job, InProcessRuntime(use_gpu=False))
    assert _changed(job) == {"6.weight", "6.bias"}


@pytest.mark.parametrize("ema", [None, 0.9])
def test_frozen_epochs_come_before_those_that_train_everything(
    make_job: Callable[..., TrainJob], ema: float | None
) -> None:
    job = make_job({"freeze_epochs": 2}, ema=ema)
    train(job, InProcessRuntime(use_gpu=False))
    start = _start_of(job)
    assert _changed(job) == set(start)
    saved = torch.load(job.folder / "checkpoints" / "step-00000010" / "state.pt", weights_only=True)["model"]
    assert {name for name in start if not torch.equal(start[name], saved[name])} == {"6.weight", "6.bias"}
    notes = [r["message"] for r in read_journal(job.folder / JOURNAL_FILE) if r.get("name") == "note"]
    assert notes == ["from epoch 3 on all stages of the model are trained"]


def test_freezing_to_the_end_by_number_is_said(make_job: Callable[..., TrainJob]) -> None:
    job = make_job({"freeze_epochs": 3})
    train(job, InProcessRuntime(use_gpu=False))
    (warning,) = [r["message"] for r in read_journal(job.folder / JOURNAL_FILE) if r.get("name") == "warning"]
    assert "freeze_epochs is 3, the run has 3 epochs" in warning


def test_without_fine_tuning_nothing_rests(make_job: Callable[..., TrainJob]) -> None:
    job = make_job(None)
    train(job, InProcessRuntime(use_gpu=False))
    assert _changed(job) == set(_start_of(job))


def test_what_rests_is_in_eval_mode_and_the_heads_dropout_is_not() -> None:
    model = Staged()
    freezer = Freezer(model, stages_of(model), 1)
    assert freezer.set_epoch(0) is True
    model.train()
    freezer.rest()
    in_training = {name for name, module in model.named_modules() if module.training and name}
    assert in_training == {"1", "4", "5", "6"}, "the activations, the dropout and the head"
    assert freezer.set_epoch(0) is False
    assert freezer.set_epoch(1) is True
    model.train()
    freezer.rest()
    assert all(module.training for module in model.modules())
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_a_norm_rests_when_the_head_was_declared_first() -> None:
    class HeadFirst(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head, self.body = nn.Linear(8, 1), nn.BatchNorm1d(8)

        def parameter_stages(self) -> list[list[nn.Parameter]]:
            return [list(self.body.parameters()), list(self.head.parameters())]

    model = HeadFirst()
    freezer = Freezer(model, stages_of(model), "all")
    freezer.set_epoch(10_000)
    freezer.rest()
    assert not model.body.training
    assert model.head.training


def test_what_the_model_itself_keeps_fixed_stays_fixed() -> None:
    model = Staged()
    model[0].requires_grad_(False)
    freezer = Freezer(model, stages_of(model), 1)
    freezer.set_epoch(0)
    freezer.set_epoch(1)
    assert not any(parameter.requires_grad for parameter in model[0].parameters())
    assert all(parameter.requires_grad for parameter in model[2].parameters())


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        pytest.param({"backbone_lr": 0.1}, [0.1, 0.1, 1.0], id="one factor for the backbone"),
        pytest.param({"layer_decay": 0.5}, [0.25, 0.5, 1.0], id="slower with every stage"),
        pytest.param({"backbone_lr": 0.1, "layer_decay": 0.5}, [0.025, 0.05, 1.0], id="both"),
    ],
)
def test_each_stage_has_its_rate(
    make_job: Callable[..., TrainJob], settings: dict[str, float], expected: list[float]
) -> None:
    model = Staged()
    factors = rate_factors(stages_of(model), FineTuneSettings.model_validate(settings))
    for stage, factor in zip(model.parameter_stages(), expected, strict=True):
        assert [factors[id(parameter)] for parameter in stage] == pytest.approx([factor] * len(stage))


def test_a_step_moves_each_stage_at_its_rate(make_job: Callable[..., TrainJob]) -> None:
    loop = {"optimizer": {"name": "sgd", "lr": 0.1, "momentum": 0.0}, "schedule": {"name": "constant"}, "epochs": 1}
    moved = {}
    for name, fine_tune in (("plain", None), ("slow", {"backbone_lr": 0.25})):
        job = make_job(fine_tune, batch_size="full", micro_batch=37, **loop)
        start = _start_of(job)
        train(job, InProcessRuntime(use_gpu=False))
        end = load_bundle(job.folder / "bundle")[1]
        moved[name] = {key: end[key] - start[key] for key in ("2.weight", "6.weight")}
        job.folder.rename(job.folder.with_name(name))
    torch.testing.assert_close(moved["slow"]["6.weight"], moved["plain"]["6.weight"])
    torch.testing.assert_close(moved["slow"]["2.weight"], 0.25 * moved["plain"]["2.weight"], rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(
    "model",
    [
        pytest.param(nn.Linear(4, 1), id="no stages"),
        pytest.param(type("One", (nn.Linear,), {"parameter_stages": lambda m: [[], [m.weight]]})(4, 1), id="one stage"),
    ],
)
def test_a_model_without_stages_is_refused(model: nn.Module) -> None:
    with pytest.raises(ConfigError, match=r"loop\.fine_tune needs a model that tells its backbone from its head"):
        stages_of(model)


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param({}, id="nothing asked for"),
        pytest.param({"freeze_epochs": 0, "backbone_lr": 1.0}, id="only what is so anyway"),
        pytest.param({"freeze_epochs": "all", "backbone_lr": 0.1}, id="a rate for what never trains"),
        pytest.param({"freeze_epochs": "ever"}, id="an unknown word"),
    ],
)
def test_settings_without_effect_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        FineTuneSettings.model_validate(wrong)
