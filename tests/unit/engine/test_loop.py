"""The loop in one process: it learns, resumes bit for bit, stops when asked, and tells what went wrong."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter

from engine import catalog
from engine.bundle import load_bundle
from engine.checkpoint import STATE_FILE
from engine.job import STOP_FILE, TrainJob
from engine.journal import JOURNAL_FILE, read_journal
from engine.ledger import effective_samples
from engine.loop import train
from engine.optimizers import OPTIMIZERS
from engine.runtimes import InProcessRuntime
from engine.settings import CheckpointSettings, LoopSettings, SamplerSettings
from engine.task import TaskSpec
from foundation.errors import ConfigError, DataError, Interrupted, NonFiniteLossError
from tests.unit.engine.tiny_task import ENTRY, TinyDataset, TinyTask

LOOP = {
    "epochs": 3,
    "batch_size": 8,
    "precision": "fp32",
    "channels_last": False,
    "ema": 0.9,
    "log_every_steps": 1,
    "ledger": True,
    "optimizer": {"name": "adamw", "lr": 0.05},
}
MakeJob = Callable[..., TrainJob]


@pytest.fixture
def make_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeJob:
    monkeypatch.setitem(catalog.TASKS, "tiny", ENTRY)

    def make(
        name: str = "a",
        settings: dict[str, Any] | None = None,
        every_steps: int | None = None,
        sampler: dict[str, Any] | None = None,
        **loop: Any,
    ) -> TrainJob:
        return TrainJob(
            spec=TaskSpec("tiny", settings or {}, {}, seed=3, epochs=3),
            loop=LoopSettings.model_validate({**LOOP, **loop}),
            checkpoint=CheckpointSettings(every_steps=every_steps),
            folder=tmp_path / name,
            train_split="train",
            val_split="val",
            main_metric="accuracy",
            sampler=TypeAdapter(SamplerSettings).validate_python(sampler or {}),
        )

    return make


def _weights(job: TrainJob) -> dict[str, torch.Tensor]:
    return load_bundle(job.folder / "bundle")[1]


def _assert_same_weights(one: TrainJob, other: TrainJob) -> None:
    a, b = _weights(one), _weights(other)
    assert a.keys() == b.keys()
    for name in a:
        assert torch.equal(a[name], b[name]), name


class _Killed(Exception):
    pass


def _train_killed_at(job: TrainJob, step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Train until the loop asks for the losses of `step`, and die there."""
    losses = TinyTask.losses

    def dying(self: TinyTask, model: Any, batch: Any) -> Any:
        if batch.step_key == step:
            raise _Killed
        return losses(self, model, batch)

    with monkeypatch.context() as patch, pytest.raises(_Killed):
        patch.setattr(TinyTask, "losses", dying)
        train(job, InProcessRuntime(use_gpu=False))


def test_it_learns_and_leaves_a_bundle(make_job: MakeJob) -> None:
    job = make_job(epochs=20)
    outcome = train(job, InProcessRuntime(use_gpu=False))
    assert outcome["status"] == "done"
    assert outcome["step"] == 20 * 5
    assert outcome["metrics"]["accuracy"] > 0.8
    assert outcome["metrics"]["count"] == 37
    assert outcome["train_cpu_s"] > 0
    assert "0.weight" in _weights(job)


@pytest.mark.parametrize(
    ("killed_at", "every_steps"),
    [
        pytest.param(7, 3, id="mid-epoch, from a step checkpoint"),
        pytest.param(9, None, id="mid-epoch, from the epoch's checkpoint"),
        pytest.param(5, None, id="first step of the second epoch"),
        pytest.param(2, None, id="before any checkpoint"),
    ],
)
def test_a_killed_run_ends_with_the_same_weights(
    make_job: MakeJob, monkeypatch: pytest.MonkeyPatch, killed_at: int, every_steps: int | None
) -> None:
    whole, broken = make_job("whole"), make_job("broken", every_steps=every_steps)
    train(whole, InProcessRuntime(use_gpu=False))
    _train_killed_at(broken, killed_at, monkeypatch)
    train(broken, InProcessRuntime(use_gpu=False))
    _assert_same_weights(whole, broken)
    assert effective_samples(broken.folder) == effective_samples(whole.folder)


class StagedNet(torch.nn.Sequential):
    """The tiny task's network, which tells its stages."""

    def __init__(self) -> None:
        linear = torch.nn.Linear
        super().__init__(linear(4, 8), torch.nn.BatchNorm1d(8), torch.nn.ReLU(), torch.nn.Dropout(0.2), linear(8, 1))

    def parameter_stages(self) -> list[list[torch.nn.Parameter]]:
        return [[*self[0].parameters(), *self[1].parameters()], list(self[4].parameters())]


FREED = {"fine_tune": {"freeze_epochs": 1, "layer_decay": 0.5}}


@pytest.mark.parametrize(
    ("recipe", "killed_at"),
    [
        *(pytest.param({"optimizer": {"name": name, "l1": 1e-3}}, 8, id=name) for name in sorted(OPTIMIZERS)),
        pytest.param({"schedule": {"name": "one_cycle", "warmup_steps": 2}}, 8, id="one_cycle"),
        pytest.param({"schedule": {"name": "plateau", "patience": 0, "min_delta": 1.0}}, 8, id="plateau"),
        pytest.param(FREED, 3, id="killed while frozen"),
        pytest.param(FREED, 5, id="killed in the first step after it"),
        pytest.param({**FREED, "optimizer": {"name": "adabound"}}, 8, id="adabound, freed after one epoch"),
        pytest.param({**FREED, "optimizer": {"name": "lamb"}}, 8, id="lamb, freed after one epoch"),
        pytest.param({"sampler": {"name": "class_balanced"}}, 8, id="class_balanced"),
        pytest.param({"sampler": {"name": "undersample"}, "batch_size": 6}, 8, id="undersample"),
        pytest.param({"batch_size": "full", "micro_batch": 9, "epochs": 12}, 8, id="full batch"),
    ],
)
def test_every_recipe_resumes_bit_for_bit(
    make_job: MakeJob, monkeypatch: pytest.MonkeyPatch, recipe: dict[str, Any], killed_at: int
) -> None:
    monkeypatch.setattr(TinyTask, "build_model", lambda self: StagedNet())
    whole, broken = make_job("whole", **recipe), make_job("broken", every_steps=2, **recipe)
    train(whole, InProcessRuntime(use_gpu=False))
    _train_killed_at(broken, killed_at, monkeypatch)
    train(broken, InProcessRuntime(use_gpu=False))
    _assert_same_weights(whole, broken)
    assert effective_samples(broken.folder) == effective_samples(whole.folder)


def test_a_full_batch_is_one_step_an_epoch_on_all_samples(make_job: MakeJob, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TinyTask, "build_model", lambda self: torch.nn.Linear(4, 1))
    whole = make_job("whole", batch_size=37)
    full = make_job("full", batch_size="full", micro_batch=5)
    assert train(whole, InProcessRuntime(use_gpu=False))["step"] == 3
    assert train(full, InProcessRuntime(use_gpu=False))["step"] == 3
    assert effective_samples(full.folder) == {step: list(range(37)) for step in range(3)}
    for name, tensor in _weights(whole).items():
        torch.testing.assert_close(tensor, _weights(full)[name])


def test_a_sampler_decides_what_an_epoch_shows(make_job: MakeJob) -> None:
    job = make_job(settings={"count": 13}, sampler={"name": "oversample"}, batch_size=4, epochs=2)
    train(job, InProcessRuntime(use_gpu=False))
    labels = [int(label[0]) for label in TinyDataset(13, train=True).sample_labels()]
    largest = max(labels.count(0), labels.count(1))
    assert labels.count(0) != labels.count(1)
    start, note = (
        next(r for r in read_journal(job.folder / JOURNAL_FILE) if r.get("name", r["kind"]) == kind)
        for kind in ("start", "note")
    )
    assert (start["train_images"], start["epoch_images"]) == (13, 2 * largest)
    assert note["message"].startswith(f"sampler oversample: an epoch shows {2 * largest} images out of 13")
    steps = effective_samples(job.folder)
    for epoch in range(2):
        first = epoch * start["steps_per_epoch"]
        shown = [i for step in range(first, first + start["steps_per_epoch"]) for i in steps[step]]
        assert [sum(labels[i] == label for i in shown) for label in (0, 1)] == [largest, largest]
        assert set(shown) == set(range(13))


def test_l1_drives_weights_towards_nothing(make_job: MakeJob) -> None:
    optimizer = {"name": "sgd", "lr": 0.02}
    plain, sparse = make_job("plain", optimizer=optimizer), make_job("l1", optimizer={**optimizer, "l1": 0.5})
    for job in (plain, sparse):
        train(job, InProcessRuntime(use_gpu=False))
    for name in ("0.weight", "4.weight"):
        assert _weights(sparse)[name].abs().sum() < 0.7 * _weights(plain)[name].abs().sum()


def test_the_task_speaks_to_the_user_once(make_job: MakeJob, monkeypatch: pytest.MonkeyPatch) -> None:
    job = make_job(settings={"notes": ["the head is made anew", "a mirrored 6 is no 6"]})
    _train_killed_at(job, 7, monkeypatch)
    train(job, InProcessRuntime(use_gpu=False))
    notes = [r["message"] for r in read_journal(job.folder / JOURNAL_FILE) if r.get("name") == "note"]
    assert notes == ["the head is made anew", "a mirrored 6 is no 6"]


def test_what_has_no_effect_is_said(make_job: MakeJob) -> None:
    job = make_job(schedule={"name": "multistep", "milestones": [2, 9]}, sync_bn=True)
    train(job, InProcessRuntime(use_gpu=False))
    warnings = [r["message"] for r in read_journal(job.folder / JOURNAL_FILE) if r.get("name") == "warning"]
    assert len(warnings) == 2
    assert "sync_bn has no effect on the CPU" in warnings[0]
    assert "9 lie beyond the run's 3 epochs" in warnings[1]


def test_a_job_survives_the_way_to_a_worker(make_job: MakeJob) -> None:
    job = make_job(
        sampler={"name": "repeat_factor", "threshold": 0.5},
        batch_size="full",
        micro_batch=4,
        optimizer={"name": "lion", "betas": [0.8, 0.9]},
        schedule={"name": "multistep", "milestones": [1, 2]},
        fine_tune={"freeze_epochs": "all"},
    )
    assert TrainJob.from_json(json.loads(json.dumps(job.to_json()))) == job


def test_every_epoch_shows_every_sample_once(make_job: MakeJob) -> None:
    job = make_job()
    train(job, InProcessRuntime(use_gpu=False))
    steps = effective_samples(job.folder)
    for epoch in range(3):
        shown = [sample for step in range(epoch * 5, epoch * 5 + 5) for sample in steps[step]]
        assert sorted(shown) == list(range(37))


def test_micro_batches_give_the_same_loss_as_one_batch_without_batch_statistics(
    make_job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TinyTask, "build_model", lambda self: torch.nn.Linear(4, 1))
    whole, parts = make_job("whole"), make_job("parts", micro_batch=3)
    train(whole, InProcessRuntime(use_gpu=False))
    train(parts, InProcessRuntime(use_gpu=False))
    for name, tensor in _weights(whole).items():
        torch.testing.assert_close(tensor, _weights(parts)[name])


def test_a_checkpoint_cut_in_half_is_passed_over_and_said(make_job: MakeJob, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, broken = make_job("whole"), make_job("broken", every_steps=2)
    train(whole, InProcessRuntime(use_gpu=False))
    _train_killed_at(broken, 9, monkeypatch)
    newest = sorted((broken.folder / "checkpoints").glob("step-*"))[-1] / STATE_FILE
    newest.write_bytes(newest.read_bytes()[: newest.stat().st_size // 2])
    train(broken, InProcessRuntime(use_gpu=False))
    _assert_same_weights(whole, broken)
    events = [r["message"] for r in read_journal(broken.folder / JOURNAL_FILE) if r.get("name") == "corrupt_checkpoint"]
    assert len(events) == 1
    assert "step-00000008 is damaged" in events[0]


def test_a_stop_request_checkpoints_and_the_rest_follows(make_job: MakeJob) -> None:
    whole, stopped = make_job("whole"), make_job("stopped")
    train(whole, InProcessRuntime(use_gpu=False))
    stopped.folder.mkdir()
    (stopped.folder / STOP_FILE).touch()
    with pytest.raises(Interrupted, match="stopped after step 1"):
        train(stopped, InProcessRuntime(use_gpu=False))
    assert list(read_journal(stopped.folder / JOURNAL_FILE))[-1]["status"] == "interrupted"
    (stopped.folder / STOP_FILE).unlink()
    train(stopped, InProcessRuntime(use_gpu=False))
    _assert_same_weights(whole, stopped)


def test_a_nan_loss_names_the_step_and_the_samples(make_job: MakeJob) -> None:
    job = make_job(settings={"nan_at_step": 6})
    with pytest.raises(NonFiniteLossError, match="step 7") as caught:
        train(job, InProcessRuntime(use_gpu=False))
    ids = effective_samples(job.folder)[6]
    assert all(str(sample) in str(caught.value) for sample in ids)


def test_weights_that_are_not_finite_do_not_become_a_checkpoint(make_job: MakeJob) -> None:
    job = make_job(optimizer={"name": "sgd", "lr": 1e39, "momentum": 0.0}, epochs=1, batch_size=37)
    with pytest.raises(NonFiniteLossError, match="no longer finite after step 1"):
        train(job, InProcessRuntime(use_gpu=False))
    assert not list((job.folder / "checkpoints").glob("step-*"))


def test_early_stopping_ends_before_the_last_epoch(make_job: MakeJob, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.unit.engine.tiny_task.TinyMetric.compute", lambda self: {"accuracy": 0.5})
    job = make_job(epochs=9, early_stop={"patience": 2})
    train(job, InProcessRuntime(use_gpu=False))
    epochs = [r["epoch"] for r in read_journal(job.folder / JOURNAL_FILE) if r["kind"] == "epoch"]
    assert epochs == [0, 1, 2]


def test_select_best_ships_the_weights_of_the_best_epoch(make_job: MakeJob, monkeypatch: pytest.MonkeyPatch) -> None:
    values = iter([0.2, 0.9, 0.1])
    monkeypatch.setattr("tests.unit.engine.tiny_task.TinyMetric.compute", lambda self: {"accuracy": next(values)})
    job = make_job(select="best")
    train(job, InProcessRuntime(use_gpu=False))
    manifest, _ = load_bundle(job.folder / "bundle")
    assert manifest.metrics == {"accuracy": 0.9}
    assert manifest.lineage["step"] == 10


def test_early_stopping_and_selection_each_watch_their_own_metric(
    make_job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = iter([(0.9, 0.1), (0.8, 0.3), (0.7, 0.2), (0.6, 0.2)])
    monkeypatch.setattr(
        "tests.unit.engine.tiny_task.TinyMetric.compute",
        lambda self: dict(zip(("accuracy", "recall"), next(values), strict=True)),
    )
    job = make_job(epochs=4, select="best", metric="recall", early_stop={"patience": 2, "metric": "accuracy"})
    outcome = train(job, InProcessRuntime(use_gpu=False))
    assert outcome["step"] == 15
    assert outcome["best_metric"] == 0.3
    assert load_bundle(job.folder / "bundle")[0].metrics["recall"] == 0.3


def test_an_error_in_a_loader_process_arrives_as_it_was_raised(
    make_job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: TinyDataset, key: Any) -> Any:
        raise DataError("photo.jpg is cut short. Restore it.")

    monkeypatch.setattr(TinyDataset, "__getitem__", broken)
    with pytest.raises(DataError) as caught:
        train(make_job(num_loader_workers=1), InProcessRuntime(use_gpu=False))
    assert str(caught.value) == "photo.jpg is cut short. Restore it."


def test_each_micro_batch_has_its_own_random_numbers(make_job: MakeJob, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[float] = []
    losses = TinyTask.losses

    def drawing(self: TinyTask, model: Any, batch: Any) -> Any:
        drawn.append(float(torch.rand(())))
        return losses(self, model, batch)

    monkeypatch.setattr(TinyTask, "losses", drawing)
    train(make_job(epochs=1, micro_batch=3), InProcessRuntime(use_gpu=False))
    assert len(drawn) == 15
    assert len(set(drawn)) == 15


def test_fp16_on_a_cpu_is_refused(make_job: MakeJob) -> None:
    with pytest.raises(ConfigError, match="fp16 needs a GPU"):
        train(make_job(precision="fp16"), InProcessRuntime(use_gpu=False))


def test_the_journal_has_one_point_a_step(make_job: MakeJob) -> None:
    job = make_job()
    train(job, InProcessRuntime(use_gpu=False))
    records = list(read_journal(job.folder / JOURNAL_FILE))
    assert [r["step"] for r in records if r["kind"] == "step"] == list(range(1, 16))
    assert records[0]["kind"] == "start"
    assert records[-1] == {**records[-1], "kind": "end", "status": "done", "step": 15}
