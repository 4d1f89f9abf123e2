"""Weights for a classifier: published ones for its network, or those of an earlier training. Heads may differ."""

from pathlib import Path

from torch import Tensor, nn

from classification.models.classifier import Classifier
from engine.bundle import MANIFEST_FILE, load_bundle
from engine.weights import LoadReport, load_into, load_state
from foundation.errors import ConfigError, WeightsError
from vision.backbones.heads import auxiliary_names, head_paths
from vision.backbones.plain import timm_name_of

State = dict[str, Tensor]
NETWORK, EMBEDDING, HEAD = "network.", "embedding.", "head."
MEMBERS = "members."


def is_published(uri: str) -> bool:
    """Whether the weights are of a bare network, and not the bundle of one of our trainings."""
    scheme, _, rest = uri.partition(":")
    return scheme in ("torchvision", "timm", "https") or not (Path(rest) / MANIFEST_FILE).is_file()


def load_published(network: nn.Module, uri: str, name: str) -> list[str]:
    """Load a bare network's weights; its last layer stays as it is where they are for other classes.

    Returns:
        What to tell the user.

    Raises:
        WeightsError: if they do not exist or do not fit.
    """
    scheme, _, tag = uri.partition(":")
    state = _timm_state(tag, name) if scheme == "timm" else load_state(uri, architecture=name)
    report = load_into(
        network, state, what=f"model {name}", allow_head_mismatch=True, may_differ=_head_tensors(network)
    )
    return _notes(report, uri)


def load_trained(classifier: Classifier, uri: str, name: str, classes: tuple[str, ...] | None) -> list[str]:
    """Load the bundle of an earlier training; what belongs to other classes or another loss starts anew.

    Args:
        classes: the classifier's own; with other ones the last layer is made anew even if it has as many outputs.

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
        report = load_into(classifier.network, state, what=what, allow_head_mismatch=True, may_differ=network_head)
        return _notes(report, uri)
    of_head = {HEAD, *(NETWORK + tensor for tensor in network_head)}
    has_same_classes = classes is None or manifest.classes == classes
    kept = {
        key: tensor
        for key, tensor in state.items()
        if key.startswith((NETWORK, EMBEDDING, HEAD)) and (has_same_classes or not key.startswith(tuple(of_head)))
    }
    in_trunk = {NETWORK + key for key in classifier.network.state_dict() if key not in network_head}
    rest = {key for key in classifier.state_dict() if key not in in_trunk}
    return _notes(load_into(classifier, kept, what=what, allow_head_mismatch=True, may_differ=rest), uri)


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


def _timm_state(tag: str, name: str) -> State:
    """Download the state dict of timm's weights TAG, or NAME.TAG."""
    timm_name = timm_name_of(name)
    if timm_name is None:
        raise ConfigError(f"model.weights `timm:{tag}` fit timm's networks only, not {name}; name it `timm:{name}`.")
    # Here, because importing timm takes seconds that nobody else should wait.
    import timm

    full_name = tag if "." in tag else f"{timm_name.partition('.')[0]}.{tag}"
    try:
        state: State = timm.create_model(full_name, pretrained=True).state_dict()
    except (OSError, RuntimeError) as error:
        raise WeightsError(
            f"timm's weights {full_name} cannot be had from https://huggingface.co/timm/{full_name} ({error}). Check "
            "the tag; without internet, fetch the file elsewhere and give `file:PATH`."
        ) from error
    return state
