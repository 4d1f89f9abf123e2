"""What the integration tests share: one Ray cluster, one folder of results, and runs to compare with."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.head import Head, running_head
from tests.integration.project import Project, Run

WORKERS_AT_MOST = 2


@pytest.fixture(scope="session")
def cluster() -> Iterator[Head]:
    """A cluster with two CPUs for all tests; this process may talk to it too."""
    with running_head(num_cpus=WORKERS_AT_MOST) as head, pytest.MonkeyPatch.context() as patch:
        for name, value in head.environment.items():
            patch.setenv(name, value)
        patch.delenv("RAY_ADDRESS", raising=False)
        yield head


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A folder with pipeline files and one storage for all, so that MLflow's tables are made only once."""
    return Project(tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="session")
def undisturbed(project: Project, cluster: Head) -> Callable[[int], Run]:
    """Gives the finished run of the standard pipeline on so many workers; each is made once."""
    finished: dict[int, Run] = {}

    def give(num_workers: int) -> Run:
        if num_workers not in finished:
            run = project.pipeline(f"undisturbed-{num_workers}", num_workers)
            finished[num_workers] = run.on(cluster).to_the_end()
        return finished[num_workers]

    return give


@pytest.fixture(scope="session")
def bundle(undisturbed: Callable[[int], Run]) -> Path:
    """A trained detector."""
    return undisturbed(0).stage("detector") / "bundle"
