"""What `orchestrator doctor` looks at: one finding for each thing, with the mend where something is amiss."""

import importlib
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

from engine.threads import usable_cpus

OK, WARN, FAIL = "ok", "warn", "fail"

PACKAGES = ("torch", "torchvision", "ray", "mlflow", "albumentations", "timm", "pydantic", "opencv-python-headless")
OLDEST_PYTHON = (3, 11)
ENOUGH_MEMORY_GB = 4.0
ENOUGH_DISK_GB = 5.0
GB = 1024**3


@dataclass(frozen=True)
class Finding:
    """What was found about one thing."""

    subject: str
    status: str
    """`ok`, `warn` (works, with less) or `fail`."""
    message: str
    mend: str = ""
    """What to do; empty when all is well."""


def examine(folder: Path | None = None) -> list[Finding]:
    """Look at everything, slowest last. An examination that breaks is itself a finding.

    Args:
        folder: where results would be written; None = the current folder.
    """
    place = folder or Path.cwd()
    examinations: dict[str, Callable[[], list[Finding]]] = {
        "python": _python,
        "packages": lambda: [_package(name) for name in PACKAGES],
        "processors": _processors,
        "memory": _memory,
        "disk": lambda: [_disk(place), _writable("write access", place), _writable("cache", _cache_folder())],
        "ffmpeg": _ffmpeg,
        "torch": _torch,
        "ray": lambda: [_importable("ray", "ray.train")],
        "mlflow": lambda: [_importable("mlflow", "mlflow")],
    }
    findings: list[Finding] = []
    for subject, look in examinations.items():
        try:
            findings.extend(look())
        except Exception as error:
            findings.append(Finding(subject, FAIL, f"{type(error).__name__}: {error}", "install the package again"))
    return findings


def _python() -> list[Finding]:
    found = f"{platform.python_version()} at {sys.executable}"
    if sys.version_info[:2] < OLDEST_PYTHON:
        wanted = ".".join(map(str, OLDEST_PYTHON))
        return [Finding("python", FAIL, found, f"use Python {wanted} or newer")]
    return [Finding("python", OK, found)]


def _package(name: str) -> Finding:
    try:
        return Finding(name, OK, version(name))
    except PackageNotFoundError:
        return Finding(name, FAIL, "not installed", f"pip install {name}")


def _processors() -> list[Finding]:
    cores, usable = os.cpu_count() or 1, usable_cpus()
    found = f"{usable} of {cores} cores usable"
    threads = os.environ.get("OMP_NUM_THREADS")
    if threads and threads.isdigit() and int(threads) > usable:
        return [
            Finding(
                "processors", WARN, f"{found}, OMP_NUM_THREADS={threads}", f"set OMP_NUM_THREADS to {usable} or less"
            )
        ]
    return [Finding("processors", OK, found + (f", OMP_NUM_THREADS={threads}" if threads else ""))]


def _memory() -> list[Finding]:
    memory = psutil.virtual_memory()
    found = f"{memory.available / GB:.1f} of {memory.total / GB:.1f} GB free"
    if memory.available / GB < ENOUGH_MEMORY_GB:
        return [Finding("memory", WARN, found, "close other programs, or lower loop.batch_size and num_workers")]
    return [Finding("memory", OK, found)]


def _disk(folder: Path) -> Finding:
    usage = shutil.disk_usage(folder)
    found = f"{usage.free / GB:.1f} GB free in {folder}"
    if usage.free / GB < ENOUGH_DISK_GB:
        return Finding("disk", WARN, found, "make room, or set `storage` to another disk")
    return Finding("disk", OK, found)


def _writable(subject: str, folder: Path) -> Finding:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return Finding(subject, OK, f"{folder} can be written")
    except OSError as error:
        mend = (
            "set ORCHESTRATOR_CACHE to a folder of yours" if subject == "cache" else "set `storage` to another folder"
        )
        return Finding(subject, FAIL, f"{folder} cannot be written ({error.strerror})", mend)


def _cache_folder() -> Path:
    return Path(os.environ.get("ORCHESTRATOR_CACHE") or Path.home() / ".cache" / "orchestrator")


def _ffmpeg() -> list[Finding]:
    own = shutil.which("ffmpeg")
    if own:
        return [Finding("ffmpeg", OK, own)]
    import imageio_ffmpeg

    return [Finding("ffmpeg", OK, f"{imageio_ffmpeg.get_ffmpeg_exe()} (from imageio-ffmpeg)")]


def _torch() -> list[Finding]:
    import torch

    from engine.precision import cpu_has_bf16

    bf16 = "in hardware" if cpu_has_bf16() else "not in hardware; `precision: auto` uses fp32"
    findings = [
        Finding("torch threads", OK, f"{torch.get_num_threads()} in this process"),
        Finding("bf16 on the CPU", OK, bf16),
    ]
    if not torch.cuda.is_available():
        driver = shutil.which("nvidia-smi")
        if driver and torch.version.cuda is None:
            mend = "this torch was built for the CPU only; install one built for CUDA"
            return [*findings, Finding("gpus", WARN, f"none in torch, though {driver} is there", mend)]
        return [*findings, Finding("gpus", OK, "none; training runs on the CPU")]
    for index in range(torch.cuda.device_count()):
        device = torch.cuda.get_device_properties(index)
        bf16 = "bf16" if torch.cuda.is_bf16_supported() else "no bf16"
        findings.append(Finding(f"gpu {index}", OK, f"{device.name}, {device.total_memory / GB:.1f} GB, {bf16}"))
    nccl = torch.distributed.is_nccl_available()
    mend = "" if nccl else "install a torch with NCCL, or train on one GPU"
    return [*findings, Finding("nccl", OK if nccl else WARN, "available" if nccl else "missing", mend)]


def _importable(subject: str, module: str) -> Finding:
    importlib.import_module(module)
    return Finding(f"import {subject}", OK, "works")
