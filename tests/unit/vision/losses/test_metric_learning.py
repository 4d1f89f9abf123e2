"""Center, contrastive and triplet terms: by hand, against loops over pairs, and pytorch-metric-learning."""

import copy
from itertools import combinations

import pytest
import torch
from pytorch_metric_learning import distances, miners, reducers
from pytorch_metric_learning import losses as oracle

from vision.losses.build import identity
from vision.losses.metric_learning import CenterLoss, ContrastiveLoss, TripletLoss

D, K = 4, 5


def contrastive(mode, normalize=True, gather=identity, margin=1.0, weight=1.0):
    return ContrastiveLoss(weight=weight, margin=margin, mode=mode, normalize_embeddings=normalize, gather=gather)


def triplet(mining, normalize=True, gather=identity, margin=0.2, weight=1.0):
    return TripletLoss(weight=weight, margin=margin, mining=mining, normalize_embeddings=normalize, gather=gather)


def center(reduce=identity, alpha=0.5, weight=1.0):
    return CenterLoss(D, K, weight=weight, alpha=alpha, reduce=reduce)


TERMS = {
    "center": center,
    "contrastive squared": lambda **keys: contrastive("squared", **keys),
    "contrastive linear": lambda **keys: contrastive("linear", **keys),
    "triplet hard": lambda **keys: triplet("hard", **keys),
    "triplet all": lambda **keys: triplet("all", **keys),
}
PAIR_TERMS = [name for name in TERMS if name != "center"]


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(3)
    return torch.randn(24, D, generator=generator), torch.randint(K, (24,), generator=generator)


def value_and_gradient(term, embeddings, labels):
    embeddings = embeddings.clone().requires_grad_()
    value = term(embeddings, labels)
    value.backward()
    return value.detach(), embeddings.grad


def assert_equal_to(term, reference, batch):
    ours, theirs = (value_and_gradient(what, *batch) for what in (term, reference))
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


# Center loss


def test_centres_and_their_move_by_hand():
    term = CenterLoss(2, 2, weight=0.1, alpha=0.5, reduce=identity)
    embeddings, labels = torch.tensor([[2.0, 0.0], [4.0, 0.0], [0.0, 6.0]]), torch.tensor([0, 0, 1])
    # Centres are 0: squared distances 4, 16, 36; half their mean is 56 / 6.
    assert term(embeddings, labels).item() == pytest.approx(0.1 * 56 / 6)
    # 0.5 * (2 + 4) / (1 + 2) and 0.5 * 6 / (1 + 1).
    assert term.centres.tolist() == [[1.0, 0.0], [0.0, 1.5]]


def test_centres_stand_still_in_evaluation_and_without_images():
    term = center()
    term.eval()(torch.ones(3, D), torch.zeros(3, dtype=torch.int64))
    term.train()(torch.zeros(0, D), torch.zeros(0, dtype=torch.int64))
    assert not term.centres.any()


def test_centres_are_saved_and_are_no_parameters():
    term = center()
    term(torch.ones(3, D), torch.zeros(3, dtype=torch.int64))
    assert list(term.parameters()) == []
    assert term.state_dict()["centres"][0].tolist() == pytest.approx([0.5 * 3 / 4] * D)


def test_the_gradient_is_the_offset_over_the_number_of_images(batch):
    term = center()
    centres = torch.randn(K, D)
    term.centres.copy_(centres)
    _, gradient = value_and_gradient(term, *batch)
    torch.testing.assert_close(gradient, (batch[0] - centres[batch[1]]) / 24)


def test_two_ranks_move_the_centres_as_one_with_all_images(batch):
    embeddings, labels = batch
    alone = center()
    alone(embeddings, labels)
    heard: list[torch.Tensor] = []

    def overhear(sums):
        heard.append(sums)
        return sums

    # Unequal shares: the sums of both ranks are overheard first, then handed to one of them as its reduction.
    for rows in (slice(0, 7), slice(7, 24)):
        center(reduce=overhear)(embeddings[rows], labels[rows])
    together = center(reduce=lambda sums: heard[0] + heard[1])
    together(embeddings[:7], labels[:7])
    torch.testing.assert_close(together.centres, alone.centres)


# Pairs


@pytest.mark.parametrize("normalize", [True, False])
def test_the_linear_contrastive_term_equals_the_oracles(normalize, batch):
    reference = oracle.ContrastiveLoss(distance=distances.LpDistance(normalize_embeddings=normalize))
    assert_equal_to(contrastive("linear", normalize), reference, batch)


def test_the_squared_contrastive_term_equals_a_loop_over_pairs(batch):
    def loop(embeddings, labels):
        pulled, pushed = [], []
        for i, j in combinations(range(24), 2):
            distance = (embeddings[i] - embeddings[j]).norm()
            if labels[i] == labels[j]:
                pulled.append(distance**2 / 2)
            else:
                pushed.append((1.5 - distance).clamp(min=0) ** 2 / 2)
        return 2 * (torch.stack(pulled).mean() + torch.stack(pushed).mean())

    assert_equal_to(contrastive("squared", normalize=False, margin=1.5, weight=2.0), loop, batch)


def test_the_squared_contrastive_term_by_hand():
    # On a line at 0, 3 and 4, margin 2: one pair pulled over 3; of the others one at 1 is too near by 1, one is not.
    embeddings, labels = torch.tensor([[0.0], [3.0], [4.0]]), torch.tensor([0, 0, 1])
    value = contrastive("squared", normalize=False, margin=2.0)(embeddings, labels)
    assert value.item() == pytest.approx(9 / 2 + (1 / 2 + 0) / 2)


@pytest.mark.parametrize("normalize", [True, False])
def test_all_triplets_equal_the_oracles(normalize, batch):
    reference = oracle.TripletMarginLoss(margin=0.2, distance=distances.LpDistance(normalize_embeddings=normalize))
    assert_equal_to(triplet("all", normalize), reference, batch)


def test_hard_triplets_equal_the_oracles(batch):
    loss = oracle.TripletMarginLoss(margin=0.2, reducer=reducers.MeanReducer())
    miner = miners.BatchHardMiner()
    assert_equal_to(
        triplet("hard"), lambda embeddings, labels: loss(embeddings, labels, miner(embeddings, labels)), batch
    )


def test_triplets_by_hand():
    # On a line: anchors 0 and 1 of class 0, 3 of class 1; margin 4.
    embeddings, labels = torch.tensor([[0.0], [1.0], [3.0]]), torch.tensor([0, 0, 1])
    # Anchor 0: 4 + 1 - 3 = 2. Anchor 1: 4 + 1 - 2 = 3. The third has none of its class.
    for mining in ("hard", "all"):
        assert triplet(mining, normalize=False, margin=4.0)(embeddings, labels).item() == pytest.approx(2.5)


@pytest.mark.parametrize("name", TERMS)
@pytest.mark.parametrize(
    "labels",
    [
        pytest.param([0, 1, 2, 3], id="no two of a class"),
        pytest.param([2, 2, 2, 2], id="one class only"),
        pytest.param([4], id="one image"),
        pytest.param([], id="none"),
    ],
)
def test_steps_without_pairs_have_finite_terms_and_gradients(name, labels):
    labels = torch.tensor(labels, dtype=torch.int64)
    value, gradient = value_and_gradient(TERMS[name](), torch.randn(len(labels), D), labels)
    assert value.isfinite() and gradient.isfinite().all()
    if name.startswith("triplet") or (len(labels) < 2 and name in PAIR_TERMS):
        assert value == 0 and not gradient.any()


@pytest.mark.parametrize("name", TERMS)
def test_equal_and_empty_embeddings_have_finite_gradients(name):
    for embeddings in (torch.ones(4, D), torch.zeros(4, D)):
        value, gradient = value_and_gradient(TERMS[name](), embeddings, torch.tensor([0, 0, 1, 1]))
        assert value.isfinite() and gradient.isfinite().all()


@pytest.mark.parametrize("name", TERMS)
def test_autocast_does_not_take_digits_away(name, batch):
    expected = TERMS[name]()(*batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = TERMS[name]()(*batch)
        rounded = TERMS[name]()(batch[0].bfloat16(), batch[1])
    assert value.dtype == rounded.dtype == torch.float32
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(rounded, expected, rtol=0.05, atol=0.01)


@pytest.mark.parametrize("name", PAIR_TERMS)
def test_two_ranks_have_the_value_and_the_gradient_of_one_with_all_images(name, batch):
    embeddings, labels = batch
    value, gradient = value_and_gradient(TERMS[name](), embeddings, labels)
    # What a gathering with a backward that adds up does: both ranks compute from the same rows, and their gradients
    # add up; then data parallelism halves the sum.
    rows = embeddings.clone().requires_grad_()
    parts, label_parts = rows.split([10, 14]), labels.split([10, 14])

    def gather(own):
        return rows if own.is_floating_point() else labels

    values = [TERMS[name](gather=gather)(part, own) for part, own in zip(parts, label_parts, strict=True)]
    sum(values).backward()
    assert values[0] == values[1] == value
    torch.testing.assert_close(rows.grad / 2, gradient)


@pytest.mark.parametrize("name", TERMS)
def test_terms_can_be_copied_as_an_average_of_weights_does(name, batch):
    term = TERMS[name]()
    assert copy.deepcopy(term)(*batch) == term(*batch)
