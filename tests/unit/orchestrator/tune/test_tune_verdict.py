"""What is said of a trial that ended badly: whether its values are to blame, and why, in few words."""

import pytest
import torch

from foundation.errors import ConfigError, DataError, NonFiniteLossError, RunFailed
from orchestrator.tune.verdict import verdict, verdict_on_death
from orchestrator.tune.words import brief, shown

CPU_ALLOCATOR = (
    "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate "
    "3686400000000 bytes. Error code 12 (Cannot allocate memory)"
)
ACTOR_DIED = (
    "The actor died unexpectedly before finishing this task.\n\tclass_name: ImplicitFunc\nThe actor is dead because "
    "its worker process has died. Worker exit type: SYSTEM_ERROR Worker exit detail: Worker unexpectedly exits with a "
    "connection error code 2. End of file. Some common causes include: (1) the process was killed by the OOM killer"
)


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        pytest.param(
            RuntimeError(CPU_ALLOCATOR), "pruned", "out of memory: you tried to allocate 3686400000000 bytes", id="CPU"
        ),
        pytest.param(
            RunFailed(f"RuntimeError: {CPU_ALLOCATOR}"),
            "pruned",
            "out of memory: you tried to allocate 3686400000000 bytes",
            id="in a worker",
        ),
        pytest.param(
            torch.OutOfMemoryError("CUDA out of memory. Tried"), "pruned", "out of memory: CUDA out of", id="GPU"
        ),
        pytest.param(MemoryError(), "pruned", "out of memory: MemoryError", id="Python"),
        pytest.param(NonFiniteLossError("the loss became nan"), "pruned", "the loss became nan", id="NaN"),
        pytest.param(
            ConfigError("width 4 works with ResNets only."), "pruned", "width 4 works with ResNets only", id="no"
        ),
        pytest.param(DataError("a.png is cut off."), "failed", "a.png is cut off", id="data are no fault of values"),
        pytest.param(KeyError("x"), "failed", "KeyError: 'x'", id="a bug"),
    ],
)
def test_an_error_becomes_a_verdict(error: Exception, status: str, reason: str) -> None:
    found = verdict(error)
    assert found[0] == status and found[1].startswith(reason)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(ACTOR_DIED, ("failed", "its process died: it crashed or was killed"), id="killed from outside"),
        pytest.param(
            "Task was killed due to the node running low on memory.\nMemory on the node was 15 GB",
            ("pruned", "out of memory"),
            id="ended by Ray for want of memory",
        ),
        pytest.param(
            "first\nsomething else", ("failed", "its process died: something else"), id="whatever Ray says last"
        ),
        pytest.param(
            "Worker exit type: SYSTEM_ERROR Worker exits with an exit code None. Traceback\n  File x\n"
            "NameError: name 'a' is not defined\nAn unexpected internal error occurred",
            ("failed", "its process died: NameError: name 'a' is not defined"),
            id="code that cannot be imported",
        ),
        pytest.param("", ("failed", "its process died: for no known reason"), id="nothing said"),
    ],
)
def test_a_death_becomes_a_verdict(text: str, expected: tuple[str, str]) -> None:
    status, reason = verdict_on_death(text)
    assert status == expected[0] and reason.startswith(expected[1])


def test_a_reason_is_told_in_brief() -> None:
    assert brief("the loss became nan in step 3; the batch held [1, 2, 3]") == "the loss became nan in step 3"
    assert brief("x" * 200, 10) == "x" * 9 + "…"


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.00123456, "0.00123"), (5000.0, "5000"), (1e9, "1e+09"), (12, "12"), ("adamw", "adamw"), (0.0, "0")],
)
def test_values_are_short(value: object, text: str) -> None:
    assert shown(value) == text


def test_settings_are_shown_by_their_name_and_other_keys() -> None:
    assert shown({"name": "repeat_factor", "threshold": 0.5}) == "repeat_factor threshold=0.5"
    assert shown({"name": "random"}) == "random"
    assert shown({"preset": "none"}) == "preset=none"
