import numpy as np
import pytest

from vision.boxes import (
    box_area,
    box_iou,
    clip_boxes,
    cxcywh_to_xyxy,
    xywh_to_xyxy,
    xyxy_to_cxcywh,
    xyxy_to_xywh,
)


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        pytest.param([1, 2, 4, 6], 12, id="three by four"),
        pytest.param([1, 1, 1, 5], 0, id="no width"),
        pytest.param([4, 6, 1, 2], 0, id="swapped corners are no area, not a positive one"),
    ],
)
def test_box_area(box, expected):
    assert box_area(np.array([box], np.float32)).tolist() == [expected]


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        pytest.param([0, 0, 2, 2], 1.0, id="identical"),
        pytest.param([1, 0, 3, 2], 1 / 3, id="half shifted"),
        pytest.param([2, 0, 4, 2], 0.0, id="touching edges"),
        pytest.param([1, 1, 1, 1], 0.0, id="zero area gives zero, not nan"),
        pytest.param([3, 3, 5, 5], 0.0, id="apart in both directions"),
    ],
)
def test_box_iou_against_a_two_pixel_square(other, expected):
    iou = box_iou(np.array([[0, 0, 2, 2]], np.float32), np.array([other], np.float32))
    assert iou.dtype == np.float32
    assert iou == pytest.approx(np.array([[expected]]))


def test_two_boxes_without_area_have_no_iou():
    point = np.array([[1, 1, 1, 1]], np.float32)
    assert box_iou(point, point).tolist() == [[0.0]]


def test_box_iou_equals_a_slow_loop():
    rng = np.random.default_rng(0)
    boxes, others = (np.sort(rng.uniform(0, 9, (n, 2, 2)), axis=1).reshape(n, 4) for n in (5, 7))

    def slow(a, b):
        width = max(0, min(a[2], b[2]) - max(a[0], b[0]))
        height = max(0, min(a[3], b[3]) - max(a[1], b[1]))
        both = width * height
        return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)

    assert box_iou(boxes, others) == pytest.approx(np.array([[slow(a, b) for b in others] for a in boxes]))


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        pytest.param([1, 1, 3, 3], [1, 1, 3, 3], id="inside stays"),
        pytest.param([-5, -1, 99, 50], [0, 0, 6, 4], id="cut at all edges; size is height, width"),
        pytest.param([7, 5, 9, 9], [6, 4, 6, 4], id="outside loses its area"),
    ],
)
def test_clip_boxes_to_an_image_of_height_4_and_width_6(box, expected):
    boxes = np.array([box], np.float32)
    assert clip_boxes(boxes, (4, 6)).tolist() == [expected]
    assert boxes.tolist() == [box]


def test_conversions_worked_out_by_hand():
    corners = np.array([[1, 2, 5, 10]], np.float32)
    assert xyxy_to_xywh(corners).tolist() == [[1, 2, 4, 8]]
    assert xyxy_to_cxcywh(corners).tolist() == [[3, 6, 4, 8]]


@pytest.mark.parametrize(("there", "back"), [(xyxy_to_xywh, xywh_to_xyxy), (xyxy_to_cxcywh, cxcywh_to_xyxy)])
def test_conversions_are_undone_by_their_inverse(there, back):
    corners = np.array([[1, 2, 5, 10], [0, 0, 0, 0]], np.float32)
    assert back(there(corners)).tolist() == corners.tolist()
    assert there(corners).dtype == np.float32


@pytest.mark.parametrize("function", [box_area, xyxy_to_xywh, xywh_to_xyxy, xyxy_to_cxcywh, cxcywh_to_xyxy])
def test_empty_input_gives_empty_output(function):
    assert len(function(np.zeros((0, 4), np.float32))) == 0


def test_no_boxes_have_an_empty_iou():
    assert box_iou(np.zeros((0, 4)), np.ones((3, 4))).shape == (0, 3)


def test_integers_do_not_overflow_or_truncate():
    assert xyxy_to_cxcywh(np.array([[0, 0, 3, 3]])).tolist() == [[1.5, 1.5, 3, 3]]


def test_wrong_shape_is_refused():
    with pytest.raises(ValueError, match=r"must be \(\.\.\., 4\), got \(2, 3\)"):
        box_area(np.zeros((2, 3)))
