"""Outlines as COCO writes them: drawn as masks, and found again for the boxes they belong to."""

import numpy as np
import pytest
from pycocotools import mask as oracle

from vision.formats import read_dataset
from vision.formats.outlines import read_outlines
from vision.outlines import counts_from_text, mask_from_outline
from vision.scenes.reader import read_masks
from vision.scenes.rle import rle_from_mask
from vision.settings import ScenesData, VocData

SIZE = (20, 30)


def blobs(seed):
    rng = np.random.default_rng(seed)
    return rng.random(SIZE) < rng.uniform(0.02, 0.98)


@pytest.mark.parametrize("seed", range(6))
def test_compressed_runs_are_decoded_as_the_reference_encodes_them(seed):
    mask = blobs(seed)
    text = oracle.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()
    assert counts_from_text(text) == rle_from_mask(mask)["counts"]
    np.testing.assert_array_equal(mask_from_outline({"size": list(SIZE), "counts": text}, SIZE, SIZE), mask)


def test_text_that_ends_within_a_number_is_refused():
    with pytest.raises(ValueError, match="end within a number"):
        counts_from_text("o")


@pytest.mark.parametrize(
    ("outline", "expected"),
    [
        pytest.param([[3, 2, 9, 2, 9, 8, 3, 8]], [3, 2, 9, 8], id="a rectangle"),
        pytest.param([[3, 2, 9, 2, 9, 8, 3, 8], [15, 2, 20, 2, 20, 5]], [3, 2, 20, 8], id="two parts"),
    ],
)
def test_polygons_by_hand(outline, expected):
    ys, xs = np.nonzero(mask_from_outline(outline, SIZE, SIZE))
    assert np.abs(np.array([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]) - expected).max() <= 1


@pytest.mark.parametrize("kind", ["polygon", "runs"])
def test_an_outline_follows_its_image_when_it_is_resized(kind):
    mask = np.zeros(SIZE, bool)
    mask[4:16, 6:24] = True
    outline = [[6, 4, 24, 4, 24, 16, 6, 16]] if kind == "polygon" else rle_from_mask(mask)
    ys, xs = np.nonzero(mask_from_outline(outline, SIZE, (10, 15)))
    assert np.abs(np.array([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]) - [3, 2, 12, 8]).max() <= 1


@pytest.mark.parametrize("outline", [[[1, 2, 3, 4]], [[1, 2, 3, 4, 5, 6, 7]], {"size": [2, 2], "counts": [3]}])
def test_what_is_no_outline_is_refused(outline):
    with pytest.raises(ValueError, match=r"polygon|runs cover"):
        mask_from_outline(outline, SIZE, SIZE)


CATEGORIES = [{"id": 1, "name": "cell"}]
IMAGES = [{"id": 5, "file_name": "a.jpg", "height": 40, "width": 60}, {"id": 7, "file_name": "b.jpg"}]


def annotation(box, **keys):
    return {"id": 1, "image_id": 7, "category_id": 1, "bbox": box, **keys}


def test_coco_outlines_are_found_by_the_boxes_that_were_kept(coco):
    polygon = [[1, 1, 9, 1, 9, 9]]
    data = coco(
        [
            annotation([4, 4, 0, 3], segmentation=polygon),
            annotation([10, 10, 5, 5]),
            annotation([30, 30, 100, 5], segmentation=[[30, 30, 60, 30, 60, 35]]),
            annotation([1.25, 1, 8, 8], segmentation=polygon),
        ],
        IMAGES,
        CATEGORIES,
        on_error="quarantine",
    )
    records = read_dataset(data, "train").records
    index = [record.name for record in records].index("b")
    rows = {tuple(box.tolist()): row for row, box in enumerate(records[index].boxes)}
    everything = [np.ones(len(record.boxes), bool) for record in records]
    found = read_outlines(data, "train", records, everything)
    assert found[1 - index] == {}
    assert found[index][rows[1.25, 1, 9.25, 9]] == polygon
    assert rows[10, 10, 15, 15] not in found[index]
    none = [np.zeros(len(record.boxes), bool) for record in records]
    assert read_outlines(data, "train", records, none) == [{}, {}]


def test_outlines_of_scenes_are_their_masks(tmp_path):
    scenes = ScenesData(root=tmp_path, num_images=4, image_size=(96, 96))
    records = read_dataset(scenes, "train").records[:3]
    found = read_outlines(scenes, "train", records, [np.ones(len(record.boxes), bool) for record in records])
    for record, outlines in zip(records, found, strict=True):
        masks = read_masks(scenes, "train", record.sample_id)
        assert sorted(outlines) == list(range(len(masks)))
        for row, mask in enumerate(masks):
            drawn = mask_from_outline(outlines[row], record.image_size, record.image_size)
            np.testing.assert_array_equal(drawn, mask)


def test_a_format_without_outlines_has_none(tmp_path):
    assert read_outlines(VocData(format="voc", root=tmp_path), "train", [], []) is None
