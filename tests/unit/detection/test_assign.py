"""Both assigners against slow obvious loops, and what they promise at the edges."""

import pytest
import torch

from detection.assign import assign_simota, assign_task_aligned, pad_targets
from detection.box_losses import iou
from detection.models.yolo_layers import anchor_points

NUM_CLASSES = 3


def make_scene(seed, counts=(5, 0, 2)):
    """Random predictions on a 64 x 64 image (84 points) and random ground truths, one entry of `counts` per image."""
    generator = torch.Generator().manual_seed(seed)
    cells, strides = anchor_points([torch.Size((8, 8)), torch.Size((4, 4)), torch.Size((2, 2))], torch.device("cpu"))
    centers = (cells + 0.5) * strides
    reach = torch.rand(len(counts), len(centers), 4, generator=generator) * 3 * strides
    boxes = torch.cat((centers - reach[..., :2], centers + reach[..., 2:]), dim=-1)
    logits = torch.randn(len(counts), len(centers), NUM_CLASSES, generator=generator)
    targets = []
    for count in counts:
        corner = torch.rand(count, 2, generator=generator) * 40
        size = torch.rand(count, 2, generator=generator) * 30 + 2
        labels = torch.randint(0, NUM_CLASSES, (count,), generator=generator)
        targets.append({"boxes": torch.cat((corner, corner + size), 1), "labels": labels})
    return logits, boxes, centers, strides, targets


def is_inside(point, middle, reach_x, reach_y):
    return bool(abs(point[0] - middle[0]) < reach_x and abs(point[1] - middle[1]) < reach_y)


def slow_task_aligned(logits, boxes, centers, target, top_k=10, min_half_size=4.0):
    """One image; returns {anchor: (gt, quality)}."""
    wants = {}
    for g, gt in enumerate(target["boxes"]):
        middle, half = (gt[:2] + gt[2:]) / 2, ((gt[2:] - gt[:2]) / 2).clamp(min=min_half_size)
        inside = [a for a, point in enumerate(centers) if is_inside(point, middle, half[0], half[1])]
        overlap = {a: iou(boxes[a], gt).item() for a in inside}
        alignment = {a: logits[a, target["labels"][g]].sigmoid().item() * overlap[a] ** 6 for a in inside}
        for a in sorted(inside, key=alignment.__getitem__, reverse=True)[:top_k]:
            wants.setdefault(a, []).append((overlap[a], -g, alignment[a]))
    chosen = {a: max(options) for a, options in wants.items()}
    best = {}
    for overlap, minus_g, alignment in chosen.values():
        top_overlap, top_alignment = best.get(-minus_g, (0.0, 0.0))
        best[-minus_g] = max(top_overlap, overlap), max(top_alignment, alignment)
    return {
        a: (-minus_g, alignment * best[-minus_g][0] / best[-minus_g][1] if best[-minus_g][1] else 0.0)
        for a, (_, minus_g, alignment) in chosen.items()
    }


def slow_simota(probabilities, boxes, centers, strides, target, radius=2.5, top_k=10):
    """One image; returns {anchor: (gt, iou)}."""
    gts, labels = target["boxes"], target["labels"]
    in_box, in_center = {}, {}
    for g, gt in enumerate(gts):
        middle, half = (gt[:2] + gt[2:]) / 2, (gt[2:] - gt[:2]) / 2
        for a, point in enumerate(centers):
            in_box[g, a] = is_inside(point, middle, half[0], half[1])
            in_center[g, a] = is_inside(point, middle, radius * strides[a, 0], radius * strides[a, 0])
    candidates = [a for a in range(len(centers)) if any(in_box[g, a] or in_center[g, a] for g in range(len(gts)))]
    cost, overlap, wants = {}, {}, {}
    for g, gt in enumerate(gts):
        wanted = torch.nn.functional.one_hot(labels[g], NUM_CLASSES).float()
        for a in candidates:
            overlap[g, a] = iou(boxes[a], gt).item()
            bce = torch.nn.functional.binary_cross_entropy(probabilities[a], wanted, reduction="sum").item()
            cost[g, a] = bce - 3 * torch.log(torch.tensor(overlap[g, a] + 1e-8)).item()
            cost[g, a] += 0.0 if in_box[g, a] and in_center[g, a] else 1e5
        k = max(1, int(sum(sorted((overlap[g, a] for a in candidates), reverse=True)[:top_k])))
        for a in sorted(candidates, key=lambda a: cost[g, a])[:k]:
            wants.setdefault(a, []).append(g)
    chosen = {
        a: options[0] if len(options) == 1 else min(range(len(gts)), key=lambda g: cost[g, a])
        for a, options in wants.items()
    }
    return {a: (g, overlap[g, a]) for a, g in chosen.items()}


def assert_same(assignment, image, expected):
    positive = assignment.is_positive_BA[image].nonzero()[:, 0].tolist()
    assert positive == sorted(expected)
    for a in positive:
        gt, quality = expected[a]
        assert assignment.gt_index_BA[image, a] == gt
        assert assignment.quality_BA[image, a].item() == pytest.approx(quality, abs=1e-5)
    assert assignment.quality_BA[image].sum().item() == pytest.approx(sum(q for _, q in expected.values()), abs=1e-4)


@pytest.mark.parametrize("seed", range(4))
def test_task_aligned_equals_the_slow_loop(seed):
    logits, boxes, centers, _, targets = make_scene(seed)
    assignment = assign_task_aligned(logits, boxes, centers, pad_targets(targets, boxes.device))
    for image, target in enumerate(targets):
        assert_same(assignment, image, slow_task_aligned(logits[image], boxes[image], centers, target))


@pytest.mark.parametrize("seed", range(4))
def test_simota_equals_the_slow_loop(seed):
    logits, boxes, centers, strides, targets = make_scene(seed)
    probabilities = logits.sigmoid()
    assignment = assign_simota(probabilities, boxes, centers, strides, pad_targets(targets, boxes.device))
    for image, target in enumerate(targets):
        assert_same(assignment, image, slow_simota(probabilities[image], boxes[image], centers, strides, target))


def run(name, scene):
    logits, boxes, centers, strides, targets = scene
    truths = pad_targets(targets, boxes.device)
    if name == "simota":
        return assign_simota(logits.sigmoid(), boxes, centers, strides, truths)
    return assign_task_aligned(logits, boxes, centers, truths)


@pytest.mark.parametrize("name", ["simota", "task_aligned"])
def test_a_batch_without_boxes_has_no_positives(name):
    assignment = run(name, make_scene(0, counts=(0, 0)))
    assert not assignment.is_positive_BA.any()
    assert assignment.quality_BA.sum() == 0


@pytest.mark.parametrize("name", ["simota", "task_aligned"])
def test_padding_does_not_change_an_image(name):
    scene = make_scene(3, counts=(2, 6))
    alone = run(name, (scene[0][:1], scene[1][:1], scene[2], scene[3], scene[4][:1]))
    together = run(name, scene)
    assert torch.equal(alone.is_positive_BA[0], together.is_positive_BA[0])
    assert torch.equal(alone.gt_index_BA[0], together.gt_index_BA[0])
    torch.testing.assert_close(alone.quality_BA[0], together.quality_BA[0])


@pytest.mark.parametrize("name", ["simota", "task_aligned"])
@pytest.mark.parametrize(
    "box",
    [
        pytest.param([33.0, 33.0, 34.0, 34.0], id="one pixel between the points"),
        pytest.param([1.0, 1.0, 2.0, 63.0], id="a thin line"),
    ],
)
def test_a_tiny_box_still_gets_a_point(name, box):
    logits, boxes, centers, strides, _ = make_scene(1, counts=(1,))
    targets = [{"boxes": torch.tensor([box]), "labels": torch.tensor([0])}]
    assert run(name, (logits, boxes, centers, strides, targets)).is_positive_BA.any()


def test_quality_survives_untrained_predictions():
    """IoU^6 of boxes that hardly overlap lies below any usual epsilon; the best point must still be told apart."""
    logits, boxes, centers, _, _ = make_scene(0, counts=(1,))
    small = torch.cat((centers - 0.05, centers + 0.05), dim=1)[None]
    targets = [{"boxes": torch.tensor([[10.0, 10, 50, 50]]), "labels": torch.tensor([1])}]
    assignment = assign_task_aligned(logits - 6, small, centers, pad_targets(targets, boxes.device))
    best_iou = 0.1 * 0.1 / (40 * 40)
    assert assignment.quality_BA.max().item() == pytest.approx(best_iou, rel=1e-2)


def test_padded_targets():
    boxes = torch.tensor([[1.0, 2, 3, 4], [5, 6, 7, 8]])
    targets = [
        {"boxes": boxes, "labels": torch.tensor([2, 1])},
        {"boxes": boxes[:0], "labels": torch.tensor([]).long()},
    ]
    truths = pad_targets(targets, boxes.device)
    assert truths.is_real_BG.tolist() == [[True, True], [False, False]]
    assert truths.labels_BG.tolist() == [[2, 1], [0, 0]]
    assert torch.equal(truths.boxes_BG4[0], boxes)


def test_targets_are_needed_in_train_mode():
    with pytest.raises(ValueError, match="train mode"):
        pad_targets(None, torch.device("cpu"))
