"""One MLflow database for all unit tests of this folder: its first use makes its tables, which takes seconds."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orchestrator.pipeline.settings import TrackingSettings
from orchestrator.tracking.runs import Tracker

OpenTracker = Callable[[], Tracker]


@pytest.fixture(scope="session")
def store_uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Address of the shared database."""
    return f"sqlite:///{tmp_path_factory.mktemp('store') / 'mlflow.db'}"


@pytest.fixture
def open_tracker(tmp_path: Path, store_uri: str) -> Iterator[OpenTracker]:
    """Open trackers on the shared database with the test's own storage and experiment; they are closed at the end."""
    opened = []

    def open_one() -> Tracker:
        settings = TrackingSettings(uri=store_uri, experiment=tmp_path.name)
        opened.append(Tracker.open(tmp_path / "runs", settings, tmp_path / "mlflow.log"))
        return opened[-1]

    yield open_one
    for tracker in opened:
        tracker.finish("KILLED")
