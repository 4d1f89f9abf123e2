"""From settings to the parts of a loss: which there are, what is refused, what is saved."""

import pickle
import subprocess
import sys

import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from torch import nn

from foundation.errors import ConfigError
from vision.losses.build import build_loss
from vision.losses.settings import LossSettings, needs_class_counts, needs_embeddings

HEADS = ["large_margin_softmax", "a_softmax", "am_softmax", "arcface"]
TERMS = ["center", "contrastive", "triplet"]
PLAIN = ["cross_entropy", "focal", "class_balanced", "mse"]
COUNTS = [10, 30, 60]


def settings(name, **keys):
    return TypeAdapter(LossSettings).validate_python({"name": name, **keys})


def loss_of(name, counts=COUNTS, **keys):
    return build_loss(settings(name, **keys), 3, counts, 8)


@pytest.mark.parametrize("name", PLAIN + HEADS + TERMS)
def test_every_loss_trains_a_model_that_is_built_of_its_parts(name):
    parts = loss_of(name)
    head = parts.head or nn.Linear(8, 3)
    embeddings, labels = torch.randn(6, 8, requires_grad=True), torch.tensor([0, 0, 1, 1, 2, 2])
    logits = head(embeddings, labels) if parts.head else head(embeddings)
    per_image = parts.per_sample(logits, labels)
    assert per_image.shape == (6,)
    total = per_image.mean() + (parts.extra(embeddings, labels) if parts.extra else 0)
    total.backward()
    assert embeddings.grad.isfinite().all() and embeddings.grad.any()
    assert (parts.head is not None, parts.extra is not None) == (name in HEADS, name in TERMS)
    assert parts.extra_name == (f"loss_{name}" if name in TERMS else "")


@pytest.mark.parametrize("name", PLAIN + HEADS + TERMS)
def test_settings_survive_their_own_json(name):
    adapter = TypeAdapter(LossSettings)
    given = settings(name)
    assert adapter.validate_json(adapter.dump_json(given)) == given
    assert needs_embeddings(given) == (name in HEADS + TERMS)


@pytest.mark.parametrize("name", HEADS + TERMS)
def test_a_model_without_embeddings_is_refused(name):
    with pytest.raises(ConfigError, match=f"loss '{name}' works on embeddings"):
        build_loss(settings(name), 3, COUNTS, None)


def test_cross_entropy_with_weights_equals_torchs_with_the_weights_mean_taken_out():
    logits, labels = torch.randn(100, 3), torch.repeat_interleave(torch.arange(3), torch.tensor(COUNTS))
    parts = loss_of("cross_entropy", class_weights=[3.0, 1.0, 0.5])
    # Over the whole training set both divide by the same: torch by the sum of weights, we by the number of images.
    expected = nn.CrossEntropyLoss(weight=torch.tensor([3.0, 1.0, 0.5]))(logits, labels)
    torch.testing.assert_close(parts.per_sample(logits, labels).mean(), expected)


def test_class_balanced_is_weighted_cross_entropy_and_with_gamma_weighted_focal():
    logits, labels = torch.randn(6, 3), torch.tensor([0, 0, 1, 1, 2, 2])
    for gamma, same in ((0.0, "cross_entropy"), (2.0, "focal")):
        balanced = loss_of("class_balanced", beta=0.99, gamma=gamma).per_sample(logits, labels)
        weighted = loss_of(same, class_weights="effective_number", beta=0.99).per_sample(logits, labels)
        torch.testing.assert_close(balanced, weighted)


def test_logit_adjustment_of_zero_is_plain_and_above_it_helps_the_rare_class():
    logits, labels = torch.zeros(2, 3), torch.tensor([0, 2])
    plain = loss_of("cross_entropy").per_sample(logits, labels)
    rare, common = loss_of("cross_entropy", logit_adjustment=1.0).per_sample(logits, labels)
    assert loss_of("cross_entropy", logit_adjustment=0.0).per_sample(logits, labels).tolist() == plain.tolist()
    # -ln of the shares 0.1 and 0.6.
    assert (rare.item(), common.item()) == pytest.approx((2.302585, 0.510826))


def test_weights_move_with_the_model_and_are_not_saved():
    parts = loss_of("cross_entropy", class_weights="balanced", logit_adjustment=1.0)
    assert parts.per_sample.state_dict() == {}
    assert {buffer.device.type for buffer in parts.per_sample.to("meta").buffers()} == {"meta"}


def test_parts_can_be_sent_to_another_process():
    for name in PLAIN + HEADS + TERMS:
        parts = loss_of(name)
        for part in (parts.head, parts.per_sample, parts.extra):
            assert type(pickle.loads(pickle.dumps(part))) is type(part)


def test_counts_are_missed_only_when_they_are_used():
    given = settings("cross_entropy", class_weights="balanced")
    parts = build_loss(given, 3, None, None)
    assert needs_class_counts(given) and not needs_class_counts(settings("cross_entropy"))
    with pytest.raises(RuntimeError, match="number of training images per class"):
        parts.per_sample(torch.zeros(1, 3), torch.tensor([0]))
    with pytest.raises(ValueError, match="2 class counts for 3 classes"):
        build_loss(given, 3, [1, 2], None)


def test_weights_for_another_number_of_classes_are_refused():
    with pytest.raises(ConfigError, match=r"loss.class_weights: 2 weights for 3 classes"):
        loss_of("cross_entropy", class_weights=[1.0, 2.0])


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        pytest.param({"name": "cross_entropy", "beta": 0.9}, "`beta` has an effect", id="beta without its weights"),
        pytest.param({"name": "focal", "label_smoothing": 0.1}, "label_smoothing", id="another loss's key"),
        pytest.param({"name": "arcface", "margin": 2.0}, "margin", id="more than a quarter turn"),
        pytest.param({"name": "a_softmax", "margin": 2.5}, "margin", id="half an angle"),
        pytest.param({"name": "a_softmax", "annealing": {"start": 1.0, "end": 5.0}}, "less than", id="rising lambda"),
        pytest.param({"name": "cross_entropy", "class_weights": [1.0, -1.0]}, "class_weights", id="negative weight"),
        pytest.param({"name": "center", "alpha": 0.0}, "alpha", id="centres that never move"),
        pytest.param({"name": "softmax"}, "cross_entropy", id="unknown name"),
    ],
)
def test_settings_that_cannot_be_are_refused(keys, message):
    with pytest.raises(ValidationError, match=message):
        TypeAdapter(LossSettings).validate_python(keys)


def test_settings_need_no_torch():
    code = "import sys, vision.losses.settings; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
