"""The classification data set: reproducible to the byte, whoever loads it and in whatever order."""

import pickle
import time
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from classification.data import ClassificationDataset, collate, evaluation_fitting, training_fitting
from classification.preview import preview_sheet
from classification.settings import ClassificationSettings, ViewSettings
from engine.task import SampleKey
from foundation.errors import DataError
from vision import images
from vision.augment.classify.presets import PRESETS
from vision.augment.classify.settings import AugmentSettings
from vision.formats.labels import read_labels
from vision.record import LabelledDataset, LabelledImage
from vision.settings import DigitsData, ImageFolderData

SIZE = (32, 32)
NUM_IMAGES = 6


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Six images of 40 x 50 pixels, class i darker than class i + 1; the last is a part of an image."""
    folder = tmp_path_factory.mktemp("images")
    records = []
    for index in range(NUM_IMAGES):
        image = np.random.default_rng(index).integers(30 * index, 30 * index + 60, (40, 50, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / f"{index}.png"), image)
        box = (5, 5, 45, 37) if index == NUM_IMAGES - 1 else None
        records.append(LabelledImage(index, f"image-{index}", folder / f"{index}.png", (40, 50), index, box))
    return LabelledDataset(tuple("abcdef"), tuple(records))


def build(dataset, *, train=True, seed=0, epochs=10, **settings):
    settings.setdefault("image_size", SIZE)
    return ClassificationDataset(dataset, ClassificationSettings(**settings), train=train, seed=seed, epochs=epochs)


def content(sample):
    return sample.image.tobytes(), sample.label, sample.other_label, sample.mix, sample.sample_id


KEYS = [SampleKey(epoch, sample_id) for epoch in range(2) for sample_id in range(NUM_IMAGES)]
EVERYTHING = AugmentSettings(
    preset="strong", rotate=20.0, scale=(0.8, 1.2), hue=0.1, pca_colour=0.1, noise=0.05, close_mixing=0.0
)


def test_types_and_shapes_of_a_training_sample(dataset):
    sample = build(dataset, augment=EVERYTHING)[SampleKey(0, 0)]
    assert (sample.image.shape, sample.image.dtype) == ((3, *SIZE), np.uint8)
    assert sample.image.flags.c_contiguous
    assert (sample.label, sample.sample_id) == (0, 0)


@pytest.mark.parametrize("augment", [EVERYTHING, *({"preset": name} for name in PRESETS if name != "alexnet")])
def test_a_key_gives_the_same_bytes_in_any_order_with_or_without_cache(dataset, augment):
    forwards, backwards = build(dataset, augment=augment), build(dataset, augment=augment, cache="none")
    expected = {key: content(forwards[key]) for key in KEYS}
    assert {key: content(backwards[key]) for key in reversed(KEYS)} == expected
    assert {key: content(forwards[key]) for key in KEYS} == expected


@pytest.mark.parametrize("num_workers", [0, 2])
def test_loader_workers_change_nothing(dataset, num_workers):
    batches = [KEYS[:4], KEYS[4:8], KEYS[8:]]
    loader = DataLoader(
        build(dataset, augment=EVERYTHING), batch_sampler=batches, collate_fn=collate, num_workers=num_workers
    )
    for keys, batch in zip(batches, loader, strict=True):
        expected = collate([build(dataset, augment=EVERYTHING)[key] for key in keys])
        for name in ("images", "labels", "other_labels", "mix"):
            assert torch.equal(getattr(batch, name), getattr(expected, name))
        assert batch.sample_ids == tuple(key.sample_id for key in keys)


@pytest.mark.parametrize("other", [SampleKey(1, 0, 0), SampleKey(0, 0, 1)], ids=["epoch", "occurrence"])
def test_another_key_or_seed_gives_another_sample(dataset, other):
    samples = build(dataset, augment=EVERYTHING)
    assert content(samples[SampleKey(0, 0, 0)]) != content(samples[other])
    assert content(samples[KEYS[0]]) != content(build(dataset, augment=EVERYTHING, seed=1)[KEYS[0]])


def test_augmenting_leaves_the_cached_images_alone(dataset):
    samples = build(dataset, augment=AugmentSettings(preset="strong", erasing=1.0, crop="none"))
    before = [samples._image(index).copy() for index in range(NUM_IMAGES)]
    for key in KEYS:
        samples[key]
    np.testing.assert_array_equal(before, [samples._image(index) for index in range(NUM_IMAGES)])


def test_warming_decodes_each_image_once(dataset, monkeypatch):
    samples = build(dataset)
    samples.warm()
    monkeypatch.setattr(images, "read_image", lambda path: pytest.fail(f"{path} was decoded again"))
    assert len([samples[key] for key in KEYS]) == len(KEYS)


def test_mixing_names_both_classes_and_ends_before_the_last_epochs(dataset):
    augment = AugmentSettings(preset="none", mixup=1.0, close_mixing=0.2)
    samples = build(dataset, augment=augment, epochs=10)
    mixed = [samples[SampleKey(epoch, 3)] for epoch in range(8)]
    assert all(sample.label == 3 and 0 <= sample.mix <= 1 for sample in mixed)
    assert {sample.other_label for sample in mixed} > {3} and min(sample.mix for sample in mixed) < 0.5
    last = [samples[SampleKey(epoch, 3)] for epoch in (8, 9)]
    assert [(sample.other_label, sample.mix) for sample in last] == [(3, 1.0)] * 2


def test_labels_by_sample_id(dataset):
    turned = replace(dataset, records=dataset.records[::-1])
    assert [labels.tolist() for labels in build(turned).sample_labels()] == [[index] for index in range(NUM_IMAGES)]


def test_evaluation_shows_the_centre_and_never_changes(dataset):
    samples = build(dataset, train=False, image_size=(40, 40))
    sample = samples[SampleKey(0, 2)]
    original = images.read_image(dataset.records[2].path)
    np.testing.assert_array_equal(sample.image, original[:, 5:45].transpose(2, 0, 1))
    assert content(sample) == content(samples[SampleKey(7, 2, 3)])
    assert (sample.label, sample.other_label, sample.mix) == (2, 2, 1.0)


def test_only_the_part_within_the_box_is_shown(dataset):
    sample = build(dataset, train=False, resize="squash", image_size=(32, 40))[SampleKey(0, 5)]
    original = images.read_image(dataset.records[5].path)
    np.testing.assert_array_equal(sample.image, original[5:37, 5:45].transpose(2, 0, 1))


@pytest.mark.parametrize(
    ("settings", "evaluated", "trained"),
    [
        pytest.param({"image_size": (224, 224)}, (256, 256), (256, 256), id="as published"),
        pytest.param({"image_size": (32, 32)}, (32, 32), (32, 32), id="small images whole"),
        pytest.param({"image_size": (32, 32), "resize_size": 40}, (40, 40), (40, 40), id="given"),
        pytest.param({"image_size": (224, 112)}, (256, 128), (256, 128), id="not square"),
        pytest.param({"image_size": (224, 224), "resize": "squash"}, (224, 224), (224, 224), id="squashed"),
        pytest.param(
            {"image_size": (224, 224), "resize": "letterbox", "augment": {"preset": "alexnet"}},
            (224, 224), (256, 256), id="windows are cut out of a larger image",
        ),
    ],
)  # fmt: skip
def test_sizes_that_images_are_kept_at(settings, evaluated, trained):
    settings = ClassificationSettings(**settings)
    assert evaluation_fitting(settings).base_size == evaluated
    assert training_fitting(settings).base_size == trained
    assert training_fitting(settings).image_size == settings.image_size


def test_ten_crops_are_cut_out_of_the_larger_image():
    fitting = evaluation_fitting(ClassificationSettings(image_size=(224, 224), test_time=ViewSettings(crops="ten")))
    assert (fitting.image_size, fitting.base_size) == ((256, 256), (256, 256))


def test_windows_without_room_would_have_no_effect():
    with pytest.raises(ValueError, match="leaves no room"):
        ClassificationSettings(image_size=(32, 32), augment=AugmentSettings(preset="alexnet"))


def test_moving_a_batch_keeps_everything(dataset):
    batch = collate([build(dataset, augment=EVERYTHING)[key] for key in KEYS[:3]])
    assert (batch.images.dtype, batch.labels.dtype, batch.mix.dtype) == (torch.uint8, torch.int64, torch.float32)
    batch.share, batch.step_share, batch.step_key = 0.5, 0.25, 7
    moved = batch.to(torch.device("cpu"))
    assert (moved.sample_ids, moved.share, moved.step_share, moved.step_key) == ((0, 1, 2), 0.5, 0.25, 7)
    assert torch.equal(moved.images, batch.images) and torch.equal(moved.mix, batch.mix)
    assert batch.to("meta").other_labels.device.type == "meta"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="page-locked memory needs a GPU")
def test_a_pinned_batch_is_pinned_throughout(dataset):
    batch = collate([build(dataset)[key] for key in KEYS[:3]]).pin_memory()
    assert batch.images.is_pinned() and batch.labels.is_pinned() and batch.mix.is_pinned()


def test_a_pickled_data_set_gives_the_same_bytes(dataset):
    augment = AugmentSettings(transforms=({"RandomBrightnessContrast": {"p": 1.0}},), pca_colour=0.1)
    samples = build(dataset, augment=augment)
    copy = pickle.loads(pickle.dumps(samples))
    assert [content(copy[key]) for key in KEYS] == [content(samples[key]) for key in KEYS]


def test_an_image_that_changed_its_size_is_refused(dataset):
    records = (replace(dataset.records[0], image_size=(50, 40)),)
    with pytest.raises(DataError, match=r"40x50 pixels .* but 50x40"):
        build(LabelledDataset(("a",), records), train=False)[SampleKey(0, 0)]


def test_the_preview_shows_samples_with_their_classes(tmp_path):
    settings = ClassificationSettings(image_size=(16, 16), augment=AugmentSettings(preset="strong"))
    data = DigitsData(root=tmp_path)
    sheet = preview_sheet(data, "val", settings, seed=0, count=6)
    assert sheet.shape[0] > 2 * 160 and sheet.shape[1] > 4 * 160 and sheet.dtype == np.uint8
    np.testing.assert_array_equal(sheet, preview_sheet(data, "val", settings, seed=0, count=6))
    assert not np.array_equal(sheet, preview_sheet(data, "val", settings, seed=1, count=6))


@pytest.mark.real_data
def test_thousands_of_small_images_a_second(shared_data):
    dataset = read_labels(ImageFolderData(root=shared_data / "cifar10-small", val_from_train=0.1), "val")
    samples = build(dataset, augment=AugmentSettings(preset="small"))
    samples.warm()
    start = time.process_time()
    for epoch in range(5):
        collate([samples[SampleKey(epoch, record.sample_id)] for record in dataset.records])
    assert 5 * len(dataset.records) / (time.process_time() - start) > 5000
