"""Folders of PNG and JPEG files."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pyro_lvm.rows.stored import Scratch
from pyro_lvm.rows.values import MOST_HELD, Values

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = (".png", ".jpg", ".jpeg")
_AT_ONCE = 256  # images that are read before they are kept
_ORIENTATION = 0x0112  # in EXIF data; from 5 on, rows are columns
_SPLITS = {"train", "valid", "test"}
_BITS, _GRAYS, _COLOURS = "black and white", "gray", "colour"
_KINDS = {"1": _BITS, "L": _GRAYS, "LA": _GRAYS, "RGB": _COLOURS, "RGBA": _COLOURS, "P": _COLOURS, "PA": _COLOURS, "CMYK": _COLOURS}
_MODES = {_BITS: "1", _GRAYS: "L", _COLOURS: "RGB"}


@dataclass(frozen=True)
class ImageFolder:
    """Images of a folder in the order of their sorted names.

    Attributes:
        files: Their paths.
        labels: The place of each one's subfolder among the sorted names of these, ``[N]``; None if they are in no subfolders.
        names: The names of the subfolders.
    """

    files: list[Path]
    labels: np.ndarray | None = None
    names: tuple[str, ...] = ()


def images_of(source: Any) -> ImageFolder | None:
    """Return the images of a folder, or those of its subfolders with these as labels; None if the source is no folder or holds none.

    Raises:
        ValueError: If the folder also holds arrays, images both in it and in subfolders, or subfolders with the names of splits.
    """
    if not isinstance(source, str | Path) or not Path(source).expanduser().is_dir():
        return None
    folder = Path(source).expanduser()
    own, below = _images(folder), {child.name: _images(child) for child in sorted(folder.iterdir()) if child.is_dir()}
    below = {name: files for name, files in below.items() if files}
    if not own and not below:
        return None
    arrays = sorted(file.name for file in folder.iterdir() if file.suffix in (".npy", ".npz"))
    if arrays:
        raise ValueError(f"{folder} must hold images or arrays, not both; got {arrays[0]} too. Give a folder for each.")
    if own and below:
        raise ValueError(f"{folder} must hold images or subfolders of them, not both; got {own[0].name} and {next(iter(below))}.")
    if own:
        return ImageFolder(own)
    if _SPLITS & set(below):
        raise ValueError(f"{folder}: subfolders of images are labels, not splits; got {', '.join(below)}. Give one of these.")
    labels = np.repeat(np.arange(len(below)), [len(files) for files in below.values()])
    return ImageFolder([file for files in below.values() for file in files], labels, tuple(below))


def read_images(folder: ImageFolder) -> np.ndarray | Values:
    """Read images as bytes, ``[N, 1, H, W]`` if they are gray and ``[N, 3, H, W]`` if they are in colour.

    Levels are 0 to 255, and 0 or 1 if every image is black and white by its format. Photographs are turned upright as their EXIF data say.
    Images that do not fit memory are unpacked to the folder of temporary files.

    Raises:
        ImportError: If Pillow is not installed.
        ValueError: If an image is damaged, differs from most others in size or in colour, has transparent pixels or more than 8 bits.
    """
    kind, (width, height) = _alike([(file, *_format(file)) for file in folder.files])
    size = len(folder.files) * width * height * (3 if kind == _COLOURS else 1)
    starts = range(0, len(folder.files), _AT_ONCE)
    parts = (np.stack([_pixels(file, kind) for file in folder.files[start : start + _AT_ONCE]]) for start in starts)
    return np.concatenate(list(parts)) if size <= MOST_HELD else Scratch().unpacked(parts, str(folder.files[0].parent))


def _images(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if file.suffix.lower() in SUFFIXES and file.is_file())


def _format(file: Path) -> tuple[str, tuple[int, int]]:
    """The kind of an image and its size, which are in the first bytes of the file."""
    image = _opened(file)
    with image:
        if image.mode not in _KINDS:
            raise ValueError(f"{file} must have 8 bits for each channel; got mode {image.mode!r} of Pillow. Convert it.")
        width, height = image.size
        is_turned = image.format == "JPEG" and image.getexif().get(_ORIENTATION, 1) >= 5  # that of other formats is at their ends
        return _KINDS[image.mode], (height, width) if is_turned else (width, height)


def _alike(formats: list[tuple[Path, str, tuple[int, int]]]) -> tuple[str, tuple[int, int]]:
    """The kind and the size of most images, which all others must have."""
    (kind, size), _ = Counter((kind, size) for _, kind, size in formats).most_common(1)[0]
    for file, other, (width, height) in formats:
        if (other, (width, height)) != (kind, size):
            raise ValueError(
                f"images must all have one size and be all gray or all in colour; most are {kind}, {size[0]} x {size[1]}, and {file} is "
                f"{other}, {width} x {height}. Convert or remove it."
            )
    return kind, size


def _pixels(file: Path, kind: str) -> np.ndarray:
    from PIL import ImageOps

    with _opened(file) as image:
        try:
            upright = ImageOps.exif_transpose(image) if image.format == "JPEG" else image
            _check_opaque(file, upright)
            pixels = np.asarray(upright.convert(_MODES[kind])).astype(np.uint8)
        except OSError as error:
            raise ValueError(f"{file} must be an image that is not damaged: {error}. Save it again, or remove it.") from error
    return pixels[None] if pixels.ndim == 2 else np.moveaxis(pixels, -1, 0)


def _check_opaque(file: Path, image: "Image") -> None:
    if image.has_transparency_data and np.asarray(image.convert("RGBA"))[..., 3].min() < 255:
        raise ValueError(f"{file} has transparent pixels, of which the colour is not known. Flatten it onto a background.")


def _opened(file: Path) -> "Image":
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError(f"reading {file} needs Pillow. Run: pip install pyro-lvm[images]") from error
    try:
        return Image.open(file, formats=("PNG", "JPEG"))
    except (OSError, Image.DecompressionBombError) as error:
        raise ValueError(f"{file} must be a PNG or JPEG image: {error}. Save it again, or remove it.") from error
