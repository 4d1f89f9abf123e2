"""What fits the nodes of a cluster, where totals would say something else."""

from typing import Any

import pytest

from engine.settings import ResourceSettings
from orchestrator.capacity import room_for, shortage

ONE = [{"CPU": 2.0, "memory": 1e9, "object_store_memory": 1e9, "node:10.0.0.1": 1.0}]
TWO = [{"CPU": 2.0}, {"CPU": 2.0}]
UNEVEN = [{"CPU": 3.0, "GPU": 1.0}, {"CPU": 3.0}]


@pytest.mark.parametrize(
    ("wanted", "nodes", "expected"),
    [
        pytest.param({"CPU": 1}, ONE, 2, id="one node"),
        pytest.param({"CPU": 2}, TWO, 2, id="one on each"),
        pytest.param({"CPU": 4}, TWO, 0, id="as much as both have together"),
        pytest.param({"CPU": 2}, UNEVEN, 2, id="a CPU of each is left over"),
        pytest.param({"CPU": 1, "GPU": 1}, UNEVEN, 1, id="the scarcer one counts"),
        pytest.param({"CPU": 0.1}, [{"CPU": 0.3}], 3, id="parts of a CPU"),
        pytest.param({"CPU": 1}, [], 0, id="no node"),
    ],
)
def test_room_is_counted_node_by_node(wanted: dict[str, float], nodes: list[dict[str, float]], expected: int) -> None:
    assert room_for(wanted, nodes) == expected


@pytest.mark.parametrize(
    ("resources", "nodes", "expected"),
    [
        pytest.param({"num_workers": 2}, ONE, None, id="fits"),
        pytest.param({"num_workers": [1, 8]}, ONE, None, id="elastic: the fewest count"),
        pytest.param(
            {"num_workers": 3}, ONE, "asks for 3 workers with 3 CPU in all, and the cluster has 2. Lower", id="too many"
        ),
        pytest.param(
            {"num_workers": 1, "resources_per_worker": {"CPU": 4}},
            TWO,
            "asks for workers with 4 CPU each, and a worker lies on one node, of which the largest has 2.",
            id="one worker across two nodes",
        ),
        pytest.param(
            {"num_workers": 3, "resources_per_worker": {"CPU": 2}},
            UNEVEN,
            "asks for 3 workers with 2 CPU each, and the cluster's 2 nodes have room for 2, because each worker lies",
            id="enough in all, but not on the nodes",
        ),
        pytest.param(
            {"num_workers": 2, "use_gpu": True},
            UNEVEN,
            "asks for 2 workers with 2 GPU in all, and the cluster has 1. Lower num_workers or resources_per_worker, "
            "or set use_gpu: auto.",
            id="GPUs",
        ),
        pytest.param(
            {"num_workers": 1, "use_gpu": True},
            ONE,
            "asks for 'GPU', and no node has any. Set use_gpu: auto",
            id="none",
        ),
        pytest.param(
            {"num_workers": 1, "resources_per_worker": {"cpus": 1}},
            ONE,
            "asks for 'cpus', and no node has any; did you mean 'CPU'?",
            id="a name that nobody has",
        ),
    ],
)
def test_what_can_never_run_is_said(
    resources: dict[str, Any], nodes: list[dict[str, float]], expected: str | None
) -> None:
    found = shortage(ResourceSettings.model_validate(resources), nodes)
    assert found is None if expected is None else (found or "").startswith(expected), found
