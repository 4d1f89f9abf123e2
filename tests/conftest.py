"""Fixtures for all tests: where the real data lies, and a cache folder of the test session's own."""

import os
from pathlib import Path

import pytest

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported: sums in another order move borderline cases
REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data sets; a test that needs it is skipped, with the reason, where it is absent."""
    folder = Path(os.environ.get("ORCHESTRATOR_TEST_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"real data not found at {folder}; set ORCHESTRATOR_TEST_DATA")
    return folder


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    os.environ["ORCHESTRATOR_CACHE"] = str(tmp_path_factory.mktemp("cache"))
