"""Video files to frames and back, through ffmpeg; local files only. Nothing here interprets what is seen.

`ffmpeg-python` builds each command line. A path always goes in behind `file:`, so that no name can be an option,
an address or a protocol, and ffmpeg may open only true video containers (a playlist could name other files).
"""

import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import IO

import ffmpeg
import imageio_ffmpeg
import numpy as np

from foundation.errors import DataError

_CONTAINERS = "mov,matroska,webm,avi,mpegts,mpeg,mpegvideo,h264,hevc,ivf,ogg,flv,asf,gif"
_MUXERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska"}
_QUALITY_CRF = 18
"""x264's constant rate factor: 18 cannot be told from the original by eye."""


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """What a video's header and index say."""

    fps: float
    image_size: tuple[int, int]
    """(height, width) of the frames as `read_video` gives them, upright."""
    num_frames: int


def ffmpeg_path() -> str:
    """Return the system's ffmpeg, else the one that `imageio-ffmpeg` brought along.

    Raises:
        DataError: if there is neither.
    """
    found = shutil.which("ffmpeg")
    if found:
        return found
    try:
        return imageio_ffmpeg.get_ffmpeg_exe()
    except RuntimeError as error:
        raise DataError(
            "a video was given but no ffmpeg was found, neither on the PATH nor in the package `imageio-ffmpeg`; "
            "install ffmpeg, or reinstall `imageio-ffmpeg` from a wheel of this platform."
        ) from error


def read_video(path: Path | str) -> Iterator[np.ndarray]:
    """Decode a video frame by frame; every coded frame once, also where the frame rate varies.

    Yields:
        (H, W, 3) uint8 RGB, upright.

    Raises:
        DataError: if the file is missing, no video or broken, with ffmpeg's last line. Frames before a broken
            place have been yielded by then.
    """
    path = _existing(path)
    # ffmpeg repeats and drops frames to keep a constant rate. We pretend that each lasts a tick of 1000 s: then there
    # is nothing to even out, and a frame's own duration rounds to nothing. (`-vsync 0` did this until ffmpeg 7,
    # `-fps_mode passthrough` does it since 5.1; this works in all.)
    frames = _input(path).video.filter("settb", expr="1000").filter("setpts", expr="N")
    command = frames.output("pipe:", format="image2pipe", vcodec="ppm", r="1/1000")
    with _running(command, path, "read") as process:
        assert process.stdout is not None
        yield from _ppm_frames(process.stdout)


def video_info(path: Path | str) -> VideoInfo:
    """Read frame rate and size from the first decoded frame and count the frames without decoding them.

    Raises:
        DataError: as `read_video`.
    """
    path = _existing(path)
    # YUV4MPEG opens with one line such as "YUV4MPEG2 W320 H240 F25:1 Ip A1:1 C444".
    first = _input(path).output("pipe:", format="yuv4mpegpipe", pix_fmt="yuv444p", map="0:v:0", **{"frames:v": 1})
    header = _output_of(first, path).split(b"\n", 1)[0].decode("ascii", "replace")
    fields = {word[0]: word[1:] for word in header.split()[1:]}
    if not {"W", "H", "F"} <= fields.keys():
        raise _video_error(path, "read", "it holds no frame")
    count = _input(path).output("pipe:", format="null", map="0:v:0", vcodec="copy").global_args("-progress", "pipe:1")
    lines = _output_of(count, path).decode("ascii", "replace").splitlines()
    num_frames = max((int(line.removeprefix("frame=")) for line in lines if line.startswith("frame=")), default=0)
    fps = float(Fraction(fields["F"].replace(":", "/")))
    return VideoInfo(fps, (int(fields["H"]), int(fields["W"])), num_frames)


def write_video(path: Path | str, frames: Iterable[np.ndarray], fps: float) -> None:
    """Encode frames as H.264; the file appears only when it is complete.

    Args:
        path: a file ending in .mp4, .m4v, .mov or .mkv.
        frames: (H, W, 3) uint8 RGB, all of one size, at least one. H.264 codes even sizes: an odd one gets one
            more row or column of black.
        fps: frames per second.

    Raises:
        DataError: an unknown ending, no frame, frames of different sizes, or whatever ffmpeg could not do.
    """
    path = Path(path)
    if path.suffix.lower() not in _MUXERS:
        raise DataError(f"cannot write the video {path}: unknown ending; expected one of {', '.join(_MUXERS)}.")
    iterator = iter(frames)
    first = next(iterator, None)
    if first is None:
        raise DataError(f"cannot write the video {path}: there is no frame; expected at least one.")
    if not path.parent.is_dir():
        raise DataError(f"cannot write the video {path}: its folder does not exist; make it first.")
    partial = path.with_name(f".{path.stem}.partial{path.suffix}")
    try:
        with _running(_encoder(partial, first.shape, fps), path, "write") as process:
            assert process.stdin is not None
            _feed(process.stdin, first, iterator, path)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _encoder(partial: Path, shape: tuple[int, ...], fps: float) -> "ffmpeg.nodes.OutputStream":
    height, width = shape[:2]
    raw = ffmpeg.input("pipe:", format="rawvideo", pix_fmt="rgb24", s=f"{width}x{height}", framerate=fps)
    even = raw.filter("pad", "ceil(iw/2)*2", "ceil(ih/2)*2")
    return even.output(
        f"file:{partial}",
        format=_MUXERS[partial.suffix.lower()],
        vcodec="libx264",
        preset="veryfast",
        crf=_QUALITY_CRF,
        pix_fmt="yuv420p",
        map_metadata=-1,
    )


def _feed(pipe: IO[bytes], first: np.ndarray, others: Iterator[np.ndarray], path: Path) -> None:
    try:
        pipe.write(np.ascontiguousarray(first).tobytes())
        for index, frame in enumerate(others, start=1):
            if frame.shape != first.shape or frame.dtype != np.uint8:
                raise DataError(
                    f"cannot write the video {path}: frame {index} is {frame.shape} {frame.dtype}, "
                    f"expected {first.shape} uint8 as the first one."
                )
            pipe.write(np.ascontiguousarray(frame).tobytes())
        pipe.close()
    except BrokenPipeError:
        return  # ffmpeg gave up; `_running` tells why


def _existing(path: Path | str) -> Path:
    path = Path(path)
    if not path.is_file():
        raise DataError(f"the video {path} does not exist or is no file; expected a local video file. Mend the path.")
    return path


def _input(path: Path) -> "ffmpeg.nodes.FilterableStream":
    return ffmpeg.input(f"file:{path}", protocol_whitelist="file,pipe", format_whitelist=_CONTAINERS)


def _output_of(stream: "ffmpeg.nodes.OutputStream", path: Path) -> bytes:
    with _running(stream, path, "read") as process:
        assert process.stdout is not None
        return process.stdout.read()


@contextmanager
def _running(stream: "ffmpeg.nodes.OutputStream", path: Path, verb: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command; on leaving, stop it if it is still busy, else raise if it failed."""
    quiet: Sequence[str] = ("-hide_banner", "-nostdin", "-loglevel", "error")
    command = ffmpeg.compile(stream.global_args(*quiet), cmd=ffmpeg_path(), overwrite_output=True)
    with tempfile.TemporaryFile() as log:  # a pipe that nobody reads could fill up and block ffmpeg
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log)
        try:
            yield process
            _close(process)
            code = process.wait()
        except BaseException:  # an error here, or a reader that stopped early: ffmpeg must not outlive us
            process.kill()
            _close(process)
            process.wait()
            raise
        if code != 0:
            log.seek(0)
            lines = log.read().decode("utf-8", "replace").strip().splitlines()
            raise _video_error(path, verb, lines[-1].strip() if lines else f"exit code {code}")


def _close(process: subprocess.Popen[bytes]) -> None:
    for pipe in (process.stdin, process.stdout):
        try:
            if pipe is not None:
                pipe.close()
        except BrokenPipeError:
            continue  # ffmpeg ended first; its exit code tells why


def _video_error(path: Path, verb: str, reason: str) -> DataError:
    return DataError(
        f"cannot {verb} the video {path}: ffmpeg says: {reason}. Expected a complete video file in a common "
        "container (mp4, mkv, webm, avi, …) and a place that can be used; replace the file or convert it."
    )


def _ppm_frames(pipe: IO[bytes]) -> Iterator[np.ndarray]:
    """Split a stream of PPM pictures, whose header is three lines: P6, `WIDTH HEIGHT`, 255."""
    while pipe.readline():
        width, height = (int(word) for word in pipe.readline().split())
        pipe.readline()
        data = pipe.read(height * width * 3)
        if len(data) == height * width * 3:
            yield np.frombuffer(data, np.uint8).reshape(height, width, 3).copy()
