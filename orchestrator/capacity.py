"""What the nodes of a cluster have room for. A worker lies on one node: the cluster's totals do not tell."""

from collections.abc import Mapping, Sequence

from engine.settings import ResourceSettings
from orchestrator.pipeline.problems import listed, nearest

Node = Mapping[str, float]
"""What one node has in all, by Ray's name of it."""

TOLERANCE = 1e-6
"""Three workers with 0.1 CPU each fit 0.3."""


def per_worker(resources: ResourceSettings, use_gpu: bool) -> dict[str, float]:
    """What each worker is given."""
    wanted = dict(resources.resources_per_worker)
    if use_gpu:
        wanted.setdefault("GPU", 1)
    return wanted


def room_for(wanted: Mapping[str, float], nodes: Sequence[Node]) -> int:
    """How many workers with `wanted` each the nodes hold together, while nothing else runs."""
    return sum(min(int(node.get(name, 0) / amount + TOLERANCE) for name, amount in wanted.items()) for node in nodes)


def shortage(resources: ResourceSettings, nodes: Sequence[Node]) -> str | None:
    """Say why the fewest workers that were asked for can never run at once; None if they can."""
    workers = resources.num_workers
    least = workers[0] if isinstance(workers, tuple) else workers
    wanted = per_worker(resources, resources.use_gpu is True)
    if room_for(wanted, nodes) >= least:
        return None
    for name, amount in wanted.items():
        most = max((node.get(name, 0) for node in nodes), default=0)
        total = sum(node.get(name, 0) for node in nodes)
        if not total:
            return f"asks for {name!r}, and no node has any{_instead(name, nodes)}"
        if amount > most and len(nodes) > 1:
            return (
                f"asks for workers with {amount:g} {name} each, and a worker lies on one node, of which the largest "
                f"has {most:g}. Take more workers with less `resources_per_worker` each."
            )
        if amount * least > total:
            return (
                f"asks for {least} workers with {amount * least:g} {name} in all, and the cluster has {total:g}. "
                f"{_mend(name)}"
            )
    each = " and ".join(f"{amount:g} {name}" for name, amount in wanted.items())
    return (
        f"asks for {least} workers with {each} each, and the cluster's {len(nodes)} nodes have room for "
        f"{room_for(wanted, nodes)}, because each worker lies on one node. Lower num_workers or resources_per_worker."
    )


def _instead(name: str, nodes: Sequence[Node]) -> str:
    known = sorted({key for node in nodes for key in node if ":" not in key and key != "object_store_memory"})
    if name == "GPU":
        return ". Set use_gpu: auto, and leave GPU out of resources_per_worker."
    return nearest(name, known) or f"; the cluster has {listed(known, 'and') or 'nothing'}. Mend resources_per_worker."


def _mend(name: str) -> str:
    return "Lower num_workers or resources_per_worker" + (", or set use_gpu: auto." if name == "GPU" else ".")
