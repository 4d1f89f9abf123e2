"""Thread settings for the cores a process has. Call before torch is imported: OpenMP reads them once."""

import os
from collections.abc import MutableMapping


def thread_environment(num_threads: int) -> dict[str, str]:
    """Environment variables for a process that owns `num_threads` cores.

    Waiting is passive: on cores that are shared with loader processes, other trials or other users, spinning OpenMP
    threads cost up to half of the throughput; on quiet cores passive waiting costs little.
    """
    return {
        "OMP_NUM_THREADS": str(num_threads),
        "MKL_NUM_THREADS": str(num_threads),
        "OMP_WAIT_POLICY": "passive",
        "GOMP_SPINCOUNT": "0",
        "KMP_BLOCKTIME": "0",
    }


def apply_thread_environment(num_threads: int, environment: MutableMapping[str, str] = os.environ) -> None:
    """Set what the user has not set; OMP_NUM_THREADS, where it is set, counts for all libraries."""
    given = environment.get("OMP_NUM_THREADS", "")
    for name, value in thread_environment(int(given) if given.isdigit() else num_threads).items():
        environment.setdefault(name, value)


def usable_cpus() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
