"""IoU and its generalisations: hand-computed values, gradients, degenerate boxes."""

import math

import pytest
import torch

from detection.box_losses import ciou, giou, iou, pairwise_iou

SQUARE = [0, 0, 2, 2]


@pytest.mark.parametrize(
    ("other", "expected_iou", "expected_giou", "expected_ciou"),
    [
        pytest.param([0, 0, 2, 2], 1, 1, 1, id="identical"),
        # Hull 3 x 2; centres 1 apart, diagonal squared 13; same shape.
        pytest.param([1, 0, 3, 2], 1 / 3, 1 / 3, 1 / 3 - 1 / 13, id="half shifted"),
        # Hull 4 x 2 is filled by the two; diagonal squared 20.
        pytest.param([2, 0, 4, 2], 0, 0, -4 / 20, id="touching edges"),
        # Hull 5 x 2 with a gap of 2; centres 3 apart, diagonal squared 29.
        pytest.param([3, 0, 5, 2], 0, -2 / 10, -9 / 29, id="apart"),
        pytest.param([1, 1, 1, 1], 0, 0, None, id="zero area inside gives zero, not nan"),
    ],
)
def test_values_against_a_two_pixel_square(other, expected_iou, expected_giou, expected_ciou):
    boxes, others = torch.tensor([SQUARE]).float(), torch.tensor([other]).float()
    assert iou(boxes, others).item() == pytest.approx(expected_iou, abs=1e-5)
    assert giou(boxes, others).item() == pytest.approx(expected_giou, abs=1e-5)
    if expected_ciou is not None:
        assert ciou(boxes, others).item() == pytest.approx(expected_ciou, abs=1e-5)


def test_ciou_charges_for_another_aspect_ratio():
    # A 2 x 2 square in the middle of a 4 x 2 box: same centre, IoU 1/2, angles atan(1) and atan(2).
    value = ciou(torch.tensor([[1.0, 0, 3, 2]]), torch.tensor([[0.0, 0, 4, 2]])).item()
    aspect = 4 / math.pi**2 * (math.atan(2) - math.atan(1)) ** 2
    assert value == pytest.approx(0.5 - aspect * aspect / (0.5 + aspect), abs=1e-5)


@pytest.mark.parametrize("measure", [iou, giou, ciou])
@pytest.mark.parametrize(
    "box",
    [
        pytest.param([0.0, 0, 2, 2], id="identical"),
        pytest.param([1.0, 1, 1, 1], id="zero area"),
        pytest.param([0.0, 0, 0, 0], id="all zero"),
        pytest.param([0.0, 0, 2, 0], id="no height"),
        pytest.param([1e6, 1e6, 2e6, 2e6], id="far and huge"),
    ],
)
def test_values_and_gradients_are_finite(measure, box):
    boxes = torch.tensor([box], requires_grad=True)
    value = measure(boxes, torch.tensor([[0.0, 0, 2, 2]]))
    value.sum().backward()
    assert torch.isfinite(value).all()
    assert torch.isfinite(boxes.grad).all()


@pytest.mark.parametrize("measure", [iou, giou, ciou])
def test_empty_input_gives_empty_output(measure):
    assert measure(torch.zeros(0, 4), torch.zeros(0, 4)).shape == (0,)


def test_pairwise_iou_is_the_iou_of_every_pair():
    generator = torch.Generator().manual_seed(0)
    boxes = torch.rand(2, 7, 4, generator=generator).cumsum(-1)
    gt_boxes = torch.rand(2, 3, 4, generator=generator).cumsum(-1)
    matrix = pairwise_iou(boxes, gt_boxes)
    for image in range(2):
        for g in range(3):
            torch.testing.assert_close(matrix[image, g], iou(boxes[image], gt_boxes[image, g].expand(7, 4)))
