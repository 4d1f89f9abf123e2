"""Ray Jobs on a real head of the tests' own: submit, follow, exit codes, stop, and what is not there."""

import re
import sys
import time
from pathlib import Path

import pytest

from foundation.errors import InfrastructureError, UserError
from orchestrator import jobs
from orchestrator.pipeline.load import load_pipeline
from tests.integration.head import START_TIMEOUT_S, Head

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore:ssl=None is deprecated:DeprecationWarning"),  # Ray's call of aiohttp
]
PIPELINE = """
name: cells
data:
  toy: {format: scenes, num_images: 8}
stages:
  detector: {kind: train, task: detection, data: toy}
storage: results
"""


@pytest.fixture
def address(cluster: Head) -> str:
    """The cluster's dashboard."""
    return cluster.dashboard


@pytest.fixture
def pipeline_file(tmp_path: Path) -> Path:
    file = tmp_path / "elsewhere" / "cells.yaml"
    file.parent.mkdir()
    file.write_text(PIPELINE)
    return file


def job_id(text: str) -> str:
    match = re.search(r" as (\S+)\.\n", text)
    assert match is not None, text
    return match[1]


def test_job_gets_the_resolved_file_and_its_exit_code_comes_back(
    address: str, pipeline_file: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    script = (
        f"import shutil, sys; shutil.copy('pipeline.yaml', {str(tmp_path / 'seen.yaml')!r}); print('seen'); sys.exit(3)"
    )
    code = jobs.submit(
        pipeline_file, address, True, ["stages.detector.loop.epochs=2"], entrypoint=(sys.executable, "-c", script)
    )
    said = capsys.readouterr().out
    assert code == 3
    assert "seen" in said
    assert f"orchestrator logs {job_id(said)} --follow --address {address}" in said
    seen = load_pipeline(tmp_path / "seen.yaml").pipeline
    assert seen == load_pipeline(pipeline_file, ["stages.detector.loop.epochs=2"]).pipeline
    assert seen.storage == tmp_path / "elsewhere" / "results"

    assert jobs.logs(job_id(said), address, follow=True) == 3
    assert jobs.status(None, address) == 0
    assert "FAILED" in capsys.readouterr().out


def test_stop_gives_the_job_time_to_clean_up(
    address: str, pipeline_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = (
        "import signal, sys, time\n"
        "def end(*_): time.sleep(5); print('cleaned up', flush=True); sys.exit(130)\n"
        "signal.signal(signal.SIGTERM, end); print('ready', flush=True); time.sleep(300)"
    )
    assert jobs.submit(pipeline_file, address, entrypoint=(sys.executable, "-u", "-c", script)) == 0
    name = job_id(capsys.readouterr().out)
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        jobs.logs(name, address)
        if "ready" in capsys.readouterr().out:
            break
        time.sleep(0.5)
    assert jobs.stop(name, address) == 0
    assert "STOPPED" in capsys.readouterr().out
    jobs.logs(name, address)
    assert "cleaned up" in capsys.readouterr().out
    assert jobs.stop(name, address) == 0
    assert "has ended already" in capsys.readouterr().out


def test_unknown_job_names_those_there_are(address: str) -> None:
    with pytest.raises(UserError, match=r"no job 'nothing' on this cluster; jobs there: "):
        jobs.logs("nothing", address)


def test_unreachable_cluster(pipeline_file: Path) -> None:
    with pytest.raises(InfrastructureError, match=r"127\.0\.0\.1:9 cannot be used.*ray start --head"):
        jobs.submit(pipeline_file, "http://127.0.0.1:9")
