"""Images of kinds that are not decoded here: OpenCV or Pillow does that, where one is installed.

A few bytes of a peer can ask a decoder for gigabytes. So what an image is going to take is read from its header first, by
code that knows the kind, and compared with the limit; a kind of which that cannot be said is not decoded. Each kind is given
to its own decoder and to no other: Pillow would start Ghostscript for what looks like PostScript.
"""

from __future__ import annotations

import io
import re
import struct
from typing import Any, Callable, Dict, Iterator, List, Tuple

import numpy as np
import numpy.typing as npt

from . import _native
from .errors import DecodeError

_HEADER = 4096
"""Headers that are text end within these bytes."""
_ENTRIES = 4096
"""Entries of a directory, or boxes, that are looked at."""


def kind_of(head: bytes) -> str | None:
    """Which kind of image the first 16 bytes are of; ``None`` where it is none that can be decoded."""
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WebP"
    if head[4:8] == b"ftyp" and head[8:12] in (b"avif", b"avis"):
        return "AVIF"
    return next((kind for magic, kind in _KINDS if head.startswith(magic)), None)


def decode(body: "_native.Body", bgr: bool, most: int) -> "npt.NDArray[Any]":
    """The array of an image: (H, W), or (H, W, C) with alpha last.

    :param most: bytes that the array may take.
    :raises DecodeError: it is of no kind that is known, would take more, or no decoder can read it.
    """
    data = memoryview(np.asarray(body))  # type: ignore[arg-type]
    if not len(data):
        raise DecodeError("the frame is empty")
    kind = kind_of(bytes(data[:16]))
    if kind is None:
        raise DecodeError("the frame's first bytes are those of no kind of image that is decoded here; frame.bytes has them all")
    measure = _BYTES.get(kind)
    if measure is not None:
        _check(kind, _measured(kind, measure, data), most)
    said: List[str] = []
    # What cannot be measured here is left to Pillow, which reads headers by themselves.
    for reader in (_opencv, _pillow) if measure is not None else (_pillow,):
        try:
            array = reader(data, kind, bgr, most)
        except DecodeError:
            raise
        except Exception as error:  # they raise whatever they like
            said.append(f"{reader.__name__[1:]}: {error or type(error).__name__}".strip())
            continue
        if array is not None:
            _check(kind, array.nbytes, most)
            return array
    if said:
        raise DecodeError(f"the {kind} image cannot be decoded: {'; '.join(said)}")
    needed = "OpenCV or Pillow" if measure is not None else "Pillow"
    package = "opencv-python-headless" if measure is not None else "pillow"
    raise DecodeError(f"{kind} images are decoded by {needed}, which is not installed, or does not know them: pip install {package}")


def _check(kind: str, needed: int, most: int) -> None:
    if needed > most:
        raise DecodeError(f"the {kind} image would take {needed} bytes, and {most} is the most")


def _measured(kind: str, measure: "Callable[[memoryview], int]", data: memoryview) -> int:
    try:
        needed = measure(data)
    except (struct.error, ValueError, IndexError) as error:
        raise DecodeError(f"the {kind} image's header cannot be read: {error}") from None
    if needed <= 0:
        raise DecodeError(f"the {kind} image has no pixels")
    return needed


# Decoders.


def _opencv(data: memoryview, kind: str, bgr: bool, most: int) -> "npt.NDArray[Any] | None":
    try:
        import cv2
    except ImportError:
        return None
    source = _without_multiplying(data) if kind == "TIFF" else data
    array = cv2.imdecode(np.asarray(source), cv2.IMREAD_UNCHANGED)
    if array is None:
        raise ValueError("it cannot read it")
    return array if bgr else _swapped(array)


_FORMATS = {
    "TIFF": "TIFF",
    "BMP": "BMP",
    "WebP": "WEBP",
    "PNM": "PPM",
    "PFM": "PPM",
    "GIF": "GIF",
    "JPEG 2000": "JPEG2000",
    "AVIF": "AVIF",
}
"""What Pillow calls them."""

_PLAIN = {
    "1": "L",
    "P": "RGBA",
    "PA": "RGBA",
    "RGBX": "RGB",
    "RGBa": "RGBA",
    "La": "LA",
    "CMYK": "RGB",
    "YCbCr": "RGB",
    "LAB": "RGB",
    "HSV": "RGB",
}
"""Modes of Pillow whose numbers are not the colours, and those that have them."""


def _pillow(data: memoryview, kind: str, bgr: bool, most: int) -> "npt.NDArray[Any] | None":
    try:
        from PIL import Image
    except ImportError:
        return None
    Image.init()
    name = _FORMATS.get(kind)
    if name is None or name not in Image.OPEN:
        return None
    # Nothing is decoded by that yet.
    with Image.open(io.BytesIO(data), formats=[name]) as image:
        mode = _PLAIN.get(image.mode, image.mode)
        if image.mode == "P" and "transparency" not in image.info:
            mode = "RGB"
        sample = 2 if mode.startswith("I;16") else 4 if mode[0] in "IF" else 1
        _check(kind, image.width * image.height * Image.getmodebands(mode) * sample, most)
        array = np.array(image if mode == image.mode else image.convert(mode))
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    return _swapped(array) if bgr else array


def _swapped(array: "npt.NDArray[Any]") -> "npt.NDArray[Any]":
    """Red and blue change places; alpha stays the last."""
    if array.ndim != 3 or array.shape[2] not in (3, 4):
        return array
    swapped = array.copy()
    swapped[:, :, 0], swapped[:, :, 2] = array[:, :, 2], array[:, :, 0]
    return swapped


# Headers: the bytes that the array of an image will take. Where one may be read in two ways, the larger is meant.


def _bytes_a_sample(bits: int) -> int:
    return next((size for size in (1, 2, 4, 8) if bits <= 8 * size), bits)


def _tiff_tags(data: memoryview) -> "Iterator[Tuple[int, str, int]]":
    """The tags of the first picture that matter here: how their values are packed, and where. In BigTIFF as well."""
    magic = bytes(data[:4])
    order = "<" if magic[:2] == b"II" else ">"
    big = b"+" in magic
    where, count, word, entry, inline = (8, "Q", "Q", 20, 8) if big else (4, "H", "I", 12, 4)
    (at,) = struct.unpack_from(order + word, data, where)
    (entries,) = struct.unpack_from(order + count, data, at)
    at += struct.calcsize(order + count)
    if not 0 < entries <= _ENTRIES:
        raise ValueError(f"{entries} entries in its directory")
    for place in range(at, at + entries * entry, entry):
        tag, kind = struct.unpack_from(order + "HH", data, place)
        if tag not in (256, 257, 258, 262, 277, 322, 323, _EXTRA_SAMPLES):
            continue
        (values,) = struct.unpack_from(order + word, data, place + 4)
        form = {1: "B", 3: "H", 4: "I", 16: "Q"}.get(kind)
        if form is None or not 0 < values <= _ENTRIES:
            raise ValueError(f"tag {tag} has {values} values of type {kind}")
        value = place + (12 if big else 8)
        if values * struct.calcsize(order + form) > inline:
            (value,) = struct.unpack_from(order + word, data, value)
        yield tag, f"{order}{values}{form}", value


_EXTRA_SAMPLES = 338
_ASSOCIATED, _UNASSOCIATED = 1, 2
"""Alpha that the colours are multiplied with already, and alpha that they are not."""


def _tiff(data: memoryview) -> int:
    tags: Dict[int, int] = {}
    for tag, form, at in _tiff_tags(data):
        # Where a tag comes twice, decoders differ in which they take.
        tags[tag] = max(tags.get(tag, 0), *struct.unpack_from(form, data, at))
    width, height = tags.get(256, 0), tags.get(257, 0)
    channels = tags.get(277, 1)
    if channels == 2:
        channels = 4
    if tags.get(262) == 3:
        channels = max(channels, 3)
    tile = tags.get(322, 0) * tags.get(323, 0)
    if not width * height:
        return 0
    return max(width * height, tile) * channels * _bytes_a_sample(tags.get(258, 1))


def _without_multiplying(data: memoryview) -> "memoryview | bytearray":
    """OpenCV multiplies the colours of a TIFF image with its alpha, unless they are said to be multiplied already."""
    for tag, form, at in _tiff_tags(data):
        if tag == _EXTRA_SAMPLES:
            extra = struct.unpack_from(form, data, at)
            if extra[0] == _UNASSOCIATED:
                changed = bytearray(data)
                struct.pack_into(form, changed, at, _ASSOCIATED, *extra[1:])
                return changed
    return data


def _bmp(data: memoryview) -> int:
    (size,) = struct.unpack_from("<I", data, 14)
    if size == 12:
        width, height = struct.unpack_from("<HH", data, 18)
        (bits,) = struct.unpack_from("<H", data, 24)
    else:
        width, height = struct.unpack_from("<ii", data, 18)
        (bits,) = struct.unpack_from("<H", data, 28)
    return int(abs(width) * abs(height)) * (4 if bits == 32 else 3)


def _webp(data: memoryview) -> int:
    kind = bytes(data[12:16])
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return int(width & 0x3FFF) * int(height & 0x3FFF) * 3
    if kind == b"VP8L":
        (sides,) = struct.unpack_from("<I", data, 21)
        return int((sides & 0x3FFF) + 1) * int((sides >> 14 & 0x3FFF) + 1) * 4
    if kind == b"VP8X" and len(data) >= 30:
        width, height = (int.from_bytes(data[at : at + 3], "little") + 1 for at in (24, 27))
        return width * height * 4
    raise ValueError(f"its first part is {kind!r}")


_GAP = rb"(?:[ \t\r\n]|#[^\n]*\n)+"
_PNM = re.compile(rb"P([1-6])" + _GAP + rb"(\d{1,9})" + _GAP + rb"(\d{1,9})(?:" + _GAP + rb"(\d{1,5}))?[ \t\r\n]")


def _pnm(data: memoryview) -> int:
    match = _PNM.match(bytes(data[:_HEADER]))
    if match is None:
        raise ValueError("it is not P1 to P6, two sides, and the largest value")
    kind, width, height, most = (int(group or 0) for group in match.groups())
    return width * height * (3 if kind in (3, 6) else 1) * (2 if most > 255 else 1)


def _pam(data: memoryview) -> int:
    text, end, _ = bytes(data[:_HEADER]).partition(b"ENDHDR\n")
    lines = [line.split() for line in text.split(b"\n")[1:] if line and not line.startswith(b"#")]
    fields = {line[0]: line[1] for line in lines if len(line) == 2}
    if not end or len(fields) < len(lines):
        raise ValueError("it has lines that are not a name and a value, or names that come twice")
    width, height, depth, most = (int(fields.get(name, b"0")) for name in (b"WIDTH", b"HEIGHT", b"DEPTH", b"MAXVAL"))
    return width * height * depth * (2 if most > 255 else 1)


_PFM = re.compile(rb"P([Ff])[ \t\r\n]+(\d{1,9})[ \t\r\n]+(\d{1,9})[ \t\r\n]")


def _pfm(data: memoryview) -> int:
    match = _PFM.match(bytes(data[:_HEADER]))
    if match is None:
        raise ValueError("it is not PF or Pf, and two sides")
    return int(match[2]) * int(match[3]) * (12 if match[1] == b"F" else 4)


def _gif(data: memoryview) -> int:
    width, height = struct.unpack_from("<HH", data, 6)
    return int(width) * int(height) * 4


def _jpeg_2000(data: memoryview) -> int:
    at = 0
    if bytes(data[:4]) != b"\xff\x4f\xff\x51":
        at = _codestream(data)
    sides = struct.unpack_from(">4s4xIIII16xH", data, at)
    if sides[0] != b"\xff\x4f\xff\x51":
        raise ValueError("its image does not begin with its size")
    _, right, bottom, left, top, channels = sides
    depths = struct.unpack_from(f">{channels * 3}B", data, at + 42)[::3]
    sample = _bytes_a_sample(max((depth & 0x7F) + 1 for depth in depths) if depths else 8)
    return int(max(right - left, 0) * max(bottom - top, 0) * (4 if channels == 2 else channels) * sample)


def _codestream(data: memoryview) -> int:
    """Where the image in a JP2 file begins."""
    at = 0
    for _ in range(_ENTRIES):
        length, box = struct.unpack_from(">I4s", data, at)
        head = 8
        if length == 1:
            (length,) = struct.unpack_from(">Q", data, at + 8)
            head = 16
        if box == b"jp2c":
            return at + head
        if length < head:
            break
        at += length
    raise ValueError("there is no image in it")


_HDR = re.compile(rb"#\?R(?:ADIANCE|GBE)\n(?:[^\n]{1,126}\n)*\n-Y (\d{1,9}) \+X (\d{1,9})\n")


def _hdr(data: memoryview) -> int:
    match = _HDR.match(bytes(data[:_HEADER]))
    if match is None:
        raise ValueError("it does not say -Y HEIGHT +X WIDTH")
    return int(match[1]) * int(match[2]) * 12


_KINDS = (
    (b"II*\x00", "TIFF"),
    (b"MM\x00*", "TIFF"),
    (b"II+\x00", "TIFF"),
    (b"MM\x00+", "TIFF"),
    (b"BM", "BMP"),
    *((b"P%d" % number, "PNM") for number in range(1, 7)),
    (b"P7\n", "PAM"),
    (b"PF", "PFM"),
    (b"Pf", "PFM"),
    (b"GIF8", "GIF"),
    (b"\x00\x00\x00\x0cjP  \r\n\x87\n", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"#?RADIANCE", "HDR"),
    (b"#?RGBE", "HDR"),
)

_BYTES: "Dict[str, Callable[[memoryview], int]]" = {
    "TIFF": _tiff,
    "BMP": _bmp,
    "WebP": _webp,
    "PNM": _pnm,
    "PAM": _pam,
    "PFM": _pfm,
    "GIF": _gif,
    "JPEG 2000": _jpeg_2000,
    "HDR": _hdr,
}
