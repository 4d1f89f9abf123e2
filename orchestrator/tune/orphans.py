"""Room in the cluster that belongs to nobody: what a group of workers had reserved whose trial was killed.

Ray keeps such a reservation until its whole job ends, and Ray Train's own cleaner needs the dashboard's server to find
it; the trials after it would wait for ever.
"""

import time

import ray
from ray._private.state import state  # there is no public way to ask who made a reservation
from ray.core.generated.gcs_pb2 import PlacementGroupTableData
from ray.util.placement_group import PlacementGroup, remove_placement_group

EVERY_S = 1.0
WATCH_S = 120.0
"""Looked for so long after a process died: those that it had started die later than it."""


class Orphans:
    """Removes reservations whose owners died."""

    def __init__(self) -> None:
        self._until = self._next = 0.0

    def expect(self) -> None:
        """A process died, and what it had reserved may be left behind."""
        self._until = time.monotonic() + WATCH_S

    def remove(self) -> None:
        """Look from time to time, for a while after `expect`."""
        now = time.monotonic()
        if self._next <= now < self._until:
            self._next = now + EVERY_S
            for group in ownerless():
                remove_placement_group(group)


def ownerless() -> list[PlacementGroup]:
    """Return the reservations of this job that dead actors had made."""
    job = ray.get_runtime_context().get_job_id()
    raw = state._connect_and_get_accessor().get_placement_group_table()
    tables = [PlacementGroupTableData.FromString(text) for text in raw]
    return [
        PlacementGroup(ray.PlacementGroupID(table.placement_group_id))
        for table in tables
        if table.state != PlacementGroupTableData.REMOVED
        and table.creator_job_id.hex() == job
        and table.creator_actor_dead
        and table.creator_actor_id not in (b"", ray.ActorID.nil().binary())  # made by the driver, who lives
    ]
