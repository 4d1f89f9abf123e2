"""The peers' own environments: virtual environments in the user's cache, filled from the package index.

Nothing of a peer lies in this repository, and the product never imports one: it runs as a separate program with the
interpreter that is returned here. Ultralytics, which is AGPL-licensed, runs through `peer_worker.py` alone.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
from importlib.metadata import version
from pathlib import Path

PEER = "ultralytics-opencv-headless"
"""The publisher's package of the same code that depends on OpenCV without its windows, which servers cannot load."""
PEER_VERSION = "8.4.190"
SHARED = ("torch", "torchvision", "numpy", "opencv-python-headless")
"""In the same versions on both sides, so that none wins by its libraries; pip then has them in its cache, too."""
READY_FILE = ".ready"


def ensure_environment() -> Path:
    """Make the environment unless it is there, and return its interpreter. Takes minutes and several GB once."""
    folder = _cache() / "benchmarks" / f"peer-{PEER_VERSION}-torch-{_public('torch')}"
    python = folder / "bin" / "python"
    if not (folder / READY_FILE).exists():
        shutil.rmtree(folder, ignore_errors=True)
        requirements = [f"{name}=={_public(name)}" for name in SHARED]
        _run([sys.executable, "-m", "venv", str(folder)])
        _run([str(python), "-m", "pip", "install", "--quiet", *requirements, f"{PEER}=={PEER_VERSION}"])
        (folder / READY_FILE).touch()
    return python


def ensure_layer(requirement: str) -> Path:
    """Make an environment that sees all our packages and has one more on top; return its interpreter."""
    folder = _cache() / "benchmarks" / f"layer-{requirement.replace('==', '-')}-torch-{_public('torch')}"
    python = folder / "bin" / "python"
    if not (folder / READY_FILE).exists():
        shutil.rmtree(folder, ignore_errors=True)
        _run([sys.executable, "-m", "venv", str(folder)])
        version_folder = f"python{sys.version_info.major}.{sys.version_info.minor}"
        below = folder / "lib" / version_folder / "site-packages" / "below.pth"
        below.write_text(f"{sysconfig.get_path('purelib')}\n")
        _run([str(python), "-m", "pip", "install", "--quiet", requirement])
        (folder / READY_FILE).touch()
    return python


def _run(command: list[str]) -> None:
    subprocess.run(command, check=True, stdout=sys.stderr)


def _public(package: str) -> str:
    """Our version of a package, without a local part such as `+cpu` that an index does not offer."""
    return version(package).partition("+")[0]


def _cache() -> Path:
    return Path(os.environ.get("ORCHESTRATOR_CACHE") or Path.home() / ".cache" / "orchestrator")
