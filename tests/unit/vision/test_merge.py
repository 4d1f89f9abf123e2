"""Joining detections: against loops as slow as they are plain, and by hand."""

import numpy as np
import pytest
import torch
from torchvision.ops import batched_nms

from vision.merge import ScoredBoxes, concatenate, fuse_weighted, merge_greedily, suppress


def scored(boxes, scores, labels=None):
    return ScoredBoxes(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(scores, np.float32),
        np.zeros(len(scores), np.int64) if labels is None else np.array(labels, np.int64),
    )


def crowd(seed, count=60, span=60, ties=True):
    """Boxes in a heap, of three classes; scores and many coordinates come up more than once."""
    rng = np.random.default_rng(seed)
    corner = rng.integers(0, span, (count, 2))
    boxes = np.concatenate([corner, corner + rng.integers(0, 25, (count, 2))], axis=1)
    scores = rng.integers(1, 12, count) / 12 if ties else rng.random(count)
    return scored(boxes, scores, rng.integers(0, 3, count))


def overlap(one, other, measure="iou"):
    one, other = [float(v) for v in one], [float(v) for v in other]
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return width * height / (min(areas) if measure == "ios" else sum(areas) - width * height)


def in_order(found):
    return sorted(range(len(found.scores)), key=lambda i: (-found.scores[i], i))


def slow_groups(found, threshold, measure):
    """Lists of positions; the first of each is the one that stays."""
    groups = []
    for index in in_order(found):
        for group in groups:
            best = group[0]
            same = found.labels[best] == found.labels[index]
            if same and overlap(found.boxes[best], found.boxes[index], measure) > threshold:
                group.append(index)
                break
        else:
            groups.append([index])
    return groups


def slow_fusion(found, threshold, num_passes):
    """The algorithm of section 3 of the paper, step by step; (box, score, label) of every cluster."""
    clusters, fused = [], []
    for index in in_order(found):
        ious = [overlap(box, found.boxes[index]) * (label == found.labels[index]) for box, _, label in fused]
        best = ious.index(max(ious)) if ious and max(ious) > threshold else None
        if best is None:
            clusters.append([])
            fused.append(None)
            best = -1
        clusters[best].append(index)
        weights = found.scores[clusters[best]].astype(float)
        box = (weights[:, None] * found.boxes[clusters[best]]).sum(0) / weights.sum()
        fused[best] = (box, weights.mean(), found.labels[index])
    return [
        (box, score * min(len(members), num_passes) / num_passes, label)
        for (box, score, label), members in zip(fused, clusters, strict=True)
    ]


@pytest.mark.parametrize("measure", ["iou", "ios"])
@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.5, 0.9])
def test_suppression_is_that_of_the_slow_loop(threshold, measure):
    for seed in range(20):
        found = crowd(seed)
        expected = found.at(np.array([group[0] for group in slow_groups(found, threshold, measure)]))
        for got, wanted in zip(suppress(found, threshold, measure), expected, strict=True):
            np.testing.assert_array_equal(got, wanted)


def test_suppression_is_that_of_torchvision():
    for seed in range(20):
        found = crowd(seed, count=300, span=200, ties=False)
        kept = batched_nms(*(torch.from_numpy(column) for column in found), 0.45).numpy()
        np.testing.assert_array_equal(suppress(found, 0.45).boxes, found.boxes[kept])


@pytest.mark.parametrize("measure", ["iou", "ios"])
@pytest.mark.parametrize("least_share", [0.0, 0.5, 1.0])
def test_greedy_merging_is_that_of_the_slow_loop(measure, least_share):
    for seed in range(20):
        found = crowd(seed)
        merged = merge_greedily(found, 0.4, measure, least_share=least_share)
        groups = slow_groups(found, 0.4, measure)
        np.testing.assert_array_equal(merged.scores, found.scores[[group[0] for group in groups]])
        for box, group in zip(merged.boxes, groups, strict=True):
            strong = [i for i in group if found.scores[i] >= np.float32(least_share) * found.scores[group[0]]]
            members = found.boxes[strong]
            assert box.tolist() == [*members[:, :2].min(0), *members[:, 2:].max(0)]


@pytest.mark.parametrize("num_passes", [1, 2, 4])
@pytest.mark.parametrize("threshold", [0.2, 0.55])
def test_weighted_fusion_is_that_of_the_slow_loop(threshold, num_passes):
    for seed in range(20):
        found = crowd(seed, ties=False)
        fused = fuse_weighted(found, threshold, num_passes)
        expected = sorted(slow_fusion(found, threshold, num_passes), key=lambda one: -one[1])
        np.testing.assert_allclose(fused.scores, [score for _, score, _ in expected], rtol=1e-6)
        np.testing.assert_allclose(fused.boxes, [box for box, _, _ in expected], rtol=1e-5, atol=1e-5)
        assert fused.labels.tolist() == [label for _, _, label in expected]


def test_the_paper_of_two_boxes_by_hand():
    fused = fuse_weighted(scored([[0, 0, 10, 10], [2, 0, 12, 10], [50, 50, 60, 60]], [0.75, 0.25, 0.5]), 0.5, 2)
    assert fused.boxes.tolist() == [[0.5, 0, 10.5, 10], [50, 50, 60, 60]]
    assert fused.scores.tolist() == [0.5, 0.25], "the mean; and half of what one of two passes found"


WAYS = [
    pytest.param(lambda found: suppress(found, 0.5), id="nms"),
    pytest.param(lambda found: merge_greedily(found, 0.5), id="nmm"),
    pytest.param(lambda found: fuse_weighted(found, 0.5, 1), id="wbf"),
]


@pytest.mark.parametrize("join", WAYS)
def test_nothing_gives_nothing(join):
    nothing = join(scored([], []))
    assert [(column.shape, column.dtype) for column in nothing] == [
        ((0, 4), np.float32), ((0,), np.float32), ((0,), np.int64),
    ]  # fmt: skip


@pytest.mark.parametrize("join", WAYS)
def test_a_single_box_stays_what_it_is(join):
    one = scored([[1, 2, 3.5, 4]], [0.25], [7])
    for got, wanted in zip(join(one), one, strict=True):
        np.testing.assert_array_equal(got, wanted)
        assert got.dtype == wanted.dtype


@pytest.mark.parametrize("join", WAYS)
def test_classes_never_meet(join):
    both = join(scored([[0, 0, 9, 9]] * 2, [0.5, 0.75], [4, 1]))
    assert (both.scores.tolist(), both.labels.tolist()) == ([0.75, 0.5], [1, 4])


@pytest.mark.parametrize("join", WAYS)
def test_the_same_box_twice_is_one(join):
    (box,), (score,), _ = join(scored([[0, 0, 9, 9]] * 2, [0.5, 0.5]))
    assert (box.tolist(), score) == ([0, 0, 9, 9], 0.5)


@pytest.mark.parametrize("join", WAYS)
def test_boxes_without_area_or_score_are_no_trouble(join):
    flat = join(scored([[5, 5, 5, 9], [5, 5, 5, 9], [0, 0, 9, 9]], [0.0, 0.0, 0.0]))
    assert len(flat.scores) == 3 and np.isfinite(flat.boxes).all() and not flat.scores.any()


def test_of_equal_scores_the_first_stays():
    found = scored([[1, 0, 10, 10], [0, 0, 10, 10]], [0.5, 0.5])
    assert suppress(found, 0.5).boxes.tolist() == [[1, 0, 10, 10]]


def test_a_priority_of_its_own_says_what_stays_but_not_what_it_scores():
    found, priority = scored([[0, 0, 5, 10], [0, 0, 10, 10], [50, 0, 60, 10]], [0.75, 0.5, 0.625]), np.array([1, 2, 3])
    assert suppress(found, 0.4, "iou", priority).scores.tolist() == [0.625, 0.5]
    merged = merge_greedily(found, 0.4, "iou", priority)
    assert (merged.scores.tolist(), merged.boxes[0].tolist()) == ([0.75, 0.625], [0, 0, 10, 10])


def test_an_overlap_of_exactly_the_threshold_joins_nothing():
    halves = scored([[0, 0, 10, 10], [0, 0, 5, 10]], [0.9, 0.8])
    assert len(suppress(halves, 0.5).scores) == 2
    assert len(suppress(halves, 0.499).scores) == 1


def test_the_cut_half_of_an_object_goes_into_the_whole_by_the_smaller_area():
    halves = scored([[0, 0, 10, 10], [6, 0, 12, 4]], [0.8, 0.9])
    assert len(merge_greedily(halves, 0.5, "iou").scores) == 2
    (whole,), (score,), _ = merge_greedily(halves, 0.5, "ios")
    assert (whole.tolist(), score) == ([0, 0, 12, 10], np.float32(0.9))


def test_lists_are_joined_in_order():
    assert concatenate([crowd(0), scored([], []), crowd(1)]).scores.tolist() == [
        *crowd(0).scores.tolist(), *crowd(1).scores.tolist()
    ]  # fmt: skip
