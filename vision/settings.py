"""Settings of data sets, as they stand under `data` in a pipeline file. No torch."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, NonNegativeInt, PositiveInt

from foundation.settings import FilePath, FromList, StrictModel


def _each_once(names: tuple[str, ...]) -> tuple[str, ...]:
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(f"expected each class once, got {', '.join(repeated)} more than once")
    return names


class Download(StrictModel):
    """Where to fetch a data set that is not there yet."""

    url: str
    """https:// address of a .zip, .tar or .tar.gz archive, or file:// for tests."""
    sha256: str | None = None
    """Of the archive; null = not checked."""
    strip: NonNegativeInt = 0
    """Leading folders of the archive's paths to leave out (1 for source archives of a forge)."""


class DataBase(StrictModel):
    """What all formats share."""

    classes: Annotated[tuple[str, ...], FromList, AfterValidator(_each_once)] | None = None
    """Class names in label order; null = those the annotations hold, in the format's own order."""
    on_error: Literal["refuse", "quarantine"] = "refuse"
    """A fault in the data: stop with a list of them, or leave the sample or box out and count it."""
    download: Download | None = None
    """Where to fetch it if `root` is not there; null = nowhere."""


class VocData(DataBase):
    """Pascal VOC: `Annotations/*.xml`, `JPEGImages/`, `ImageSets/Main/SPLIT.txt`."""

    format: Literal["voc"] = "voc"
    root: FilePath
    """The folder that holds these three."""


class CocoSplit(StrictModel):
    """One split of a COCO data set."""

    annotations: FilePath
    """The JSON file."""
    images: FilePath
    """The folder that its file names start at."""


class CocoData(DataBase):
    """COCO instances JSON; `root` with `annotations/instances_SPLIT.json` and `SPLIT/`, or `splits` by name."""

    format: Literal["coco"] = "coco"
    root: FilePath | None = None
    """Folder in the usual layout; null = `splits` says where everything is."""
    splits: dict[str, CocoSplit] | None = None
    """Annotations and images of each split by its name; null = as found below `root`."""


class YoloData(DataBase):
    """Ultralytics-style YOLO text labels: `images/SPLIT/*`, `labels/SPLIT/*.txt`, or a `data.yaml` in `root`."""

    format: Literal["yolo"] = "yolo"
    root: FilePath
    """The folder that holds these."""


class ScenesData(DataBase):
    """The embedded data: real handwritten digits over real photographs, made on first use."""

    format: Literal["scenes"] = "scenes"
    root: FilePath | None = None
    """Where to keep the generated files; null = a folder in the user's cache."""
    seed: NonNegativeInt = 0
    """Other seeds give other pictures; the pipeline's own seed does not."""
    num_images: PositiveInt = 400
    """Images of the train split; val and test get a quarter each."""
    image_size: Annotated[tuple[PositiveInt, PositiveInt], FromList] = (320, 320)
    """(height, width)."""


class ImageFolderData(DataBase):
    """One folder per class: `SPLIT/CLASS/*`, or `CLASS/*` alone, which is then the split `train`."""

    format: Literal["imagefolder"] = "imagefolder"
    root: FilePath
    """The folder that holds the splits, or the classes."""
    val_from_train: Annotated[float, Field(gt=0.0, lt=1.0)] | None = None
    """Hold this share of every class of `train` out as the split `val`, where there is no such folder; null = none."""
    seed: NonNegativeInt = 0
    """Decides which images `val_from_train` holds out; the pipeline's own seed does not."""


class DigitsData(DataBase):
    """Handwritten digits, 8 x 8 pixels, as scikit-learn brings them along; written as PNG files on first use."""

    format: Literal["digits"] = "digits"
    root: FilePath | None = None
    """Where to keep the files; null = a folder in the user's cache."""


DataSettings = Annotated[
    VocData | CocoData | YoloData | ScenesData | ImageFolderData | DigitsData, Field(discriminator="format")
]
