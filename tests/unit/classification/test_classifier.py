"""What surrounds a network: normalisation, mixed labels, auxiliary heads, embeddings, a teacher, stages."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from classification.models import build_model
from classification.models.classifier import Classifier, Distillation
from classification.settings import ClassificationSettings
from foundation.errors import ConfigError
from vision.backbones.auxiliary import WithAuxiliary
from vision.losses.build import LossParts
from vision.losses.classification import cross_entropy

LABELS, OTHERS, MIX = torch.tensor([0, 1, 2]), torch.tensor([2, 1, 0]), torch.tensor([1.0, 0.25, 0.6])


def build(model: dict[str, Any], **keys: Any) -> Any:
    torch.manual_seed(0)
    settings = {"model": {"name": "resnet18", "width": 0.25} | model, "image_size": [32, 32], **keys}
    return build_model(ClassificationSettings.model_validate(settings), 3, class_counts=[4, 2, 1])


class Means(nn.Module):
    """The mean of each channel as a logit, and in training twice that as the logits of an auxiliary head."""

    AUXILIARY_WEIGHT = 0.3

    def __init__(self, has_auxiliary: bool = False) -> None:
        super().__init__()
        self.has_auxiliary = has_auxiliary

    def forward(self, images: Tensor) -> Any:
        logits = images.mean((2, 3))
        return WithAuxiliary(logits, [2 * logits]) if self.has_auxiliary and self.training else logits


def means(**arguments: Any) -> Classifier:
    return Classifier(Means(arguments.pop("has_auxiliary", False)), LossParts(None, cross_entropy), **arguments)


def images(count: int = 3) -> Tensor:
    return torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def test_channels_are_normalised_and_probabilities_come_out():
    model = means(mean=(0.5, 0.0, 0.25), std=(0.5, 1.0, 2.0)).eval()
    colour = torch.tensor([0.75, 0.5, 0.25])
    (answer,) = model(colour.view(1, 3, 1, 1).expand(1, 3, 4, 4))
    assert torch.allclose(answer, torch.softmax(torch.tensor([0.5, 0.5, 0.0]), 0))


def test_mixed_labels_share_the_loss():
    model = means().train()
    logits = images().mean((2, 3))
    first, second = (F.cross_entropy(logits, labels, reduction="none") for labels in (LABELS, OTHERS))
    losses = model(images(), {"labels": LABELS, "other_labels": OTHERS, "mix": MIX})
    assert losses["loss_cls"].item() == pytest.approx((MIX * first + (1 - MIX) * second).mean().item())


def test_auxiliary_heads_count_their_share():
    losses = means(has_auxiliary=True).train()(images(), {"labels": LABELS})
    logits = images().mean((2, 3))
    assert losses["loss_aux"].item() == pytest.approx(0.3 * F.cross_entropy(2 * logits, LABELS).item())


def test_a_teacher_takes_its_share_of_the_loss():
    model = means(distillation=Distillation(temperature=2.0, alpha=0.75)).train()
    logits = images().mean((2, 3))
    plain = F.cross_entropy(logits, LABELS).item()
    same = model(images(), {"labels": LABELS, "teacher": logits.softmax(1)})
    assert same["loss_cls"].item() == pytest.approx(0.25 * plain)
    assert same["loss_distill"].item() == pytest.approx(0, abs=1e-6)
    teacher = torch.tensor([[0.7, 0.2, 0.1]]).expand(3, 3)
    target, student = teacher.sqrt() / teacher.sqrt().sum(1, keepdim=True), (logits / 2).log_softmax(1)
    expected = 0.75 * 4 * F.kl_div(student, target, reduction="batchmean").item()
    assert model(images(), {"labels": LABELS, "teacher": teacher})["loss_distill"].item() == pytest.approx(expected)


@pytest.mark.parametrize(
    "loss", ["cross_entropy", "focal", "class_balanced", "mse", "arcface", "am_softmax", "a_softmax"]
)
def test_every_loss_trains_on_mixed_images(loss: str):
    model = build({}, loss={"name": loss}).train()
    losses = model(torch.rand(3, 3, 32, 32), {"labels": LABELS, "other_labels": OTHERS, "mix": MIX})
    sum(losses.values()).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert model.eval()(torch.rand(2, 3, 32, 32)).sum(1).tolist() == pytest.approx([1, 1])


@pytest.mark.parametrize(
    ("loss", "term", "over_ranks"),
    [("center", "loss_center", False), ("contrastive", "loss_contrastive", True), ("triplet", "loss_triplet", True)],
)
def test_a_term_on_embeddings_is_added(loss: str, term: str, over_ranks: bool):
    model = build({"embedding_size": 8}, loss={"name": loss}).train()
    losses = model(torch.rand(3, 3, 32, 32), {"labels": torch.tensor([0, 0, 1])})
    assert set(losses) == {"loss_cls", term}
    assert (term in model.terms_over_ranks) == over_ranks


@pytest.mark.parametrize("name", ["resnet18", "vgg11", "squeezenet1_1", "lenet5"])
def test_a_spatial_pyramid_replaces_the_pooling(name: str):
    width = {"width": 0.25} if name == "resnet18" else {"width": 1.0}
    if name == "lenet5":
        with pytest.raises(ConfigError, match="no pooling layer"):
            build({"name": name, "head": {"name": "spp"}, **width})
        return
    model = build({"name": name, "head": {"name": "spp", "levels": [2, 1]}, **width}, image_size=[64, 64])
    assert model.eval()(torch.rand(1, 3, 64, 64)).shape == (1, 3)
    if name == "resnet18":
        assert model.head.linear.in_features == 5 * 128


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        pytest.param("resnet18", {"head": {"name": "spp", "levels": [2, 1]}}, id="pyramid"),
        pytest.param("vgg11", {"head": {"name": "spp", "levels": [2, 1]}}, id="pyramid before linear layers"),
        pytest.param("resnet18", {"embedding_size": 8}, id="embedding"),
    ],
)
def test_layers_made_anew_have_the_parts_as_well(name: str, keys: dict[str, Any]):
    width = {"width": 0.25} if name == "resnet18" else {"width": 1.0}
    normal = build({"name": name, "init": "normal", **width, **keys})
    weighted = build({"name": name, "norm": "weight", **width, **keys})

    linear = [module for module in normal.modules() if isinstance(module, nn.Linear)]
    assert all(layer.weight.std().item() == pytest.approx(0.01, rel=0.2) for layer in linear)
    assert not any(layer.bias.any() for layer in linear)
    linear = [module for module in weighted.modules() if isinstance(module, nn.Linear)]
    assert all(is_parametrized(layer, "weight") for layer in linear)
    assert weighted.eval()(torch.rand(1, 3, 32, 32)).shape == (1, 3)


@pytest.mark.parametrize("keys", [{}, {"loss": {"name": "arcface"}}, {"loss": {"name": "center"}}])
def test_stages_hold_every_parameter_once(keys: dict[str, Any]):
    model = build({"norm": "group", "embedding_size": 8 if keys else None}, **keys)
    stages = model.parameter_stages()
    found = [id(parameter) for stage in stages for parameter in stage]
    assert sorted(found) == sorted(id(parameter) for parameter in model.parameters())
    assert any(parameter is model.network.conv1.weight for parameter in stages[0])
    head = model.head if keys else model.network.fc
    assert all(any(parameter is own for own in stages[-1]) for parameter in head.parameters())


@pytest.mark.parametrize(
    ("model", "keys", "words"),
    [
        pytest.param({"name": "vgg11", "width": 1.0}, {"image_size": [16, 16]}, "32 px at least", id="small images"),
        pytest.param({"name": "timm:resnet5O", "width": 1.0}, {}, "resnet50", id="unknown timm name: the nearest"),
        pytest.param({"name": "vit_b_16", "width": 1.0, "norm": "group"}, {"image_size": [64, 64]}, "norm", id="norm"),
        pytest.param({}, {"loss": {"name": "focal", "class_weights": [1, 2]}}, "class", id="weights for other classes"),
    ],
)
def test_what_does_not_fit_is_refused_with_a_mend(model: dict[str, Any], keys: dict[str, Any], words: str):
    with pytest.raises(ConfigError, match=words):
        build(model, **keys)


def test_a_training_without_targets_is_a_mistake():
    with pytest.raises(ValueError, match="needs targets"):
        means().train()(images())
