"""Weights from anywhere: files, bundles, published releases; and how they are fitted into a model. Never a pickle."""

import hashlib
import logging
import pickle
import re
import zipfile
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from engine.bundle import load_bundle
from foundation.errors import WeightsError

logger = logging.getLogger(__name__)

State = dict[str, Tensor]

YOLOX_RELEASE = "https://github.com/Megvii-BaseDetection/YOLOX/releases/download/0.1.1rc0/"
WRAPPER_KEYS = ("model", "state_dict", "model_state_dict")
"""Where training scripts keep the state dict inside a checkpoint."""
WRAPPER_PREFIXES = ("module.", "_orig_mod.")
"""What DistributedDataParallel and torch.compile put before every name."""
COUNTER = "num_batches_tracked"
"""BatchNorm's step counter: absent from frozen layers and from old files, and never needed for the output."""
NAMES_SHOWN = 8
"""An error lists so many tensors and counts the rest."""


@dataclass(frozen=True, slots=True)
class LoadReport:
    """What became of every tensor; names as in the model (`unexpected`: as in the weights)."""

    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    """In the model, not in the weights; only BatchNorm step counters and what may differ are allowed to be."""
    unexpected: tuple[str, ...]
    """In the weights, not in the model; not used."""
    mismatched: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...]
    """(name, shape in the weights, shape in the model): the head, which keeps its random start."""


def load_state(uri: str, *, architecture: str | None = None) -> State:
    """Read the state dict that a weights URI names, onto the CPU.

    Args:
        uri: `file:PATH` or a plain path (.pth or .pt with tensors only, .safetensors, or a bundle folder),
            `https://...`, `torchvision:TAG`, or `yolox:FILE` for a file of the official YOLOX release.
        architecture: torchvision's name of the network, for `torchvision:TAG`.

    Returns:
        Names to tensors. Wrappers such as `{"model": ...}` and prefixes such as `module.` are taken off.

    Raises:
        WeightsError: if it does not exist, cannot be downloaded, or holds anything but tensors.
    """
    scheme, _, rest = uri.partition(":")
    if scheme in SCHEMES:
        return SCHEMES[scheme](rest, architecture)
    if scheme in ("stage", "models", "timm", "http"):
        raise WeightsError(
            f"{uri!r} cannot be read here: `stage:` and `models:` need a pipeline, `timm:` a timm backbone, and plain "
            "http is refused. Give `file:PATH` or an https:// address."
        )
    return _read(Path(uri))


def load_into(
    model: nn.Module,
    state: Mapping[str, Tensor],
    *,
    what: str,
    allow_head_mismatch: bool,
    may_differ: Collection[str] = (),
) -> LoadReport:
    """Fit a state dict into a model, in place.

    A prefix that all fitting names share (`backbone.`, `backbone.body.`) is found and taken off.

    Args:
        what: the model in the user's words, for messages.
        allow_head_mismatch: True: tensors that differ in their first size only, as those of a head for other
            classes do, keep their random start, and surplus tensors are left out; both are logged.
            False: names and shapes must agree exactly.
        may_differ: names of tensors that may besides be missing or of any shape, as a head's; they keep their start.

    Raises:
        WeightsError: listing what does not fit, with both shapes.
    """
    wanted = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    state = _without_prefix(state, wanted)
    found = {name: tuple(tensor.shape) for name, tensor in state.items()}
    mismatched = tuple(
        (name, found[name], wanted[name]) for name in wanted if found.get(name, wanted[name]) != wanted[name]
    )
    is_other_head = all(
        name in may_differ or (theirs[1:] == ours[1:] and theirs and ours) for name, theirs, ours in mismatched
    )
    if mismatched and not (allow_head_mismatch and is_other_head):
        raise WeightsError(
            f"the weights do not fit {what}: {_listing(_shapes(entry) for entry in mismatched)}. Give weights of the "
            "same model and size, or change the model's settings to those of the weights."
        )
    unfit = {name for name, _, _ in mismatched}
    result = _load(model, {name: tensor for name, tensor in state.items() if name not in unfit}, what)
    missing = tuple(name for name in result.missing_keys if name not in unfit)
    unexpected = tuple(name for name in result.unexpected_keys if not name.endswith(COUNTER))
    if absent := [name for name in missing if not name.endswith(COUNTER) and name not in may_differ]:
        raise WeightsError(
            f"the weights do not fit {what}: {len(absent)} of its {len(wanted)} tensors are not in them: "
            f"{_listing(absent)}. The weights begin with {_listing(list(found)[:3])}; give weights of the same model."
        )
    if unexpected and not allow_head_mismatch:
        raise WeightsError(
            f"the weights do not fit {what}: they hold {len(unexpected)} tensors that it has not: "
            f"{_listing(unexpected)}. Give weights of exactly this model."
        )
    if mismatched:
        logger.info("%s: the head is made anew for other classes: %s", what, _listing(map(_shapes, mismatched)))
    if unexpected:
        logger.info("%s: %d tensors of the weights are not used: %s", what, len(unexpected), _listing(unexpected))
    left_out = unfit | set(missing)
    return LoadReport(tuple(name for name in wanted if name not in left_out), missing, unexpected, mismatched)


def _load(model: nn.Module, state: State, what: str) -> Any:
    try:
        return model.load_state_dict(state, strict=False)
    except RuntimeError as error:  # torch renames tensors of old releases only now, so their shapes are checked here
        raise WeightsError(f"the weights do not fit {what}: {error}. Give weights of the same model.") from error


def _without_prefix(state: Mapping[str, Tensor], wanted: Mapping[str, Any]) -> State:
    """Take off the prefix under which most of the wanted names are found; no prefix wins a tie."""
    probe = next(iter(wanted), "")
    prefixes = {name.removesuffix(probe) for name in state if name.endswith("." + probe)}

    def num_found(prefix: str) -> int:
        return sum(prefix + name in state for name in wanted)

    best = max(["", *sorted(prefixes, key=len)], key=num_found)
    return {name.removeprefix(best): tensor for name, tensor in state.items() if name.startswith(best)}


def _from_torchvision(tag: str, architecture: str | None) -> State:
    if architecture is None:
        raise WeightsError(f"`torchvision:{tag}` is published for torchvision's own networks only; give `file:PATH`.")
    import torchvision  # with a compiler of torch's, two seconds that the driver of a run needs not spend

    try:
        published = torchvision.models.get_model_weights(architecture)
    except ValueError as error:
        raise WeightsError(f"torchvision publishes no weights for {architecture!r}; give `file:PATH`.") from error
    tags = list(published.__members__)
    if tag not in tags:
        raise WeightsError(f"torchvision has no weights {tag!r} for {architecture}; it has {', '.join(tags)}.")
    return _read(_download(published[tag].url, check_hash=True))


def _from_https(rest: str, _: str | None) -> State:
    url = f"https:{rest}"
    # Two addresses may end in the same file name, which is all that the hub's cache looks at.
    name = f"{hashlib.sha256(url.encode()).hexdigest()[:8]}-{Path(urlparse(url).path).name}"
    return _read(_download(url, name=name))


def _download(url: str, *, name: str | None = None, check_hash: bool = False) -> Path:
    """Fetch a file into torch.hub's cache, unless it is there; with `check_hash` its name holds its sha256's start."""
    path = Path(torch.hub.get_dir()) / "checkpoints" / (name or Path(urlparse(url).path).name)
    if path.is_file():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    hash_prefix = re.search(r"-([a-f0-9]{8,})\.", path.name) if check_hash else None
    logger.info("downloading %s to %s", url, path)
    try:
        torch.hub.download_url_to_file(url, str(path), hash_prefix and hash_prefix.group(1), progress=False)
    except (OSError, RuntimeError) as error:
        raise WeightsError(
            f"{url} cannot be downloaded ({error}). Without internet, fetch it elsewhere and give `file:PATH`, "
            f"or put it at {path}."
        ) from error
    return path


def _read(path: Path) -> State:
    path = path.expanduser()
    if path.is_dir():
        return load_bundle(path)[1]
    if not path.is_file():
        raise WeightsError(f"weights file {path} does not exist; correct the path or train the model first.")
    try:
        if path.suffix == ".safetensors":
            content: Any = load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{path} holds more than tensors, or is no weights file at all, and is not unpickled because that could "
            "run code. Save the bare state dict: torch.save(model.state_dict(), path), or use .safetensors."
        ) from error
    except (SafetensorError, RuntimeError, EOFError, OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise WeightsError(
            f"{path} cannot be read as weights ({type(error).__name__}: {error}); it may be cut short, or be something "
            "else. Fetch or save it again."
        ) from error
    return _unwrapped(content, path)


def _unwrapped(content: Any, path: Path) -> State:
    """Find the state dict inside a checkpoint, and take prefixes off that every name carries."""
    while isinstance(content, Mapping):
        inner = next((content[key] for key in WRAPPER_KEYS if isinstance(content.get(key), Mapping)), None)
        if inner is None:
            break
        content = inner
    if not isinstance(content, Mapping) or not content:
        raise WeightsError(f"{path} holds no state dict but {type(content).__name__}; save model.state_dict() to it.")
    if strangers := [str(name) for name, value in content.items() if not isinstance(value, Tensor)]:
        raise WeightsError(
            f"{path} holds no plain state dict: {_listing(strangers)} are not tensors. Save model.state_dict(), or "
            f"put it under one of the keys {', '.join(WRAPPER_KEYS)}."
        )
    state = dict(content)
    for prefix in WRAPPER_PREFIXES:
        if all(name.startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    return state


def _shapes(entry: tuple[str, tuple[int, ...], tuple[int, ...]]) -> str:
    name, theirs, ours = entry
    return f"{name} is {theirs} in the weights and {ours} in the model"


def _listing(names: Any) -> str:
    names = list(names)
    rest = len(names) - NAMES_SHOWN
    return "; ".join(names[:NAMES_SHOWN]) + (f"; and {rest} more" if rest > 0 else "")


SCHEMES: dict[str, Callable[[str, str | None], State]] = {
    "file": lambda rest, _: _read(Path(rest)),
    "https": _from_https,
    "torchvision": _from_torchvision,
    "yolox": lambda rest, _: _read(_download(YOLOX_RELEASE + rest)),
}
