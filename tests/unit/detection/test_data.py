"""The detection data set: reproducible to the byte, whoever loads it and in whatever order."""

import pickle
import shutil
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from detection import data as data_module
from detection.data import DetectionDataset, collate
from detection.settings import AugmentSettings, DetectionSettings
from engine.task import SampleKey
from foundation.errors import DataError
from tests.fakes import make_record
from vision.file_stamp import stamps_of
from vision.record import Dataset

SIZE = (64, 64)
NUM_IMAGES = 6


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Six images of 60 x 90 pixels; image i has one bright box of class i, the last has none."""
    folder = tmp_path_factory.mktemp("images")
    records = []
    for index in range(NUM_IMAGES):
        image = np.random.default_rng(index).integers(0, 80, (60, 90, 3), dtype=np.uint8)
        box = [10 + 5 * index, 15, 40 + 5 * index, 45]
        boxes = [box] if index < NUM_IMAGES - 1 else []
        for x1, y1, x2, y2 in boxes:
            image[y1:y2, x1:x2] = 250
        path = folder / f"{index}.png"
        cv2.imwrite(str(path), image)
        records.append(make_record(index, boxes, [index] * len(boxes), image_size=(60, 90), path=path))
    return Dataset(tuple("abcdef"), tuple(records))


def build(dataset, *, train=True, seed=0, epochs=10, **settings):
    return DetectionDataset(
        dataset, DetectionSettings(image_size=SIZE, **settings), train=train, seed=seed, epochs=epochs
    )


def content(sample):
    return sample.image.tobytes(), sample.boxes.tobytes(), sample.labels.tobytes()


KEYS = [SampleKey(epoch, sample_id) for epoch in range(2) for sample_id in range(NUM_IMAGES)]


def test_types_and_shapes_of_a_training_sample(dataset):
    sample = build(dataset)[SampleKey(0, 0)]
    assert (sample.image.shape, sample.image.dtype) == ((3, *SIZE), np.uint8)
    assert sample.image.flags.c_contiguous
    assert (sample.boxes.dtype, sample.labels.dtype, sample.sample_id) == (np.float32, np.int64, 0)


@pytest.mark.parametrize("preset", ["none", "default", "strong"])
def test_a_key_gives_the_same_bytes_in_any_order_with_or_without_cache(dataset, preset):
    augment = AugmentSettings(preset=preset)
    forwards = build(dataset, augment=augment)
    backwards = build(dataset, augment=augment, cache="none")
    expected = {key: content(forwards[key]) for key in KEYS}
    assert {key: content(backwards[key]) for key in reversed(KEYS)} == expected
    assert {key: content(forwards[key]) for key in KEYS} == expected


@pytest.mark.parametrize("num_workers", [0, 2])
def test_loader_workers_change_nothing(dataset, num_workers):
    samples = build(dataset)
    batches = [KEYS[:4], KEYS[4:8], KEYS[8:]]
    loader = DataLoader(samples, batch_sampler=batches, collate_fn=collate, num_workers=num_workers)
    for keys, batch in zip(batches, loader, strict=True):
        expected = collate([build(dataset)[key] for key in keys])
        assert torch.equal(batch.images, expected.images)
        assert batch.sample_ids == tuple(key.sample_id for key in keys)
        for got, wanted in zip(batch.targets, expected.targets, strict=True):
            assert torch.equal(got["boxes"], wanted["boxes"]) and torch.equal(got["labels"], wanted["labels"])


def test_what_a_forked_worker_decodes_is_cached_for_all(dataset, monkeypatch):
    samples = build(dataset, augment=AugmentSettings(preset="none"))
    list(
        DataLoader(samples, batch_sampler=[KEYS[:6]], collate_fn=collate, num_workers=1, multiprocessing_context="fork")
    )
    monkeypatch.setattr(data_module, "read_image", _must_not_be_called)
    assert samples[KEYS[0]].image.any()


def _must_not_be_called(path):
    raise AssertionError(f"{path} was decoded again")


def test_warming_decodes_each_image_once(dataset, monkeypatch):
    samples = build(dataset)
    samples.warm()
    monkeypatch.setattr(data_module, "read_image", _must_not_be_called)
    assert len([samples[key] for key in KEYS]) == len(KEYS)


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(SampleKey(1, 0, 0), id="epoch"),
        pytest.param(SampleKey(0, 0, 1), id="occurrence"),
    ],
)
def test_another_key_gives_another_sample(dataset, other):
    samples = build(dataset)
    assert content(samples[SampleKey(0, 0, 0)]) != content(samples[other])


def test_another_seed_gives_another_sample(dataset):
    assert content(build(dataset, seed=0)[KEYS[0]]) != content(build(dataset, seed=1)[KEYS[0]])


def test_augmenting_leaves_the_cached_images_alone(dataset):
    plain = build(dataset, train=False)
    samples = build(dataset, augment=AugmentSettings(preset="strong", mosaic=1.0, mixup=1.0))
    for key in KEYS:
        samples[key]
    for index in range(NUM_IMAGES):
        np.testing.assert_array_equal(samples._image(index), plain._image(index))


def test_mosaic_and_mixup_are_off_in_the_last_part_of_the_epochs(dataset):
    augment = AugmentSettings(preset="none", mosaic=1.0, mosaic_scale=(0.5, 0.5), mixup=1.0, close_mosaic=0.2)
    samples = build(dataset, augment=augment, epochs=10)
    num_objects = [len(samples[SampleKey(epoch, 0)].labels) for epoch in range(10)]
    assert max(num_objects[:8]) > 2
    assert num_objects[8:] == [1, 1]


def test_evaluation_only_letterboxes_and_maps_back(dataset):
    samples = build(dataset, train=False)
    for record in dataset.records:
        sample = samples[SampleKey(0, record.sample_id)]
        np.testing.assert_allclose(sample.info.to_original(sample.boxes), record.boxes, atol=1e-3)
        assert content(sample) == content(samples[SampleKey(5, record.sample_id, 2)])
        if len(sample.boxes):
            ys, xs = np.nonzero(sample.image[0] > 165)
            on_pixels = [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
            np.testing.assert_allclose(sample.boxes[0], on_pixels, atol=1.5)


def test_crowds_are_not_trained_on(dataset):
    record = make_record(
        0, [[10, 15, 40, 45], [0, 0, 90, 60]], [1, 2], iscrowd=[False, True], image_size=(60, 90),
        path=dataset.records[0].path,
    )  # fmt: skip
    only_crowd = replace(record, sample_id=1, iscrowd=np.array([True, True]))
    samples = build(Dataset(("a", "b", "c"), (record, only_crowd)), augment=AugmentSettings(preset="none"))
    assert samples[SampleKey(0, 0)].labels.tolist() == [1]
    assert samples[SampleKey(0, 1)].boxes.shape == (0, 4)


def test_the_labels_of_a_sample_are_its_classes_by_sample_id(dataset):
    records = (
        make_record(1, [], []),
        make_record(
            0, [[0, 0, 9, 9], [5, 5, 20, 20], [5, 5, 30, 30], [1, 1, 8, 8]], [2, 0, 2, 1], iscrowd=[0, 0, 0, 1]
        ),
    )
    labels = DetectionDataset(
        Dataset(("a", "b", "c"), records), DetectionSettings(cache="none"), train=True, seed=0, epochs=1
    ).sample_labels()
    assert [present.tolist() for present in labels] == [[0, 2], []], "the crowd of class 1 is not trained on"


def test_a_batch_with_an_empty_image(dataset):
    samples = build(dataset, train=False)
    batch = collate([samples[SampleKey(0, index)] for index in (5, 0)])
    empty, full = batch.targets
    assert (empty["boxes"].shape, empty["boxes"].dtype) == ((0, 4), torch.float32)
    assert (empty["labels"].shape, empty["labels"].dtype) == ((0,), torch.int64)
    assert full["labels"].tolist() == [0]
    assert batch.images.shape == (2, 3, *SIZE) and batch.images.dtype == torch.uint8


@pytest.mark.parametrize("ids", [(0, 5, 1), (5,), (5, 5)], ids=["mixed", "one empty", "all empty"])
def test_moving_a_batch_to_a_device_or_another_process_keeps_everything(dataset, ids):
    samples = build(dataset, train=False)
    batch = collate([samples[SampleKey(0, index)] for index in ids])
    batch.share, batch.step_share, batch.step_key = 0.5, 0.25, 7
    for moved in (batch.to(torch.device("cpu"), non_blocking=True), pickle.loads(pickle.dumps(batch))):
        assert torch.equal(moved.images, batch.images)
        assert (moved.sample_ids, moved.infos) == (batch.sample_ids, batch.infos)
        assert (moved.share, moved.step_share, moved.step_key) == (0.5, 0.25, 7)
        for got, wanted in zip(moved.targets, batch.targets, strict=True):
            assert torch.equal(got["boxes"], wanted["boxes"]) and torch.equal(got["labels"], wanted["labels"])
    elsewhere = batch.to("meta")
    assert [target["boxes"].shape for target in elsewhere.targets] == [
        target["boxes"].shape for target in batch.targets
    ]
    assert elsewhere.targets[0]["boxes"].device.type == "meta"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="page-locked memory needs a GPU")
def test_a_pinned_batch_is_pinned_throughout(dataset):
    batch = collate([build(dataset)[key] for key in KEYS[:3]]).pin_memory()
    assert batch.images.is_pinned() and all(target["boxes"].is_pinned() for target in batch.targets)
    assert batch.to("cuda").targets[0]["labels"].is_cuda


def test_users_transforms_run_too(dataset):
    augment = AugmentSettings(preset="none", transforms=({"HorizontalFlip": {"p": 1.0}},))
    flipped, plain = build(dataset, augment=augment)[KEYS[0]], build(dataset, train=False)[KEYS[0]]
    np.testing.assert_array_equal(flipped.image, plain.image[:, :, ::-1])


def test_an_image_that_changed_its_size_is_refused(dataset):
    records = (replace(dataset.records[0], image_size=(90, 60)),)
    with pytest.raises(DataError, match=r"60x90 pixels .* but 90x60"):
        build(Dataset(("a",), records), train=False)[SampleKey(0, 0)]


def test_a_missing_image_is_named(dataset, tmp_path):
    records = (replace(dataset.records[0], path=tmp_path / "gone.png"),)
    with pytest.raises(DataError, match=r"gone\.png"):
        build(Dataset(("a",), records))[SampleKey(0, 0)]


def test_a_pickled_data_set_gives_the_same_bytes(dataset):
    augment = AugmentSettings(transforms=({"RandomBrightnessContrast": {"p": 1.0}},))
    samples = build(dataset, augment=augment)
    copy = pickle.loads(pickle.dumps(samples))
    assert [content(copy[key]) for key in KEYS] == [content(samples[key]) for key in KEYS]


@pytest.mark.parametrize("changed", ["image", "annotation"])
def test_a_file_changed_during_the_run_is_named_even_where_its_pixels_are_kept(dataset, tmp_path, changed):
    annotation = tmp_path / "annotation.xml"
    annotation.write_text("<annotation/>")
    paths = {"image": tmp_path / "image.png", "annotation": annotation}
    shutil.copy(dataset.records[1].path, paths["image"])
    record = replace(dataset.records[1], path=paths["image"], files=stamps_of(paths.values()))
    samples = build(replace(dataset, records=(record,)), train=False)
    samples.warm()
    samples[SampleKey(0, 1)]
    with paths[changed].open("ab") as file:
        file.write(b" ")
    with pytest.raises(DataError, match=f"{paths[changed].name} was changed while the run was going"):
        samples[SampleKey(1, 1)]


def test_the_cache_on_disk_gives_the_same_bytes_to_the_next_data_set(dataset, monkeypatch):
    expected = [content(build(dataset)[key]) for key in KEYS]
    assert [content(build(dataset, cache="disk")[key]) for key in KEYS] == expected
    monkeypatch.setattr(data_module, "read_image", _must_not_be_called)
    assert [content(build(dataset, cache="disk")[key]) for key in KEYS] == expected


def test_a_limit_without_a_cache_on_disk_is_refused():
    with pytest.raises(ValueError, match="cache_limit_gb has no effect with cache: memory"):
        DetectionSettings(cache_limit_gb=3.0)
