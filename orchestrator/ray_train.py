"""The loop on Ray Train workers: what runs in a worker, and what the driver starts and waits for.

Ray restarts the group of workers after a failure; the loop itself finds its newest checkpoint on the stage's storage.
So Ray keeps no checkpoints of ours, and a step never waits for its controller.
"""

import shutil
import time
from pathlib import Path
from typing import Any

import ray
import ray.train
import torch.distributed as dist
from ray.train import FailureConfig, LoggingConfig, RunConfig, ScalingConfig, TrainingFailedError
from ray.train.torch import TorchConfig, TorchTrainer, get_device
from torch import nn

from engine.evaluation_job import evaluate_bundle
from engine.failures import error_from_note, last_failure, note_failure, read_failure
from engine.job import EvaluateJob, TrainJob
from engine.loop import train
from engine.runtimes import wrap_for_ranks
from engine.settings import FailureSettings, ResourceSettings
from engine.threads import thread_environment
from foundation.errors import InfrastructureError, Interrupted, OrchestratorError, RunFailed

SPARED = ("DatasetsCallback", "PlacementGroupCleanerCallback")
"""Each starts a process beside the workers that takes up to 1 % of a core, to no use here: it hands out data sets of
Ray's, of which there are none; it frees the room of a controller that was killed, which the end of its driver does."""


class SparingTrainer(TorchTrainer):
    """Ray's own, with fewer processes."""

    def _create_default_callbacks(self) -> list[Any]:
        is_in_a_sweep = ray.get_runtime_context().get_actor_id() is not None  # which goes on without its controller
        spared = SPARED[:1] if is_in_a_sweep else SPARED
        return [callback for callback in super()._create_default_callbacks() if type(callback).__name__ not in spared]


class RayRuntime:
    """One worker of a Ray Train group."""

    def __init__(self) -> None:
        context = ray.train.get_context()
        self.rank: int = context.get_world_rank()
        self.world_size: int = context.get_world_size()
        self.device = get_device()

    def prepare_model(self, model: nn.Module) -> nn.Module:
        """Wrap the model in DDP."""
        return wrap_for_ranks(model, self.device)

    def report(self, metrics: dict[str, float]) -> None:
        """Tell Ray's controller, and with it the dashboard, of an evaluated epoch."""
        ray.train.report({name: float(value) for name, value in metrics.items()})


def _work(config: dict[str, Any]) -> dict[str, Any]:
    """What every worker runs. A failure that would come again ends the run at the next start, not after all retries."""
    folder = Path(config["job"]["folder"])
    note = read_failure(folder)
    if note is not None and note.is_final:
        return {"status": "failed"}
    runtime = RayRuntime()
    try:
        if config["kind"] == "evaluate":
            outcome = evaluate_bundle(EvaluateJob.from_json(config["job"]), runtime)
        else:
            outcome = train(TrainJob.from_json(config["job"]), runtime)
    except Interrupted as error:
        outcome = {"status": "interrupted", "message": str(error)}
    except Exception as error:
        note_failure(folder, error)
        raise  # with NCCL's group left alone: taking it down waits for peers, who wait for this worker
    if dist.is_initialized() and runtime.device.type == "cuda":
        dist.destroy_process_group()
    return outcome


def run_on_ray(
    kind: str, job: TrainJob | EvaluateJob, resources: ResourceSettings, failure: FailureSettings
) -> dict[str, Any]:
    """Run a job on Ray Train workers; blocks. Call it outside the main thread, or Ray takes Ctrl-C over.

    Raises:
        Interrupted: the user stopped the run.
        OrchestratorError: what ended the run, as the worker that failed told it.
    """
    rays_own = job.folder / "ray"
    trainer = SparingTrainer(
        _work,
        train_loop_config={"kind": kind, "job": job.to_json()},
        torch_config=TorchConfig(timeout_s=failure.hang_timeout_s),
        scaling_config=_scaling(resources),
        run_config=RunConfig(
            name=f"{kind}-{time.time_ns()}",
            storage_path=str(rays_own),
            failure_config=FailureConfig(max_failures=failure.max_failures),
            worker_runtime_env={"env_vars": _worker_environment(resources)},
            logging_config=LoggingConfig(log_level="WARNING"),
        ),
    )
    try:
        result: dict[str, Any] = trainer.fit().return_value or {}
    except TrainingFailedError as error:
        raise _explain(job.folder, error) from error
    except ray.exceptions.RayError as error:
        raise InfrastructureError(
            f"the Ray cluster lost this run ({type(error).__name__}). Its checkpoints are kept: "
            "check the cluster, then `orchestrator resume`."
        ) from error
    finally:
        shutil.rmtree(rays_own, ignore_errors=True)
    if result.get("status") == "interrupted":
        raise Interrupted(result["message"])
    if result.get("status") == "failed":
        raise _explain(job.folder, None)
    return result


def _explain(folder: Path, error: Exception | None) -> OrchestratorError:
    note = last_failure(folder)
    if note is not None:
        return error_from_note(note)
    text = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
    return RunFailed(
        f"the workers failed more often than failure.max_failures allows; the last failure was: {text[:300]}. "
        "The full log is run.log in the stage's folder; `orchestrator resume` continues from the last checkpoint."
    )


def _scaling(resources: ResourceSettings) -> ScalingConfig:
    wanted = dict(resources.resources_per_worker)
    use_gpu = wants_gpu(resources)
    if use_gpu:
        wanted.setdefault("GPU", 1)
    return ScalingConfig(num_workers=resources.num_workers, use_gpu=use_gpu, resources_per_worker=wanted)


def wants_gpu(resources: ResourceSettings) -> bool:
    """Whether the workers get GPUs: as asked, or if the cluster has enough for `auto`."""
    if resources.use_gpu != "auto":
        return resources.use_gpu
    wanted = least_workers(resources) * resources.resources_per_worker.get("GPU", 1)
    return ray.cluster_resources().get("GPU", 0) >= wanted


def least_workers(resources: ResourceSettings) -> int:
    """The smallest number of workers the run may have."""
    workers = resources.num_workers
    return workers[0] if isinstance(workers, tuple) else workers


def _worker_environment(resources: ResourceSettings) -> dict[str, str]:
    threads = max(1, int(resources.resources_per_worker.get("CPU", 1)))
    return {**thread_environment(threads), "NO_ALBUMENTATIONS_UPDATE": "1"}
