"""A quiet Ray: connect to the cluster we are in, or start a local one; and say early what it cannot give."""

import os
from pathlib import Path

from engine.settings import ResourceSettings
from engine.threads import usable_cpus
from foundation.errors import ConfigError, InfrastructureError

RAY_ENVIRONMENT = {
    "RAY_AUTH_MODE": "token",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
"""Set unless the user has set them. The interval is how often Ray's controller looks at its workers: more often costs
training speed, more seldom costs time after a failure."""


def prepare_environment(collective_timeout_s: int) -> None:
    """Set what Ray reads from the environment; call before Ray is imported."""
    for name, value in RAY_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    os.environ.setdefault("RAY_TRAIN_COLLECTIVE_TIMEOUT_S", str(collective_timeout_s))


def connect(log_file: Path) -> None:
    """Join the cluster of RAY_ADDRESS, or start one on this machine that ends with this process."""
    import ray

    if ray.is_initialized():
        return
    address = os.environ.get("RAY_ADDRESS")
    settings = {} if address else {"num_cpus": usable_cpus(), "include_dashboard": False}
    try:
        ray.init(address=address or "local", log_to_driver=False, logging_level="ERROR", **settings)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        where = f"the Ray cluster at {address}" if address else "a Ray cluster on this machine"
        raise InfrastructureError(
            f"cannot reach {where}: {error}. See {log_file}, or `orchestrator doctor`."
        ) from error


def check_resources(resources: ResourceSettings, stage: str) -> None:
    """Refuse what the cluster can never give, instead of waiting for it for ever.

    Raises:
        ConfigError: naming what was asked for and what there is.
    """
    import ray

    workers = resources.num_workers
    least = workers[0] if isinstance(workers, tuple) else workers
    wanted = {name: least * amount for name, amount in resources.resources_per_worker.items()}
    if resources.use_gpu is True:
        wanted.setdefault("GPU", least)
    there = ray.cluster_resources()
    for name, amount in wanted.items():
        if amount > there.get(name, 0):
            raise ConfigError(
                f"stages.{stage}.resources asks for {least} workers with {amount:g} {name} in all, and the cluster has "
                f"{there.get(name, 0):g}. Lower num_workers or resources_per_worker"
                + (", or set use_gpu: auto." if name == "GPU" else ".")
            )
