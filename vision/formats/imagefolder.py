"""One folder per class: `SPLIT/CLASS/*`, or `CLASS/*` alone, which is the split `train`.

Every image is one object that fills it, so that checks, counts and digests are those of all formats.
"""

import hashlib
from pathlib import Path

from vision.faults import FaultError, did_you_mean
from vision.formats.raw import RawImage, RawObject, RawSplit, in_order, require_folder, require_split, unique_names
from vision.image_header import find_images
from vision.record import Fault
from vision.settings import ImageFolderData

EXPECTED = "SPLIT/CLASS/ with images, or CLASS/ with images"

TRAIN, VAL = "train", "val"
_WHOLE = (0.0, 0.0, 1.0, 1.0)


def splits(data: ImageFolderData) -> tuple[str, ...]:
    """List the splits, with the one that `val_from_train` makes.

    Raises:
        DataError: if `val_from_train` has nothing to make a split from, or there is one already.
    """
    found = _split_folders(data.root)
    if data.val_from_train is None or not found:
        return in_order(found)
    if VAL in found:
        reason = f"`val_from_train` has no effect, since there is a split {VAL!r} at {found[VAL]}; leave it out"
        raise FaultError(reason, "missing_file", data.root)
    if TRAIN not in found:
        reason = f"`val_from_train` needs a split {TRAIN!r}; there are: {', '.join(in_order(found))}"
        raise FaultError(reason, "missing_file", data.root)
    return in_order([*found, VAL])


def read(data: ImageFolderData, split: str) -> RawSplit:
    """Read one split; classes are the folders of `train`, sorted by name, unless `data.classes` gives them.

    Without a split `train` the split's own folders are the classes. Faults are a folder of another class than these
    and, in `train`, a class without any image.

    Raises:
        DataError: if the folder, the split or all images are missing, or there is only one class to learn.
    """
    require_folder(data.root)
    require_split(split, splits(data), data.root)
    found = _split_folders(data.root)
    is_shared = data.val_from_train is not None and split in (TRAIN, VAL)
    folder = found[TRAIN] if is_shared else found[split]
    raw = RawSplit(classes=data.classes or _class_names(found.get(TRAIN, folder)), images=[])
    if split == TRAIN and len(raw.classes) == 1:
        raise only_class(split, raw.classes[0], folder)
    paths: list[Path] = []
    counts = dict.fromkeys(raw.classes, 0)
    for class_folder in _folders(folder):
        images = find_images(class_folder, recursive=True)
        if class_folder.name not in counts:
            raw.faults.append(_unknown_class(class_folder, len(images), raw.classes))
            continue
        counts[class_folder.name] = len(images)
        if is_shared and data.val_from_train is not None:
            held_out = _held_out(images, class_folder, data.val_from_train, data.seed)
            images = [path for path in images if (path in held_out) == (split == VAL)]
        paths += images
    raw.faults += _empty_classes(folder, counts, is_fatal=split == TRAIN or is_shared) + _without_class(folder)
    raw.images = _raw_images(paths, folder)
    if not raw.images and not raw.faults:
        raise FaultError(f"split {split!r} holds no image", "no_images", folder)
    return raw


def only_class(split: str, name: str, place: Path) -> FaultError:
    """The error for a split in which there is nothing to tell apart."""
    reason = f"split {split!r} has only one class, {name}; a classifier needs two or more to tell apart"
    return FaultError(reason, "unknown_class", place)


def _split_folders(root: Path) -> dict[str, Path]:
    """Find the folder of each split; classes right below the root are the split `train`."""
    folders = _folders(root)
    found = {folder.name: folder for folder in folders if _folders(folder)}
    if TRAIN not in found and any(find_images(folder) for folder in folders):
        return {TRAIN: root}
    return found


def _folders(root: Path) -> list[Path]:
    if not root.is_dir():
        return []
    return sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))


def _class_names(folder: Path) -> tuple[str, ...]:
    return tuple(path.name for path in _folders(folder))


def _held_out(images: list[Path], folder: Path, share: float, seed: int) -> set[Path]:
    """Choose `share` of a class's images, at least one and not all, by a hash of their names.

    An image that is added or taken away moves at most one other to the other side.
    """
    count = min(max(round(share * len(images)), 1), max(len(images) - 1, 0))
    return set(sorted(images, key=lambda path: _rank(path.relative_to(folder.parent), seed))[:count])


def _rank(path: Path, seed: int) -> str:
    return hashlib.sha256(f"{seed}/{path.as_posix()}".encode()).hexdigest()


def _unknown_class(folder: Path, count: int, classes: tuple[str, ...]) -> Fault:
    hint = did_you_mean(folder.name, classes)
    message = f"this folder holds {count} images of a class {folder.name!r} that is not among the classes{hint}: "
    return Fault("unknown_class", folder, message + ", ".join(classes))


def _empty_classes(folder: Path, counts: dict[str, int], is_fatal: bool) -> list[Fault]:
    """Report classes without an image; a fault in `train`, where they could not be learned."""
    message = "this class has no image; fill its folder, or delete it and leave the class out of `classes`"
    return [
        Fault("no_images", folder / name, message, is_fatal=is_fatal) for name, count in counts.items() if not count
    ]


def _without_class(folder: Path) -> list[Fault]:
    """Report images beside the class folders; they do no harm to training."""
    message = "this image lies beside the class folders and has no class"
    return [Fault("unknown_class", path, message, path.stem, is_fatal=False) for path in find_images(folder)]


def _raw_images(paths: list[Path], folder: Path) -> list[RawImage]:
    relative = {path: path.relative_to(folder).as_posix() for path in paths}
    names = unique_names(relative.values())
    return [
        RawImage(
            name=names[text],
            path=path,
            annotation=path,
            objects=[RawObject(_WHOLE, _WHOLE, text.partition("/")[0], 0)],
            is_relative=True,
        )
        for path, text in relative.items()
    ]
