"""The one training loop. Knows no task and no Ray: it follows a plan, evaluates, checkpoints, keeps a journal."""

import os
import socket
import time
from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.distributed as dist

from engine import catalog
from engine.bundle import Manifest, save_bundle
from engine.checkpoint import CheckpointStore, Position, load_checkpoint
from engine.distributed import broadcast_object, gather_objects, is_distributed
from engine.evaluation import evaluate
from engine.job import STOP_FILE, TrainJob
from engine.journal import Journal, next_attempt
from engine.ledger import Ledger
from engine.loader import PlanSampler, build_loader, next_batch
from engine.meter import CostAccount, StepMeter
from engine.samplers import build_repeats, sampler_notes
from engine.sampling import SamplingPlan
from engine.schedule_settings import PlateauSettings
from engine.schedules import schedule_warnings
from engine.state import StepSeeds, TrainState, build_state
from engine.step import finish_step, forward_backward
from engine.task import Batch, Runtime, Task, TaskDataset
from foundation.errors import Interrupted, NonFiniteLossError


class _Run:
    """One call of `train`: what the functions below share."""

    def __init__(self, job: TrainJob, runtime: Runtime) -> None:
        self.job, self.runtime = job, runtime
        self.is_main = runtime.rank == 0
        self.store = CheckpointStore(job.folder / "checkpoints", job.checkpoint.num_to_keep)
        self.task: Task = catalog.load(catalog.entry(job.spec.task).task)(job.spec)
        self.dataset = self.task.build_dataset(job.train_split, train=True)
        self.plan = _plan(job, self.dataset, self.task.classes, runtime.world_size)
        self.sampler = PlanSampler(self.plan, runtime.rank, job.loop.epochs)
        self.loader = build_loader(self.task, self.dataset, self.sampler, job.loop.num_loader_workers, runtime.device)
        self.seeds = StepSeeds(job.spec.seed, runtime.rank)
        self.state: TrainState = build_state(job, self.task, self.plan, runtime)
        job.folder.mkdir(parents=True, exist_ok=True)
        attempt = broadcast_object(next_attempt(job.folder) if self.is_main else None)
        self.journal = Journal(job.folder, self.is_main, attempt)
        self.ledger = Ledger(job.folder, runtime.rank, attempt) if job.loop.ledger else None
        self.meter = StepMeter(self.journal, job.loop, runtime, job.folder / STOP_FILE)
        self.batches: Iterator[Batch] = iter(())

    def start_loading(self) -> None:
        """Load from the state's position on, to the end of the last epoch."""
        self.sampler.set_position(self.state.position.epoch, self.state.position.step_in_epoch)
        self.batches = iter(self.loader)
        self.account = CostAccount(self.job.loop.num_loader_workers)

    def close(self) -> None:
        """End the loader processes and close the files."""
        self.batches = iter(())
        self.journal.close()
        if self.ledger is not None:
            self.ledger.close()


def _plan(job: TrainJob, dataset: TaskDataset, classes: Sequence[str], world_size: int) -> SamplingPlan:
    repeats = build_repeats(job.sampler, dataset, classes)
    in_epoch = len(dataset) if repeats is None else repeats.total
    return SamplingPlan(
        num_samples=len(dataset),
        batch_size=max(1, in_epoch) if job.loop.batch_size == "full" else job.loop.batch_size,
        world_size=world_size,
        micro_batch=job.loop.micro_batch,
        seed=job.spec.seed,
        repeats=repeats,
    )


def train(job: TrainJob, runtime: Runtime) -> dict[str, Any]:
    """Train to the end, or continue to the end from the newest good checkpoint in the job's folder.

    Every rank calls it with the same job. The bundle of the finished run lies in `job.folder / "bundle"`.

    Returns:
        `{"status": "done", "step": …, "metrics": …, "train_cpu_s": …}`, the same on every rank.

    Raises:
        Interrupted: a stop was asked for; a checkpoint was written first.
        NonFiniteLossError: a loss became NaN or infinite.
        UserError: the data, weights or settings are wrong.
    """
    run = _Run(job, runtime)
    try:
        _restore(run)
        _announce(run)
        run.start_loading()
        for epoch in range(run.state.position.epoch, job.loop.epochs):
            if _stops_early(run):
                break
            _train_epoch(run, epoch)
            _end_epoch(run, epoch)
        return _finish(run)
    finally:
        run.close()


def _restore(run: _Run) -> None:
    path = run.store.newest_good(lambda text: run.journal.event("corrupt_checkpoint", text)) if run.is_main else None
    path = broadcast_object(path)
    if path is not None:
        run.state.load_checkpoint(load_checkpoint(path, run.runtime.device))
        position = run.state.position
        run.journal.event("restored", f"continuing after step {position.step}, in epoch {position.epoch + 1}")


def _announce(run: _Run) -> None:
    job, state = run.job, run.state
    workers = gather_objects({"host": socket.gethostname(), "pid": os.getpid()})
    for warning in _warnings(run):
        run.journal.event("warning", warning)
    if run.is_main and state.position.step == 0:
        for note in [*sampler_notes(job.sampler, run.plan.repeats), *run.task.notes()]:
            run.journal.event("note", note)
    run.journal.write(
        "start",
        world_size=run.runtime.world_size,
        device=str(run.runtime.device),
        precision=state.precision.name,
        epochs=job.loop.epochs,
        steps_per_epoch=run.plan.steps_per_epoch,
        first_step=state.position.step,
        parameters=sum(p.numel() for p in state.model.parameters()),
        train_images=run.plan.num_samples,
        epoch_images=run.plan.num_drawn,
        workers=workers,
    )


def _warnings(run: _Run) -> Iterator[str]:
    """Yield which settings have no effect in this run."""
    job, loop = run.job, run.job.loop
    if loop.sync_bn and run.runtime.device.type != "cuda":
        yield "loop.sync_bn has no effect on the CPU: each worker normalises its own images"
    frozen = loop.fine_tune.freeze_epochs if loop.fine_tune else 0
    if frozen != "all" and frozen >= loop.epochs:
        yield f"loop.fine_tune.freeze_epochs is {frozen}, the run has {loop.epochs} epochs: only the head is trained"
    evaluations = 0 if job.val_split is None else -(-loop.epochs // loop.eval_every)
    if loop.early_stop is not None and 0 < evaluations <= loop.early_stop.patience:
        patience = f"loop.early_stop.patience is {loop.early_stop.patience}"
        yield f"{patience}, and the run has {evaluations} evaluations: this has no effect"
    if job.val_split == job.train_split:
        yield f"val_split is {job.val_split}, as train_split: its metrics tell what is remembered, not what is learned"
    yield from schedule_warnings(loop.schedule, loop.epochs, run.plan.steps_per_epoch, evaluations)


def _train_epoch(run: _Run, epoch: int) -> None:
    """Train from the state's position to the end of the epoch."""
    state, meter, account = run.state, run.meter, run.account
    account.start()
    if state.start_epoch(epoch):
        run.journal.event("note", f"from epoch {epoch + 1} on all stages of the model are trained")
    meter.start_epoch(epoch)
    for micro in run.sampler.micro_batches(epoch):
        meter.waiting()
        batch = next_batch(run.batches)
        meter.loaded()
        batch.share, batch.step_share, batch.step_key = micro.share, micro.step_share, state.position.step
        if run.ledger is not None:
            run.ledger.write(epoch, state.position.step, batch)
        run.seeds.apply(state.position.step * run.plan.num_micro + micro.index)
        meter.add(batch.sample_ids, forward_backward(state, run.task, batch.to(run.runtime.device), micro.is_last))
        if not micro.is_last:
            continue
        meter.check_finite(state.position.step)
        lr, grad_norm = finish_step(state, run.job.loop)
        position = state.position
        state.position = Position(epoch, position.step_in_epoch + 1, position.step + 1)
        stop_asked = meter.step_done(state.position.step, lr, grad_norm)
        is_due = _is_checkpoint_due(run)
        if stop_asked or is_due:
            meter.check_rest()
            account.settle(state)
            _save(run)
        if stop_asked:
            _interrupt(run)
    state.position = Position(epoch + 1, 0, state.position.step)
    meter.epoch_done(state.position.step)
    account.settle(state)


def _is_checkpoint_due(run: _Run) -> bool:
    """Whether a checkpoint falls between two steps of an epoch; the one at its end is written after evaluation."""
    every, position = run.job.checkpoint.every_steps, run.state.position
    return every is not None and position.step % every == 0 and position.step_in_epoch < run.plan.steps_per_epoch


def _end_epoch(run: _Run, epoch: int) -> None:
    """Evaluate if it is time, keep the best, write the epoch's record and a checkpoint."""
    job, state = run.job, run.state
    is_last = epoch + 1 == job.loop.epochs
    metrics: dict[str, float] = {}
    started = time.perf_counter()
    if job.val_split is not None and ((epoch + 1) % job.loop.eval_every == 0 or is_last):
        batch_size = max(1, job.loop.micro_batch or run.plan.batch_size // run.runtime.world_size)
        metrics, _ = evaluate(run.task, state.evaluated, job.val_split, batch_size, state.precision, run.runtime)
        state.last_metrics = metrics
        _observe(run, metrics)
    run.journal.write(
        "epoch",
        epoch=epoch,
        step=state.position.step,
        metrics=metrics,
        train_cpu_s=state.train_cpu_s,
        train_s=state.train_s,
        eval_s=time.perf_counter() - started,
    )
    if is_last or (epoch + 1) % job.checkpoint.every_epochs == 0:
        _save(run)
    if metrics:  # the same on all ranks; to tell Ray's controller is a barrier, too dear for every short epoch
        run.runtime.report({"epoch": epoch + 1, "step": state.position.step, **metrics})


def _observe(run: _Run, metrics: dict[str, float]) -> None:
    """Tell the schedule, best-weights selection and early stopping of an evaluation."""
    loop, state = run.job.loop, run.state
    if isinstance(loop.schedule, PlateauSettings):
        state.schedule.observe(_metric(run, metrics, loop.schedule.metric))
    value = _metric(run, metrics, loop.metric)
    if _is_better(value, state.best_metric):
        state.best_metric = value
        if loop.select == "best":
            _save_bundle(run, metrics)
    if loop.early_stop is None:
        return
    value = _metric(run, metrics, loop.early_stop.metric)
    if _is_better(value, state.best_watched, loop.early_stop.min_delta):
        state.best_watched, state.bad_evaluations = value, 0
    else:
        state.bad_evaluations += 1


def _is_better(value: float, best: float | None, min_delta: float = 0.0) -> bool:
    """A metric that is missing (minus infinity) or no number is no better than none."""
    return value > (float("-inf") if best is None else best + min_delta)


def _metric(run: _Run, metrics: dict[str, float], name: str | None) -> float:
    return metrics.get(name or run.job.main_metric, float("-inf"))


def _stops_early(run: _Run) -> bool:
    early_stop, state = run.job.loop.early_stop, run.state
    if early_stop is None or state.bad_evaluations < early_stop.patience:
        return False
    text = f"no better {early_stop.metric or run.job.main_metric} in {state.bad_evaluations} evaluations"
    run.journal.event("stopped_early", f"stopped before epoch {state.position.epoch + 1}: {text}")
    return True


def _save(run: _Run) -> None:
    if run.is_main:
        _check_weights(run.state)
        run.store.save(run.state.position.step, run.state.to_checkpoint())


def _check_weights(state: TrainState) -> None:
    """A finite loss can have gradients that are not; what they leave behind must not become a checkpoint."""
    spoilt = [name for name, weight in state.model.named_parameters() if not torch.isfinite(weight).all()]
    if spoilt:
        raise NonFiniteLossError(
            f"the weights of {', '.join(spoilt[:3])} are no longer finite after step {state.position.step}, though the "
            "loss was. Set loop.clip_norm, lower loop.optimizer.lr, or use loop.precision: fp32."
        )


def _interrupt(run: _Run) -> None:
    """Leave after the checkpoint; every rank comes here after the same step."""
    run.journal.write("end", status="interrupted", step=run.state.position.step)
    if is_distributed():
        dist.barrier()
    step = run.state.position.step
    raise Interrupted(f"stopped after step {step}; everything up to there is kept. `orchestrator resume` carries on.")


def _save_bundle(run: _Run, metrics: dict[str, float]) -> None:
    if not run.is_main:
        return
    spec = run.job.spec
    manifest = Manifest(
        task=spec.task,
        settings=spec.settings,
        classes=run.task.classes,
        preprocessing=run.task.preprocessing(),
        metrics=metrics,
        lineage={**run.job.lineage, "step": run.state.position.step},
    )
    save_bundle(run.job.folder / "bundle", run.state.evaluated.state_dict(), manifest)


def _finish(run: _Run) -> dict[str, Any]:
    state = run.state
    if run.job.loop.select == "last" or state.best_metric is None:
        _save_bundle(run, state.last_metrics)
    outcome = {
        "status": "done",
        "step": state.position.step,
        "metrics": state.last_metrics,
        "best_metric": state.best_metric,
        "train_cpu_s": state.train_cpu_s,
        "train_s": state.train_s,
    }
    run.journal.write("end", **outcome)
    return outcome
