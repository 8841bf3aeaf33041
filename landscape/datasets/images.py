"""Image files as pixels: read by Pillow, in the few formats of data sets, and within its limit of size."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from landscape.datasets.arrays import one_line
from landscape.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

ENDINGS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
# Not what else Pillow opens: it hands PostScript to a program of its own, which runs it.
FORMATS = ("JPEG", "PNG", "PPM", "BMP", "TIFF", "WEBP")
GREY = ("1", "L", "LA", "La")


@contextmanager
def opened(path: Path) -> Iterator[Image]:
    """An image file, its header read. Within the block what Pillow raises names the file in one line."""
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of palettes and metadata
            # A file of a few kB may declare an image that fills the memory.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with path.open("rb") as file, Image.open(file, formats=FORMATS) as image:
                yield image
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    except Exception as error:  # Pillow raises a dozen types on damaged files
        raise DataError(f"{path} cannot be read as an image: {one_line(error)}") from error


def shape(image: Image) -> tuple[int, int, int]:
    """(channels, height, width) of its pixels: 1 channel of grey images, 3 of all others."""
    if image.mode.startswith(("I", "F")):
        raise DataError(f"pixels of mode {image.mode} have more than 8 bits; convert them to 8")
    return 1 if image.mode in GREY else 3, image.height, image.width


def pixels(image: Image) -> np.ndarray:
    """The pixels as bytes (channels, height, width)."""
    channels, height, width = shape(image)
    found = np.asarray(image.convert("L" if channels == 1 else "RGB"))
    return found.reshape(height, width, channels).transpose(2, 0, 1)


def is_image(value: Any) -> bool:
    """Whether a value is an image of Pillow's."""
    from PIL import Image

    return isinstance(value, Image.Image)
