"""Weights for a classifier: published ones for its network, or those of an earlier training. Heads may differ."""

from collections.abc import Collection
from pathlib import Path

import torchvision
from torch import Tensor, nn

from classification.models.classifier import Classifier
from classification.models.normalization import Channels
from engine.bundle import MANIFEST_FILE, load_bundle
from engine.weights import LoadReport, load_into, load_state
from foundation.errors import ConfigError, WeightsError
from vision.backbones.heads import auxiliary_names, head_paths
from vision.backbones.plain import timm_name_of

State = dict[str, Tensor]
NETWORK, EMBEDDING, HEAD = "network.", "embedding.", "head."
MEMBERS = "members."
FROM_TENSORFLOW = ("googlenet", "inception_v3")
HALVES: tuple[Channels, Channels] = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
"""Mean and deviation that take [0, 1] to [-1, 1]."""


def is_published(uri: str) -> bool:
    """Whether the weights are of a bare network, and not the bundle of one of our trainings."""
    scheme, _, rest = uri.partition(":")
    return scheme in ("torchvision", "timm", "https") or not (Path(rest) / MANIFEST_FILE).is_file()


def published_channels(uri: str, name: str) -> tuple[Channels, Channels] | None:
    """Mean and deviation of the colours that published weights were trained on; None = that is not known.

    torchvision's GoogLeNet and Inception v3 were ported from TensorFlow and see colours from -1 to 1, which torchvision
    itself makes inside of them (`transform_input`).
    """
    scheme, _, tag = uri.partition(":")
    if scheme == "timm":
        import timm  # slow; a network of timm's was built with it already

        config = timm.models.get_pretrained_cfg(_timm_full_name(tag, name))
        return None if config is None else (config.mean, config.std)
    if scheme != "torchvision":
        return None
    if name in FROM_TENSORFLOW:
        return HALVES
    options = torchvision.models.get_model_weights(name)[tag].transforms.keywords
    return (options["mean"], options["std"]) if "mean" in options else None


def load_published(network: nn.Module, uri: str, name: str, advice: str = "") -> list[str]:
    """Load a bare network's weights; its last layer stays as it is where they are for other classes.

    Args:
        advice: what else may be mended where they do not fit.

    Returns:
        What to tell the user.

    Raises:
        WeightsError: if they do not exist, do not fit, or are those of a part of the network only.
    """
    scheme, _, tag = uri.partition(":")
    state = _timm_state(tag, name) if scheme == "timm" else load_state(uri, architecture=name)
    may_differ = _head_tensors(network)
    report = _fit(network, state, advice, what=f"model {name}", may_differ=may_differ)
    values = network.state_dict()
    if empty := [key for key in report.loaded if key not in may_differ and bool(values[key].isnan().any())]:
        raise WeightsError(
            f"model.weights {uri!r} are for feature extraction only: {', '.join(empty)} hold no numbers. Give weights "
            "of the whole network."
        )
    return _notes(report, uri)


def load_trained(
    classifier: Classifier, uri: str, name: str, classes: tuple[str, ...] | None, advice: str = ""
) -> list[str]:
    """Load the bundle of an earlier training; what belongs to other classes or another loss starts anew.

    Args:
        classes: the classifier's own; with other ones the last layer is made anew even if it has as many outputs.
        advice: what else may be mended where it does not fit.

    Returns:
        What to tell the user.

    Raises:
        WeightsError: if it does not fit.
    """
    manifest, state = load_bundle(Path(uri.removeprefix("file:")))
    if any(key.startswith(MEMBERS) for key in state):
        raise WeightsError(
            f"model.weights {uri!r} is an ensemble, which has no single network; give one of its members."
        )
    what = f"model {name}"
    network_head = _head_tensors(classifier.network)
    if manifest.task != "classification":
        return _notes(_fit(classifier.network, state, advice, what=what, may_differ=network_head), uri)
    of_head = {HEAD, *(NETWORK + tensor for tensor in network_head)}
    has_same_classes = classes is None or manifest.classes == classes
    kept = {
        key: tensor
        for key, tensor in state.items()
        if key.startswith((NETWORK, EMBEDDING, HEAD)) and (has_same_classes or not key.startswith(tuple(of_head)))
    }
    in_trunk = {NETWORK + key for key in classifier.network.state_dict() if key not in network_head}
    rest = {key for key in classifier.state_dict() if key not in in_trunk}
    report = _fit(classifier, kept, advice, what=what, may_differ=rest)
    return [*_notes(report, uri), *_colour_notes(classifier, state, uri)]


def _fit(module: nn.Module, state: State, advice: str, *, what: str, may_differ: Collection[str]) -> LoadReport:
    try:
        return load_into(module, state, what=what, allow_head_mismatch=True, may_differ=may_differ)
    except WeightsError as error:
        if not advice:
            raise
        raise WeightsError(f"{error} {advice}") from error


def _head_tensors(network: nn.Module) -> set[str]:
    """Names of the tensors of the last linear layer and of the auxiliary classifiers."""
    paths = head_paths(network) + auxiliary_names(network)
    return {key for key in network.state_dict() if key.startswith(tuple(f"{path}." for path in paths))}


def _notes(report: LoadReport, uri: str) -> list[str]:
    """Say which weights start anew; the head's, and what else was allowed to."""
    shapes = [f"{name} is {theirs} there and {ours} here" for name, theirs, ours in report.mismatched]
    ignored = ("mean", "std", "per_sample.", "extra.")
    absent = [name for name in report.missing if not name.endswith("num_batches_tracked") and name not in ignored]
    anew = shapes + [f"{name} is not taken from there" for name in absent if not name.startswith(ignored)]
    if not anew:
        return []
    return [f"model.weights {uri}: they were made for other classes or another head; made anew: {'; '.join(anew)}"]


def _colour_notes(classifier: Classifier, state: State, uri: str) -> list[str]:
    """Say if the weights were trained on colours that were normalised otherwise."""
    ours, theirs = ([_rounded(values[key]) for key in ("mean", "std")] for values in (classifier.state_dict(), state))
    if ours == theirs:
        return []
    mean, std = theirs
    return [
        f"model.weights {uri}: they were trained with the colours normalised by mean {mean} and std {std}, and here it "
        f"is mean {ours[0]} and std {ours[1]}; for the same, set `normalize: {{mean: {mean}, std: {std}}}`"
    ]


def _rounded(values: Tensor) -> list[float]:
    return [round(value, 3) for value in values.flatten().tolist()]


def _timm_full_name(tag: str, name: str) -> str:
    """The name of timm's weights TAG, or NAME.TAG, of the network `name`."""
    return tag if "." in tag else f"{(timm_name_of(name) or name).partition('.')[0]}.{tag}"


def _timm_state(tag: str, name: str) -> State:
    """Download the state dict of timm's weights TAG, or NAME.TAG."""
    if timm_name_of(name) is None:
        raise ConfigError(f"model.weights `timm:{tag}` fit timm's networks only, not {name}; name it `timm:{name}`.")
    # Here, because importing timm takes seconds that nobody else should wait.
    import timm

    full_name = _timm_full_name(tag, name)
    try:
        state: State = timm.create_model(full_name, pretrained=True).state_dict()
    except (OSError, RuntimeError) as error:
        raise WeightsError(
            f"timm's weights {full_name} cannot be had from https://huggingface.co/timm/{full_name} ({error}). Check "
            "the tag; without internet, fetch the file elsewhere and give `file:PATH`."
        ) from error
    return state
