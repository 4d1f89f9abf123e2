"""Decoded images in memory and on disk: who shares them, who pays, and what happens where there is no room."""

import multiprocessing
import os
import pickle
import subprocess
import sys
import tempfile
from collections import deque
from multiprocessing.context import set_spawning_popen
from types import SimpleNamespace

import numpy as np
import pytest

from vision.augment import cache as cache_module
from vision.augment import disk_files, shared_memory
from vision.augment.cache import FittedImages, ImageCache, open_cache, size_of, through_cache

SHAPES = [(2, 3), (4, 5)]
IMAGE = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("ORCHESTRATOR_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    monkeypatch.setattr(cache_module, "_remembered", deque(maxlen=0))
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # where processes find each other: not those of other runs
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path / "cache" / "images"


@pytest.fixture
def images(tmp_path, folder):
    paths = [tmp_path / "a.jpg", tmp_path / "b.jpg"]
    for path in paths:
        path.write_bytes(path.name.encode() + bytes(1000))
    return FittedImages(paths, SHAPES, "as they are")


def opened(images, mode="disk", **keys):
    cache, said = open_cache(images, mode, **keys)
    assert said is None
    return cache


def test_cache_gives_back_what_was_put_and_nothing_else():
    cache = ImageCache(SHAPES)
    cache.put(1, IMAGE)
    assert cache.get(0) is None
    np.testing.assert_array_equal(cache.get(1), IMAGE)
    with pytest.raises(ValueError, match="read-only"):
        cache.get(1)[0] = 0


def test_an_image_is_read_once_and_every_time_without_a_cache():
    cache, reads = ImageCache(SHAPES), []
    for given in (cache, cache, None, None):
        np.testing.assert_array_equal(through_cache(given, 1, lambda: reads.append(1) or IMAGE), IMAGE)
    assert len(reads) == 3


def test_a_pickled_cache_arrives_empty():
    cache = ImageCache(SHAPES)
    cache.put(1, IMAGE)
    assert pickle.loads(pickle.dumps(cache)).get(1) is None


def test_a_spawned_worker_shares_the_cache():
    cache = ImageCache(SHAPES)
    cache.put(0, np.ones((2, 3, 3), np.uint8))
    set_spawning_popen(SimpleNamespace(duplicate_for_child=os.dup, DupFd=_Duplicate))
    try:
        content = pickle.dumps(cache)
    finally:
        set_spawning_popen(None)
    child = pickle.loads(content)
    assert child.get(0).sum() == 18
    child.put(1, IMAGE)
    np.testing.assert_array_equal(cache.get(1), IMAGE)


class _Duplicate:
    """What a spawning process makes of a descriptor, without the second process."""

    def __init__(self, descriptor):
        self.descriptor = descriptor

    def detach(self):
        return os.dup(self.descriptor)


@pytest.mark.parametrize("mode", ["memory", "disk"])
def test_who_asks_for_the_same_images_gets_the_same_pixels(images, mode):
    first, second = opened(images, mode), opened(images, mode)
    first.put(1, IMAGE)
    np.testing.assert_array_equal(second.get(1), IMAGE)


@pytest.mark.parametrize(
    "other",
    [
        pytest.param({"fitting": "squashed"}, id="fitting"),
        pytest.param({"shapes": [(2, 3), (5, 4)]}, id="shape of the same size"),
        pytest.param({"crops": [None, (0, 0, 4, 5)]}, id="crop"),
    ],
)
@pytest.mark.parametrize("mode", ["memory", "disk"])
def test_other_images_share_nothing(images, mode, other):
    first = opened(images, mode)
    first.put(1, IMAGE)
    keys = {"paths": images.paths, "shapes": SHAPES, "fitting": images.fitting}
    assert opened(FittedImages(**keys | other), mode).get(1) is None


@pytest.mark.parametrize("mode", ["memory", "disk"])
def test_a_changed_file_is_another_image(images, mode):
    first = opened(images, mode)
    first.put(1, IMAGE)
    images.paths[0].write_bytes(b"other content")
    assert opened(images, mode).get(1) is None


def test_memory_goes_with_its_last_process(images):
    first = opened(images, "memory")
    second = opened(images, "memory")
    first.put(1, IMAGE)
    del first
    assert second.get(1) is not None
    del second
    assert opened(images, "memory").get(1) is None


def test_a_process_remembers_its_last_data_sets_until_the_room_is_needed(images, monkeypatch):
    monkeypatch.setattr(cache_module, "_remembered", deque(maxlen=cache_module.NUM_REMEMBERED))
    monkeypatch.setattr(shared_memory, "free_memory", lambda: 20_000_000)
    opened(images, "memory").put(1, IMAGE)
    assert opened(images, "memory").get(1) is not None
    large = [FittedImages(images.paths, [(1000, 2000), (500, 100)], way) for way in ("one", "other")]
    for each in large:
        opened(each, "memory")
    assert opened(images, "memory").get(1) is None


def _fill_and_stay(images, index, connection):
    connection.recv()
    cache = opened(images, "memory")
    cache.put(index, np.full((*SHAPES[index], 3), index + 1, np.uint8))
    connection.send("filled")
    connection.recv()


def test_processes_that_start_at_once_share_one_memory(images):
    context = multiprocessing.get_context("fork")
    pipes = [context.Pipe() for _ in SHAPES]
    workers = [
        context.Process(target=_fill_and_stay, args=(images, index, theirs), daemon=True)
        for index, (_, theirs) in enumerate(pipes)
    ]
    for worker in workers:
        worker.start()
    for ours, _ in pipes:
        ours.send("begin")
    assert all(ours.poll(20) and ours.recv() == "filled" for ours, _ in pipes)
    cache = opened(images, "memory")
    assert [cache.get(index).max() for index in range(2)] == [1, 2]
    workers[0].kill()  # even a killed one takes nothing away, and leaves nothing behind
    pipes[1][0].send("end")
    for worker in workers:
        worker.join(20)
    assert opened(images, "memory").get(0).max() == 1
    del cache
    assert opened(images, "memory").get(0) is None


def test_pixels_on_disk_outlive_the_process_and_are_the_content_not_the_place(images, tmp_path):
    cache = opened(images)
    cache.put(1, IMAGE)
    del cache
    moved = [path.rename(tmp_path / f"moved-{path.name}") for path in images.paths]
    again = opened(FittedImages(moved, SHAPES, images.fitting))
    np.testing.assert_array_equal(again.get(1), IMAGE)


def test_a_slot_that_lost_its_bytes_is_read_again(images, folder):
    cache = opened(images)
    cache.put(1, IMAGE)
    del cache
    (path,) = folder.glob("*.pixels")
    content = bytearray(path.read_bytes())
    content[-10] ^= 1
    path.write_bytes(content)
    again = opened(images)
    assert again.get(1) is None
    np.testing.assert_array_equal(through_cache(again, 1, lambda: IMAGE), IMAGE)
    np.testing.assert_array_equal(again.get(1), IMAGE)


def test_a_file_of_the_wrong_size_is_made_anew(images, folder):
    del_me = opened(images)
    del del_me
    (path,) = folder.glob("*.pixels")
    path.write_bytes(b"cut off")
    assert opened(images).get(0) is None
    assert path.stat().st_size == size_of(SHAPES)


def test_the_file_used_longest_ago_goes_first_and_never_one_in_use(folder):
    def make(name, size=400):
        return disk_files.shared_disk_file(name, size, limit_gb=1000 / 1e9)

    in_use, old, new = make("in use", 200), make("old"), make("new")
    for age, name in enumerate(("new", "old", "in use")):
        os.utime(folder / f"{name}.pixels", (1e9 - age, 1e9 - age))
    os.close(old)
    os.close(new)
    make("newest")
    assert {path.stem for path in folder.glob("*.pixels")} == {"in use", "new", "newest"}
    with pytest.raises(OSError, match="files in use take"):
        make("too large", 500)
    os.close(in_use)


def test_what_a_killed_process_left_half_made_is_cleaned_up(folder):
    folder.mkdir(parents=True)
    (folder / ".tmp-dead.pixels").write_bytes(bytes(100))
    disk_files.shared_disk_file("alive", 10, limit_gb=1)
    assert not list(folder.glob(".tmp-*"))


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        pytest.param(lambda folder: folder.parent.write_text("a file"), "Not a directory", id="no folder"),
        pytest.param(lambda folder: None, "`cache_limit_gb` is 1e-08", id="limit too low"),
    ],
)
def test_without_a_place_on_disk_memory_is_used_and_said(images, folder, spoil, reason, caplog):
    spoil(folder)
    cache, said = open_cache(images, "disk", limit_gb=1e-8)
    cache.put(1, IMAGE)
    assert reason in said and "Images are kept in memory instead" in said and str(folder) in said
    assert said in caplog.text


def test_it_is_said_once_however_often_the_images_are_opened(images, folder, caplog):
    folder.parent.write_text("a file")
    (_, first), (_, second) = open_cache(images, "disk"), open_cache(images, "disk")
    assert first == second and caplog.text.count("Not a directory") == 1


def test_a_full_disk_falls_back_and_leaves_no_half_file(images, folder, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(disk_files, "_take_space", full)
    cache, said = open_cache(images, "disk")
    assert cache is not None and "No space left on device" in said
    assert [path.name for path in folder.iterdir()] == [".lock"]


def test_too_little_memory_is_said_not_hidden(images, monkeypatch, caplog):
    monkeypatch.setattr(shared_memory, "free_memory", lambda: size_of(SHAPES) * 2 - 2)
    cache, said = open_cache(images, "memory")
    assert cache is None
    assert "Images are not kept in memory, and every epoch decodes them again: for 2 images" in said
    assert said in caplog.text
    assert open_cache(images, "none") == (None, None)


def test_who_joins_needs_no_further_memory_and_promised_memory_counts(images, monkeypatch):
    monkeypatch.setattr(shared_memory, "free_memory", lambda: 2_000_000)
    first = opened(images, "memory")
    first.put(1, IMAGE)
    monkeypatch.setattr(shared_memory, "free_memory", lambda: 0)
    assert opened(images, "memory").get(1) is not None
    monkeypatch.setattr(shared_memory, "free_memory", lambda: 20_000_000)
    big = FittedImages(images.paths, [(1000, 1500), (1000, 1500)], "large")
    promised = opened(big, "memory")
    other = FittedImages(images.paths, [(1000, 1500), (1000, 1500)], "another way")
    assert open_cache(other, "memory")[0] is None
    del promised
    assert open_cache(other, "memory")[0] is not None


def test_an_empty_data_set_has_an_empty_cache(folder):
    for mode in ("memory", "disk"):
        assert opened(FittedImages([], [], ""), mode) is not None


SURVIVOR = """
import sys
from pathlib import Path
import numpy as np
from vision.augment.cache import FittedImages, open_cache
cache, _ = open_cache(FittedImages([Path(p) for p in sys.argv[2:]], [(2, 3), (4, 5)], "as they are"), sys.argv[1])
image = cache.get(1)
print(-1 if image is None else int(image.sum()))
"""


@pytest.mark.parametrize("mode", ["memory", "disk"])
def test_a_process_of_its_own_finds_the_pixels(images, mode):
    cache = opened(images, mode)
    cache.put(1, IMAGE)
    command = [sys.executable, "-c", SURVIVOR, mode, *map(str, images.paths)]
    found = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert int(found.stdout) == IMAGE.sum()
