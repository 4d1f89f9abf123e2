"""Our own `yolo`: sizes, losses, detections; and the NMS that both YOLOs share."""

import pytest
import torch

from detection.assign import GroundTruths, pad_targets
from detection.class_losses import DenseClassLoss, FocalForm
from detection.models import build_model, yolo
from detection.models.yolo import SIZES
from detection.models.yolo_layers import anchor_points
from detection.nms import select_detections
from detection.settings import DetectionSettings, YoloModel

NMS = {"score_threshold": 0.1, "nms_threshold": 0.5, "max_detections": 10}


def make_detector(size="pico", num_classes=3, **settings):
    return build_model(DetectionSettings(model=YoloModel(name="yolo", size=size), **settings), num_classes)


def make_targets(*boxes_per_image):
    return [
        {"boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4), "labels": torch.arange(len(boxes)) % 3}
        for boxes in boxes_per_image
    ]


def test_sizes_grow_from_well_under_a_million_parameters():
    with torch.device("meta"):
        counts = [sum(p.numel() for p in make_detector(size).parameters()) for size in SIZES]
    assert counts == sorted(counts)
    assert counts[0] < 400_000
    assert 900_000 < counts[1] < 1_300_000


@pytest.mark.parametrize(
    "targets",
    [
        pytest.param(make_targets([[8, 8, 40, 40], [30, 20, 60, 64]], [[0, 0, 64, 64]]), id="usual"),
        pytest.param(make_targets([], [[5, 5, 20, 30]]), id="one image without boxes"),
        pytest.param(make_targets([], []), id="no boxes at all"),
        pytest.param(make_targets([[10, 10, 10, 10]], [[3, 3, 4, 4]]), id="no area, and one pixel"),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_losses_and_gradients_are_finite(targets, dtype):
    detector = make_detector()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype is torch.bfloat16):
        losses = detector(torch.rand(2, 3, 64, 64), targets)
    assert set(losses) == {"loss_cls", "loss_box", "loss_l1"}
    assert all(value.dtype is torch.float32 and torch.isfinite(value) for value in losses.values())
    sum(losses.values()).backward()
    assert all(torch.isfinite(p.grad).all() for p in detector.parameters())


def test_one_batch_is_learned_by_heart():
    torch.manual_seed(0)
    detector = make_detector()
    optimizer = torch.optim.AdamW(detector.parameters(), lr=5e-3)
    images = torch.rand(2, 3, 64, 64)
    targets = make_targets([[8, 8, 40, 40]], [[20, 10, 60, 50]])
    for _ in range(60):
        total = sum(detector(images, targets).values())
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
    for module in detector.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        detector(images, targets)
        detections = detector.eval()(images)
    for found, target in zip(detections, targets, strict=True):
        assert found["labels"][0] == target["labels"][0]
        torch.testing.assert_close(found["boxes"][0], target["boxes"][0], atol=6.0, rtol=0)


def test_losses_of_two_ranks_average_to_that_of_the_whole_batch(monkeypatch):
    """Each half is divided by the mean of both halves' normalisers, as `mean_over_ranks` gives it."""
    sizes = [torch.Size((8, 8)), torch.Size((4, 4)), torch.Size((2, 2))]
    cells, strides = anchor_points(sizes, torch.device("cpu"))
    centers = (cells + 0.5) * strides
    truths = pad_targets(make_targets([[8, 8, 40, 40], [1, 1, 20, 20]], [[20, 10, 60, 50]]), torch.device("cpu"))
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, len(centers), 3, generator=generator)
    reach = torch.rand(2, len(centers), 2, generator=generator) * 20
    boxes = torch.cat((centers - reach, centers + reach), dim=2)

    def losses(rows, normalise):
        monkeypatch.setattr(yolo, "mean_over_ranks", normalise)
        part = GroundTruths(truths.boxes_BG4[rows], truths.labels_BG[rows], truths.is_real_BG[rows])
        return yolo.yolo_losses(logits[rows], boxes[rows], centers, strides, part, DenseClassLoss(None, FocalForm()))

    sums = []
    for rows in ([0], [1]):
        losses(rows, lambda value: sums.append(value) or value)
    mean = (sums[0] + sums[1]) / 2
    assert mean > 1
    first, second = losses([0], lambda value: mean), losses([1], lambda value: mean)
    whole = losses([0, 1], lambda value: value)
    for name, value in whole.items():
        torch.testing.assert_close((first[name] + second[name]) / 2, value)


def test_detections_keep_the_contract():
    detector = make_detector(score_threshold=0.0, max_detections=7).eval()
    with torch.no_grad():
        detections = detector(torch.rand(2, 3, 64, 96))
    assert len(detections) == 2
    for found in detections:
        assert found["boxes"].shape == (7, 4)
        assert found["labels"].dtype is torch.int64
        assert (found["scores"].diff() <= 0).all()
        assert (found["boxes"][:, 2:] > found["boxes"][:, :2]).all()


def test_nms_suppresses_within_a_class_only():
    boxes = torch.tensor([[[0.0, 0, 10, 10], [1, 0, 11, 10], [30, 30, 40, 40]]])
    scores = torch.tensor([[[0.9, 0.2], [0.8, 0.05], [0.0, 0.6]]])
    (found,) = select_detections(boxes, scores, **NMS)
    assert found["scores"].tolist() == pytest.approx([0.9, 0.6, 0.2])
    assert found["labels"].tolist() == [0, 1, 1]


@pytest.mark.parametrize("num_anchors", [pytest.param(0, id="no boxes"), pytest.param(5, id="all below the threshold")])
def test_nms_may_find_nothing(num_anchors):
    (found,) = select_detections(torch.zeros(1, num_anchors, 4), torch.zeros(1, num_anchors, 2), **NMS)
    assert found["boxes"].shape == (0, 4)
    assert found["scores"].shape == found["labels"].shape == (0,)


def test_nms_reports_no_more_than_asked():
    corners = torch.arange(20.0)[None, :, None] * 20
    boxes = torch.cat((corners, corners, corners + 10, corners + 10), dim=2)
    (found,) = select_detections(boxes, torch.linspace(0.2, 0.9, 20).view(1, 20, 1), **NMS)
    assert len(found["scores"]) == 10
    assert found["scores"][0].item() == pytest.approx(0.9)
