"""Margin heads against pytorch-metric-learning with the same class vectors, and by hand."""

import math

import pytest
import torch
from pytorch_metric_learning import losses as oracle
from torch import nn

from vision.losses.margin_heads import AmSoftmax, ArcFace, ASoftmax, LargeMarginSoftmax, annealing_weight
from vision.losses.settings import Annealing

D, K = 8, 6
HEADS = {
    "am_softmax": lambda: AmSoftmax(D, K, scale=16.0, margin=0.35),
    "arcface": lambda: ArcFace(D, K, scale=16.0, margin=0.5),
    "large_margin_softmax": lambda: LargeMarginSoftmax(D, K, margin=3, annealing=None),
    "a_softmax": lambda: ASoftmax(D, K, margin=4, annealing=None),
}
ORACLES = {
    "am_softmax": lambda: oracle.CosFaceLoss(K, D, margin=0.35, scale=16),
    "arcface": lambda: oracle.ArcFaceLoss(K, D, margin=math.degrees(0.5), scale=16),
    "large_margin_softmax": lambda: oracle.LargeMarginSoftmaxLoss(K, D, margin=3, scale=1),
    "a_softmax": lambda: oracle.SphereFaceLoss(K, D, margin=4, scale=1),
}
names = pytest.mark.parametrize("name", HEADS)
# The oracle's own, about numpy 2.
pytestmark = pytest.mark.filterwarnings("ignore:__array_wrap__ must accept:DeprecationWarning")


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(64, D, generator=generator), torch.randint(K, (64,), generator=generator)


def built(name, seed=0):
    torch.manual_seed(seed)
    return HEADS[name]()


@names
def test_loss_and_gradients_equal_the_oracles_with_the_same_class_vectors(name, batch):
    embeddings, labels = batch
    head, reference = built(name), ORACLES[name]()
    reference.W.data = head.weight.detach().T.clone()
    ours, theirs = embeddings.clone().requires_grad_(), embeddings.clone().requires_grad_()
    loss = nn.functional.cross_entropy(head(ours, labels), labels)
    expected = reference(theirs, labels)
    loss.backward()
    expected.backward()
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(head.weight.grad, reference.W.grad.T, rtol=1e-3, atol=1e-5)


@names
def test_logits_without_labels_equal_the_oracles(name, batch):
    head, reference = built(name), ORACLES[name]()
    reference.W.data = head.weight.detach().T.clone()
    torch.testing.assert_close(head(batch[0]), reference.get_logits(batch[0]), rtol=1e-4, atol=1e-4)


@names
def test_only_the_true_class_is_made_harder(name, batch):
    embeddings, labels = batch
    head = built(name)
    change = head(embeddings, labels) - head(embeddings)
    is_true = nn.functional.one_hot(labels, K).bool()
    assert (change[is_true] < 0).all()
    assert (change[~is_true] == 0).all()


@names
def test_every_angle_has_finite_gradients(name):
    # Along the true class vector, against it, across it, and no length at all.
    head = built(name)
    along = head.weight.detach()[0]
    across = torch.linalg.svd(along[None]).Vh[-1]
    embeddings = torch.stack([along, -along, across, torch.zeros(D), 1e-4 * along]).requires_grad_()
    logits = head(embeddings, torch.zeros(5, dtype=torch.int64))
    nn.functional.cross_entropy(logits, torch.zeros(5, dtype=torch.int64)).backward()
    assert logits.isfinite().all()
    assert embeddings.grad.isfinite().all() and head.weight.grad.isfinite().all()


@names
def test_autocast_does_not_take_digits_away(name, batch):
    head = built(name)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = head(*batch)
        rounded = head(batch[0].bfloat16(), batch[1])
    assert logits.dtype == rounded.dtype == torch.float32
    torch.testing.assert_close(logits, head(*batch))
    torch.testing.assert_close(rounded, head(batch[0].bfloat16().float(), batch[1]))


@names
def test_no_images_give_no_logits(name):
    assert built(name)(torch.zeros(0, D), torch.zeros(0, dtype=torch.int64)).shape == (0, K)


@names
def test_a_head_learns_to_separate_classes(name, batch):
    _, labels = batch
    # Noisy copies of one direction per class.
    generator = torch.Generator().manual_seed(2)
    embeddings = 3 * torch.eye(K, D)[labels] + 0.3 * torch.randn(64, D, generator=generator)
    head = built(name)
    optimizer = torch.optim.Adam(head.parameters(), lr=0.05)
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(head(embeddings, labels), labels).backward()
        optimizer.step()
    assert (head(embeddings).argmax(dim=1) == labels).all()


def two_dimensional(head, degrees, labels=0):
    """Logits of an embedding of length 2 at an angle to class 0; class 1 lies at 90 degrees; |W_0| is 3."""
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[3.0, 0.0], [0.0, 1.0]]))
    angle = math.radians(degrees)
    embedding = torch.tensor([[2 * math.cos(angle), 2 * math.sin(angle)]])
    return head(embedding, None if labels is None else torch.tensor([labels]))[0]


@pytest.mark.parametrize(
    ("head", "degrees", "expected"),
    [
        pytest.param(AmSoftmax(2, 2, scale=10.0, margin=0.2), 60, [3.0, 5 * math.sqrt(3)], id="am: 10 (0.5 - 0.2)"),
        pytest.param(ArcFace(2, 2, scale=10.0, margin=math.pi / 6), 30, [5.0, 5.0], id="arcface: 10 cos 60"),
        pytest.param(
            ArcFace(2, 2, scale=1.0, margin=math.pi / 6), 180, [-1 - math.pi / 12, 0], id="arcface beyond half a turn"
        ),
        pytest.param(LargeMarginSoftmax(2, 2, margin=2, annealing=None), 30, [3.0, 1.0], id="L: 3 * 2 cos 60"),
        pytest.param(
            LargeMarginSoftmax(2, 2, margin=2, annealing=None), 120, [6 * (0.5 - 2), math.sqrt(3)], id="L, second part"
        ),
        pytest.param(ASoftmax(2, 2, margin=4, annealing=None), 15, [1.0, 2 * math.sin(math.pi / 12)], id="A: cos 60"),
        pytest.param(ASoftmax(2, 2, margin=4, annealing=None), 180, [2 * -7.0, 0], id="A, end of the last part"),
        pytest.param(ASoftmax(2, 2, margin=1, annealing=None), 60, [1.0, math.sqrt(3)], id="margin 1 is none"),
    ],
)
def test_logits_by_hand(head, degrees, expected):
    assert two_dimensional(head, degrees).tolist() == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("margin", [1, 2, 3, 4, 8])
def test_a_multiplied_angle_falls_without_jumps(margin):
    head = ASoftmax(2, 2, margin=margin, annealing=None)
    psi = head.with_margin(torch.linspace(0, math.pi, 2001).cos())
    steps = psi.diff()
    assert (steps <= 1e-4).all() and steps.abs().max() < 0.02
    assert psi[0].item() == pytest.approx(1) and psi[-1].item() == pytest.approx(1 - 2 * margin, abs=1e-3)


def test_annealing_mixes_plain_and_harder_logits():
    # lambda = 4 / (1 + 1 * t): 4, 2, 4/3; the plain cosine is cos 30, the harder one cos 60.
    head = ASoftmax(2, 2, margin=2, annealing=Annealing(start=4.0, end=1.5, rate=1.0))
    plain, harder = 2 * math.cos(math.pi / 6), 1.0
    for weight in (4.0, 2.0, 1.5, 1.5):
        expected = (weight * plain + harder) / (1 + weight)
        assert two_dimensional(head, 30)[0].item() == pytest.approx(expected, abs=1e-5)


def test_annealing_steps_are_counted_in_training_with_labels_only_and_are_saved():
    head = ASoftmax(2, 2, margin=2, annealing=Annealing())
    two_dimensional(head, 30, labels=None)
    two_dimensional(head.eval(), 30)
    assert head.steps.item() == 0
    two_dimensional(head.train(), 30)
    assert head.state_dict()["steps"].item() == 1


def test_published_annealing_reaches_its_end_after_1659_steps():
    # 1000 / (1 + 0.12 t) = 5 at t = 199 / 0.12.
    weights = [annealing_weight(torch.tensor(step), Annealing()).item() for step in (0, 1658, 1659, 10_000)]
    assert weights[0] == 1000 and weights[1] > 5 and weights[2:] == [5, 5]
