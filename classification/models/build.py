"""One network, its head and its losses, from the settings."""

from collections.abc import Sequence

from torch import nn

from classification.models.classifier import Classifier, Distillation, LinearHead
from classification.models.normalization import Channels, channels
from classification.models.spatial_pyramid import use_spatial_pyramid
from classification.models.weights import is_published, load_published, load_trained, published_channels
from classification.settings import ClassificationSettings, ClassifierModel, PyramidHead
from engine.distributed import gather_rows, sum_over_ranks
from foundation.errors import ConfigError
from vision.backbones.classifiers import build_classifier, takes_small_stem
from vision.backbones.heads import split_head
from vision.backbones.stages import stages
from vision.layers.apply import apply_parts, apply_to_linear
from vision.losses.build import build_loss
from vision.losses.settings import needs_embeddings

STEM_ADVICE = (
    "At this `image_size` and `model.stem` the network has its stem for small images; weights of the network as its "
    "makers had it, such as published ones, need `model.stem: standard`."
)


def build_single(
    settings: ClassificationSettings,
    num_classes: int,
    *,
    class_counts: Sequence[int] | None,
    statistics: tuple[Channels, Channels] | None,
    classes: tuple[str, ...] | None,
) -> Classifier:
    """Build a classifier with one network; see `classification.models.build_model`."""
    model = settings.model
    if not isinstance(model, ClassifierModel):
        raise ConfigError(f"model {model.name!r} is not one network.")
    advice = STEM_ADVICE if takes_small_stem(model.stem, settings.image_size) else ""
    network, notes = _network(model, num_classes, settings.image_size, advice)
    embedding_size, embedding = None, None
    made_anew: list[nn.Linear] = []
    if needs_embeddings(settings.loss) or model.embedding_size is not None or isinstance(model.head, PyramidHead):
        network, embedding_size, embedding, made_anew = _without_head(network, model, settings.image_size)
    parts = build_loss(
        settings.loss, num_classes, class_counts, embedding_size, reduce=sum_over_ranks, gather=gather_rows
    )
    head = parts.head
    if head is None and embedding_size is not None:
        head = LinearHead(embedding_size, num_classes)
        made_anew.append(head.linear)
    for layer in made_anew:
        apply_to_linear(layer, model, network)
    mean, std = channels(settings, statistics)
    if settings.normalize == "imagenet" and model.weights is not None:
        published = published_channels(model.weights, model.name)
        if published is not None and published != (mean, std):
            mean, std = published
            notes.append(f"normalize: imagenet is mean {mean} and std {std} here, as {model.weights} were trained with")
    # A bundle's settings still tell of the distillation, but name no teacher any more.
    distill = settings.distill if settings.distill is not None and settings.distill.weights is not None else None
    classifier = Classifier(
        network,
        parts,
        head=head,
        embedding=embedding,
        mean=mean,
        std=std,
        stages=_stage_names(network),
        distillation=None if distill is None else Distillation(distill.temperature, distill.alpha),
    )
    if model.weights is not None and not is_published(model.weights):
        notes += load_trained(classifier, model.weights, model.name, classes, advice)
    classifier.notes = tuple(notes)
    return classifier


def _network(
    model: ClassifierModel, num_classes: int, image_size: tuple[int, int], advice: str
) -> tuple[nn.Module, list[str]]:
    """Build the bare network with its parts; published weights come before the parts, which may replace some."""
    network = build_classifier(model.name, num_classes, width=model.width, stem=model.stem, image_size=image_size)
    notes = []
    if model.weights is not None and is_published(model.weights):
        notes = load_published(network, model.weights, model.name, advice)
    apply_parts(network, model, f"model {model.name}")
    return network, notes


def _without_head(
    network: nn.Module, model: ClassifierModel, image_size: tuple[int, int]
) -> tuple[nn.Module, int, nn.Module | None, list[nn.Linear]]:
    """Take the head off; return the network, the size of the embeddings, the layer that makes them, if any, and all
    linear layers that are new."""
    network, size = split_head(network)
    made_anew: list[nn.Linear] = []
    if isinstance(model.head, PyramidHead):
        size, made_anew = use_spatial_pyramid(network, model.head.levels, image_size, f"model {model.name}")
    if model.embedding_size is None:
        return network, size, None, made_anew
    embedding = nn.Linear(size, model.embedding_size)
    return network, model.embedding_size, embedding, [*made_anew, embedding]


def _stage_names(network: nn.Module) -> tuple[tuple[str, ...], ...]:
    """Names of the parameters by depth, the head's left out; names and not parameters, so that copies keep them."""
    name_of = {id(parameter): name for name, parameter in network.named_parameters()}
    return tuple(tuple(name_of[id(parameter)] for parameter in stage) for stage in stages(network)[:-1])
