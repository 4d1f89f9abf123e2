"""Reservations of killed trials: which ones belong to nobody, and how long they are looked for."""

from types import SimpleNamespace
from typing import Any

import pytest
import ray
from ray.core.generated.gcs_pb2 import PlacementGroupTableData as Table

from orchestrator.tune import orphans
from orchestrator.tune.orphans import WATCH_S, Orphans, ownerless

JOB, OTHER_JOB = b"\1\0\0\0", b"\2\0\0\0"
ACTOR = b"\7" * len(ray.ActorID.nil().binary())
LENGTH = len(ray.PlacementGroupID.nil().binary())


def table(number: int, **fields: Any) -> bytes:
    known = {"creator_job_id": JOB, "creator_actor_id": ACTOR, "creator_actor_dead": True, "state": Table.CREATED}
    return bytes(Table(placement_group_id=bytes([number]) * LENGTH, **{**known, **fields}).SerializeToString())


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    tables: list[bytes] = []
    accessor = SimpleNamespace(get_placement_group_table=lambda: tables)
    monkeypatch.setattr(orphans, "state", SimpleNamespace(_connect_and_get_accessor=lambda: accessor))
    context = SimpleNamespace(get_job_id=JOB.hex)
    monkeypatch.setattr(orphans.ray, "get_runtime_context", lambda: context)
    return tables


@pytest.mark.parametrize(
    ("fields", "is_orphan"),
    [
        pytest.param({}, True, id="its maker died"),
        pytest.param({"state": Table.PENDING}, True, id="before it had room"),
        pytest.param({"creator_actor_dead": False}, False, id="its maker lives"),
        pytest.param({"creator_actor_id": ray.ActorID.nil().binary()}, False, id="the driver made it"),
        pytest.param({"creator_actor_id": b""}, False, id="the driver made it, said with nothing"),
        pytest.param({"creator_job_id": OTHER_JOB}, False, id="of another job"),
        pytest.param({"state": Table.REMOVED}, False, id="removed already"),
    ],
)
def test_what_belongs_to_nobody(cluster: list[bytes], fields: dict[str, Any], is_orphan: bool) -> None:
    cluster.append(table(3, **fields))
    assert [group.id.binary()[:1] for group in ownerless()] == ([b"\3"] if is_orphan else [])


def test_orphans_are_looked_for_after_a_death_only(cluster: list[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    now, removed = [0.0], []
    monkeypatch.setattr(orphans.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(orphans, "remove_placement_group", removed.append)
    cluster.append(table(3))
    watch = Orphans()
    watch.remove()
    assert not removed, "nobody died"
    watch.expect()
    watch.remove()
    watch.remove()
    assert len(removed) == 1, "once a second"
    now[0] = WATCH_S + 1
    watch.remove()
    assert len(removed) == 1, "and not for ever"
