"""A quiet Ray: connect to the cluster we are in, or start a local one; and say early what it cannot give."""

import os
import shutil
from pathlib import Path

from engine.settings import ResourceSettings
from engine.threads import usable_cpus
from foundation.errors import ConfigError, InfrastructureError
from orchestrator.capacity import shortage
from orchestrator.execution.signals import handlers_kept

RAY_ENVIRONMENT = {
    "RAY_AUTH_MODE": "token",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "1.0",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_worker_niceness": "0",  # else 15: any other program on the machine goes before the training
}
"""Set unless the user has set them. The interval is how often Ray's controller looks at its workers: more often costs
training speed, more seldom costs time after a failure."""
START_ATTEMPTS = 2
"""Ray gives a node 30 s to start, whatever one sets; a busy machine may need a second go."""


class Cluster:
    """The Ray cluster of one run: joined, or started here, when the first stage needs it; left at the end."""

    def __init__(self, log_file: Path) -> None:
        self._log_file = log_file
        self._is_ours = False
        self._logs: Path | None = None

    def connect(self, collective_timeout_s: int) -> None:
        """Join the cluster of RAY_ADDRESS, or start one. Call it in the main thread.

        The kernel ends the processes of a cluster that was started here together with the thread that started them.

        Raises:
            InfrastructureError: if there is no reaching or starting it.
        """
        for name, value in RAY_ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        os.environ.setdefault("RAY_TRAIN_COLLECTIVE_TIMEOUT_S", str(collective_timeout_s))
        import ray  # reads the environment

        if ray.is_initialized():
            return
        address = os.environ.get("RAY_ADDRESS")
        settings = {} if address else {"num_cpus": usable_cpus(), "include_dashboard": False}
        for attempts_left in range(0 if address else START_ATTEMPTS - 1, -1, -1):
            try:
                with handlers_kept():  # Ray's own for SIGTERM would end the process at once
                    context = ray.init(
                        address=address or "local", log_to_driver=False, logging_level="ERROR", **settings
                    )
                break
            except Exception as error:  # Ray raises plain ones too, where a busy machine keeps it waiting
                ray.shutdown()
                if attempts_left:
                    continue
                where = f"the Ray cluster at {address}" if address else "a Ray cluster on this machine"
                raise InfrastructureError(
                    f"cannot reach {where}: {str(error).rstrip('.')}. See {self._log_file}, or `orchestrator doctor`."
                ) from error
        ray._private.worker._worker_logs_enabled = False  # `log_to_driver` leaves Ray's word on every lost process
        self._is_ours = True
        self._logs = None if address else Path(context.address_info["session_dir"])

    def close(self, keep_logs: bool) -> None:
        """Leave the cluster, or end it if it was started here; one that the caller had joined before stays.

        Args:
            keep_logs: leave Ray's own logs of a cluster that was started here in its folder for temporary files.
        """
        if not self._is_ours:
            return
        import ray

        ray.shutdown()
        self._is_ours = False
        if self._logs is not None and not keep_logs:
            shutil.rmtree(self._logs, ignore_errors=True)


def check_resources(resources: ResourceSettings, stage: str) -> None:
    """Refuse what the cluster can never give, instead of waiting for it for ever.

    Raises:
        ConfigError: naming what was asked for and what there is.
    """
    import ray

    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if fault := shortage(resources, nodes):
        raise ConfigError(f"stages.{stage}.resources {fault}")
