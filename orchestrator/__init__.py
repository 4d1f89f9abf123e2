"""Conducts: command line, pipeline files, stage graph, Ray, MLflow.

The Python API beside the command line is `load_pipeline`, `run` and `load_model`; each is imported when first used.
"""

import importlib
from typing import Any

_API = {
    "load_pipeline": "orchestrator.pipeline.load:load_pipeline",
    "run": "orchestrator.api:run",
    "load_model": "orchestrator.api:load_model",
}

__all__ = ["load_model", "load_pipeline", "run"]


def __getattr__(name: str) -> Any:
    if name not in _API:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, attribute = _API[name].partition(":")
    return getattr(importlib.import_module(module), attribute)
