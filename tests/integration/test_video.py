"""Video through the real ffmpeg: frames come back, broken files speak plainly, strange names are only names."""

from pathlib import Path

import ffmpeg
import numpy as np
import pytest

from foundation.errors import DataError
from vision.scenes import ensure_video
from vision.settings import ScenesData
from vision.video import VideoInfo, ffmpeg_path, read_video, video_info, write_video

pytestmark = pytest.mark.integration


def _frames(num: int, height: int = 48, width: int = 64) -> list[np.ndarray]:
    """Uniform frames of rising brightness: they survive H.264 nearly unchanged."""
    return [np.full((height, width, 3), 20 + 8 * index, np.uint8) for index in range(num)]


@pytest.mark.parametrize(("ending", "fps"), [(".mp4", 12.5), (".mkv", 25), (".mov", 60), (".mp4", 0.25)])
def test_written_frames_come_back_in_order(tmp_path, ending, fps):
    path = tmp_path / f"clip{ending}"
    write_video(path, _frames(12), fps)
    assert video_info(path) == VideoInfo(fps=fps, image_size=(48, 64), num_frames=12)
    frames = list(read_video(path))
    assert [frame.shape for frame in frames] == [(48, 64, 3)] * 12
    brightness = [float(frame.mean()) for frame in frames]
    np.testing.assert_allclose(brightness, [20 + 8 * index for index in range(12)], atol=3)
    assert [item.name for item in tmp_path.iterdir()] == [path.name]


def test_colours_are_rgb(tmp_path):
    red = np.zeros((32, 32, 3), np.uint8)
    red[..., 0] = 200
    write_video(tmp_path / "red.mp4", [red] * 3, fps=25)
    pixel = next(read_video(tmp_path / "red.mp4"))[16, 16]
    assert pixel[0] > 180 and pixel[1] < 30 and pixel[2] < 30


def test_an_odd_size_gets_one_black_row_and_column(tmp_path):
    write_video(tmp_path / "odd.mp4", _frames(2, height=31, width=33), fps=25)
    assert video_info(tmp_path / "odd.mp4").image_size == (32, 34)


def test_a_varying_frame_rate_neither_repeats_nor_drops_frames(tmp_path):
    write_video(tmp_path / "even.mp4", _frames(28), fps=25)
    picked = ffmpeg.input(str(tmp_path / "even.mp4")).filter("select", "lt(mod(n,7),3)")
    picked.output(str(tmp_path / "uneven.mkv"), vcodec="libx264", fps_mode="passthrough").run(
        cmd=ffmpeg_path(), quiet=True
    )
    assert len(list(read_video(tmp_path / "uneven.mkv"))) == 12 == video_info(tmp_path / "uneven.mkv").num_frames


@pytest.mark.parametrize("name", ["-vf.mp4", "a:b.mp4", "http:x.mp4", "with space %03d 'quote'.mp4", "ä.mp4"])
def test_strange_names_are_only_names(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    write_video(name, _frames(3), fps=25)
    assert len(list(read_video(name))) == 3
    assert video_info(Path(name)).num_frames == 3


def test_a_reader_that_stops_early_leaves_no_process(tmp_path):
    write_video(tmp_path / "clip.mp4", _frames(12, 240, 320), fps=25)
    reader = read_video(tmp_path / "clip.mp4")
    next(reader)
    reader.close()


@pytest.mark.parametrize("read", [lambda path: list(read_video(path)), video_info], ids=["read", "info"])
@pytest.mark.parametrize(
    ("content", "said"),
    [
        pytest.param(None, "does not exist", id="missing"),
        pytest.param(b"", "ffmpeg says", id="empty"),
        pytest.param(b"no video at all" * 100, "ffmpeg says", id="text"),
        pytest.param(b"#EXTM3U\n#EXTINF:1,\nfile:other.ts\n", "ffmpeg says", id="a playlist may not open others"),
        pytest.param(b"ffconcat version 1.0\nfile other.mp4\n", "ffmpeg says", id="nor a list of files"),
    ],
)
def test_what_is_no_video_is_refused_by_name(tmp_path, read, content, said):
    path = tmp_path / "broken.mp4"
    write_video(tmp_path / "other.mp4", _frames(2), fps=25)
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=said) as caught:
        read(path)
    assert "broken.mp4" in str(caught.value) and "\n" not in str(caught.value)


def test_a_truncated_file_is_refused(tmp_path):
    write_video(tmp_path / "whole.mp4", _frames(10), fps=25)
    data = (tmp_path / "whole.mp4").read_bytes()
    (tmp_path / "half.mp4").write_bytes(data[: len(data) // 2])
    with pytest.raises(DataError, match="ffmpeg says"):
        list(read_video(tmp_path / "half.mp4"))


@pytest.mark.parametrize(
    ("name", "frames", "said"),
    [
        pytest.param("a.txt", _frames(1), "unknown ending", id="ending"),
        pytest.param("a.mp4", [], "no frame", id="no frame"),
        pytest.param("a.mp4", [*_frames(1), *_frames(1, 32, 32)], "frame 1", id="sizes differ"),
        pytest.param("none/a.mp4", _frames(1), "folder", id="no folder"),
    ],
)
def test_impossible_writes_leave_nothing(tmp_path, name, frames, said):
    with pytest.raises(DataError, match=said):
        write_video(tmp_path / name, frames, fps=25)
    assert list(tmp_path.iterdir()) == []


def test_scenes_in_motion_have_a_track_line_for_what_is_seen(tmp_path):
    data = ScenesData(root=tmp_path, num_images=1, image_size=(160, 160))
    folders = ensure_video(data, "train", num_sequences=1, num_frames=8)
    assert ensure_video(data, "train", num_sequences=1, num_frames=8) == folders
    folder = folders[0]
    assert video_info(folder / "video.mp4") == VideoInfo(fps=25.0, image_size=(160, 160), num_frames=8)
    table = np.loadtxt(folder / "gt" / "gt.txt", delimiter=",", ndmin=2)
    assert table.shape[1] == 9
    frame, track, left, top, width, height, _, label, visibility = table.T
    assert frame.min() == 1 and frame.max() == 8 and len(np.unique(track)) >= 3
    assert left.min() >= 1 and top.min() >= 1
    assert (left + width - 1).max() <= 160 and (top + height - 1).max() <= 160
    assert set(label) <= set(range(1, 11)) and visibility.min() >= 0.35 and visibility.max() <= 1
    assert "seqLength=8" in (folder / "seqinfo.ini").read_text(encoding="utf-8")
