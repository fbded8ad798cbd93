"""Arrays as the bytes of frames, and back.

| ``encode`` | what travels and is stored | loses anything |
|---|---|---|
| ``"png"`` | PNG, 8 or 16 bits a sample | no |
| ``"raw"`` | NPY: numpy's own file, ``numpy.load`` reads it | no |
| ``"jpeg:90"`` | JPEG of that quality, 1 to 100; uint8 only | yes |

PNG and JPEG have red first; OpenCV's arrays have blue first. ``color`` says which an array has: ``"bgr"`` (as OpenCV; the
default at both ends) or ``"rgb"`` (as Pillow, imageio, PyTorch). Raw frames are never touched.
"""

from __future__ import annotations

import ast
import functools
import io
import math
import os
from typing import Any, Dict, Tuple, Union

import numpy as np
import numpy.typing as npt

from . import _foreign, _native
from .errors import DecodeError, EncodeError

Image = Union["npt.NDArray[Any]", bytes, bytearray, memoryview, Any]
"""An array of shape (H, W), (H, W, 3) or (H, W, 4), the bytes of an encoded image, or a Pillow image."""

MAX_DECODED = 1 << 29
"""A frame whose array would have more than these bytes (512 MiB) is refused, before anything is allocated: a few kilobytes
can ask for gigabytes."""

_KINDS = (
    (b"\xff\xd8\xff", "jpg"),
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"\x93NUMPY", "npy"),
    (b"\xff\x0a", "jxl"),
    (b"\x00\x00\x00\x0cJXL \r\n\x87\n", "jxl"),
)
"""Those that are decoded here, and JPEG XL, which OpenCV and Pillow do not know; for the others, `_foreign.kind_of`."""

_EXTENSIONS = {"TIFF": "tiff", "BMP": "bmp", "WebP": "webp", "AVIF": "avif", "PAM": "pam", "PFM": "pfm", "GIF": "gif", "HDR": "hdr"}
_PNM = {b"1": "pbm", b"4": "pbm", b"2": "pgm", b"5": "pgm", b"3": "ppm", b"6": "ppm"}


def extension_of(head: bytes) -> str:
    """The extension for bytes that begin like this; ``bin`` where they are no image that is known."""
    ours = next((extension for magic, extension in _KINDS if head.startswith(magic)), None)
    if ours is not None:
        return ours
    kind = _foreign.kind_of(head)
    if kind == "PNM":
        return _PNM[head[1:2]]
    if kind == "JPEG 2000":
        return "j2k" if head.startswith(b"\xff\x4f") else "jp2"
    return "bin" if kind is None else _EXTENSIONS[kind]


@functools.lru_cache(maxsize=64)
def parse_encode(encode: str) -> Tuple[str, int]:
    """The kind and the quality."""
    kind, colon, quality = encode.partition(":")
    if (kind in ("png", "raw") and not colon):
        return kind, 0
    if kind in ("jpeg", "jpg") and quality.isascii() and quality.isdigit() and 1 <= int(quality) <= 100:
        return "jpeg", int(quality)
    if kind in ("jpeg", "jpg"):
        raise ValueError(f'encode={encode!r}: JPEG loses detail, so say how much: "jpeg:90", from 1 to 100')
    raise ValueError(f'encode={encode!r}: there are "png" and "raw" (without loss) and "jpeg:90" (with loss)')


def is_bgr(color: str) -> bool:
    if color not in ("bgr", "rgb"):
        raise ValueError(f'color={color!r}: "bgr" as OpenCV has it, or "rgb" as Pillow and imageio have it')
    return color == "bgr"


def encoded(image: Any, encode: str, color: str) -> Tuple["_native.Body", str]:
    """A frame's bytes and its extension. ``bytes`` are sent as they are and are not copied."""
    if isinstance(image, bytes):
        return _native.Body(image), extension_of(image[:16])
    if isinstance(image, (bytearray, memoryview)):
        copied = bytes(image)
        return _native.Body(copied), extension_of(copied[:16])
    if image is None or isinstance(image, (str, os.PathLike)):
        told = "None, which cv2.imread and camera.read give where there is no image" if image is None else f"a {type(image).__name__}"
        raise TypeError(f"an image is an array, or the bytes of an encoded image (of a file: pathlib.Path(...).read_bytes()), not {told}")
    kind, quality = parse_encode(encode)
    array = np.asarray(image)
    if _is_pillow(image):
        # It says itself what its bands are, red first.
        array, color = np.asarray(_plain(image)), "rgb"
    if kind == "raw":
        return raw(array), "npy"
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    shape = _shape(array, kind)
    # A field of a packed record, or what stands behind a header of odd length, is contiguous and not aligned.
    flat = np.require(array, requirements=["C", "A"]).reshape(-1)
    bgr = is_bgr(color)
    if kind == "jpeg":
        if array.dtype != np.uint8:
            raise EncodeError(
                f"JPEG has 8 bits a sample, and this array has {array.dtype}: say encode=\"png\" or encode=\"raw\", or scale it"
            )
        return _native.encode_jpeg(flat, shape, bgr, quality), "jpg"
    if array.dtype == np.uint8:
        return _native.encode_png_u8(flat, shape, bgr), "png"
    return _native.encode_png_u16(flat, shape, bgr), "png"


def _is_pillow(image: Any) -> bool:
    return isinstance(getattr(image, "mode", None), str) and hasattr(image, "getbands")


def _plain(image: Any) -> Any:
    """A Pillow image whose array has grey, or red, green, blue and perhaps alpha."""
    if image.mode in ("L", "RGB", "RGBA", "I", "F") or image.mode.startswith("I;16"):
        return image
    if image.mode == "1":
        return image.convert("L")
    is_clear = image.mode in ("LA", "La", "PA", "RGBa") or "transparency" in image.info
    return image.convert("RGBA" if is_clear else "RGB")


def _shape(array: "npt.NDArray[Any]", kind: str) -> Tuple[int, int, int]:
    if array.dtype not in (np.uint8, np.uint16):
        raise EncodeError(
            f"{kind} is for arrays of uint8 and uint16, and this one has {array.dtype}: say encode=\"raw\", which takes every type"
        )
    if array.size == 0:
        raise EncodeError(f"an array of shape {array.shape} has no pixels: say encode=\"raw\", which takes every shape")
    channels = (1, 3) if kind == "jpeg" else (1, 3, 4)
    if array.ndim == 2:
        return array.shape[0], array.shape[1], 1
    if array.ndim == 3 and array.shape[2] in channels:
        return array.shape[0], array.shape[1], array.shape[2]
    if array.dtype == np.uint8 and array.ndim == 1 and extension_of(array[:16].tobytes()) != "bin":
        raise EncodeError(
            "these are the bytes of an encoded image, as cv2.imencode gives them: say image.tobytes(), and they travel as they are"
        )
    shapes = "(H, W) or (H, W, 3)" if kind == "jpeg" else "(H, W), (H, W, 3) or (H, W, 4)"
    raise EncodeError(
        f"{kind} is for arrays of shape {shapes}, and this one has {array.shape}: say encode=\"raw\", which takes every shape"
    )


MAX_NPY_HEAD = 10_000
"""Bytes: numpy reads no longer ones."""


@functools.lru_cache(maxsize=64)
def _npy_head(dtype: "np.dtype[Any]", shape: Tuple[int, ...], fortran: bool) -> bytes:
    out = io.BytesIO()
    description = {
        "descr": np.lib.format.dtype_to_descr(dtype),
        "fortran_order": fortran,
        "shape": shape,
    }
    try:
        np.lib.format.write_array_header_1_0(out, description)
    except UnicodeEncodeError:
        return _head_3_0(description)
    except ValueError:  # as long as it may be in that version
        raise EncodeError(_too_long(dtype)) from None
    head = out.getvalue()
    if len(head) > MAX_NPY_HEAD:
        raise EncodeError(_too_long(dtype))
    return head


def _too_long(dtype: "np.dtype[Any]") -> str:
    return f"a type of {len(dtype.names or ())} fields takes more than {MAX_NPY_HEAD} bytes to say, which numpy does not read"


def _head_3_0(description: "Dict[str, Any]") -> bytes:
    """NPY's third version, for names of fields in any script; numpy writes and reads it, and offers neither for a head alone."""
    text = repr(description).encode()
    length = -(-(12 + len(text) + 1) // 64) * 64 - 12
    if length > MAX_NPY_HEAD:
        raise EncodeError(_too_long(np.lib.format.descr_to_dtype(description["descr"])))
    return b"\x93NUMPY\x03\x00" + length.to_bytes(4, "little") + text.ljust(length - 1) + b"\n"


def _read_head_3_0(stream: io.BytesIO) -> "Tuple[Tuple[int, ...], bool, np.dtype[Any]]":
    length = int.from_bytes(stream.read(4), "little")
    text = stream.read(length)
    if len(text) < length or length > MAX_NPY_HEAD:
        raise ValueError(f"it is said to have {length} bytes")
    description = ast.literal_eval(text.decode())
    if not isinstance(description, dict) or set(description) != {"descr", "fortran_order", "shape"}:
        raise ValueError("it has other fields")
    shape, fortran = description["shape"], description["fortran_order"]
    if not isinstance(shape, tuple) or not isinstance(fortran, bool):
        raise ValueError("its shape or its order is none")
    return shape, fortran, np.lib.format.descr_to_dtype(description["descr"])


def raw(array: "npt.NDArray[Any]", tail: bytes = b"") -> "_native.Body":
    """An NPY file of an array of any shape and type, and what is to stand behind it. It is copied once."""
    if array.dtype.hasobject:
        raise EncodeError(f"an array of {array.dtype} holds Python objects, which do not travel")
    if array.dtype.itemsize == 0:
        raise EncodeError(f"an array of {array.dtype} holds nothing")
    contiguous = np.ascontiguousarray(array)
    head = _npy_head(array.dtype, array.shape, False)
    flat = contiguous.reshape(-1).view(np.uint8) if contiguous.size else np.empty(0, np.uint8)
    return _native.joined(head, flat, tail)


@functools.lru_cache(maxsize=64)
def _read_npy_head(head: bytes) -> Tuple[int, Tuple[int, ...], bool, "np.dtype[Any]"]:
    stream = io.BytesIO(head)
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
    elif version == (2, 0):
        shape, fortran, dtype = np.lib.format.read_array_header_2_0(stream)
    elif version == (3, 0):
        shape, fortran, dtype = _read_head_3_0(stream)
    else:
        raise DecodeError(f"an NPY file of version {version}, which is not known here")
    if dtype.hasobject:
        raise DecodeError("an NPY file of Python objects, which are not loaded")
    if dtype.itemsize == 0 or dtype.subdtype is not None:
        raise DecodeError(f"an NPY file of {dtype}, of which there are no arrays")
    if any(type(side) is not int or side < 0 for side in shape):
        raise DecodeError(f"the NPY file says {shape}, which is no shape")
    return stream.tell(), shape, fortran, dtype


def npy_head_length(body: "_native.Body") -> int:
    start = body.head(12)
    if start[6:7] == b"\x01":
        return 10 + int.from_bytes(start[8:10], "little")
    return 12 + int.from_bytes(start[8:12], "little")


def npy(body: "_native.Body") -> "npt.NDArray[Any]":
    """The array in an NPY file: a read-only view of the frame's bytes, not a copy."""
    head = body.head(min(npy_head_length(body), 1 << 16))
    try:
        offset, shape, fortran, dtype = _read_npy_head(head)
    except DecodeError:
        raise
    except Exception as error:  # numpy raises whatever its parser of the header does
        raise DecodeError(f"the NPY file's header cannot be read: {error}") from None
    count = math.prod(shape)
    if count * dtype.itemsize > len(body) - offset:
        raise DecodeError(f"the NPY file says {shape} of {dtype}, and has fewer bytes")
    if math.prod(max(side, 1) for side in shape) * dtype.itemsize > max(MAX_DECODED, len(body)):
        raise DecodeError(f"the NPY file says {shape} of {dtype}, which no array has")
    if count == 0:
        return np.empty(shape, dtype)
    flat = np.asarray(body)[offset : offset + count * dtype.itemsize].view(dtype)
    return flat.reshape(shape[::-1]).transpose() if fortran else flat.reshape(shape)


def decoded(body: "_native.Body", color: str) -> "npt.NDArray[Any]":
    """The array of a frame: NPY, PNG and JPEG by itself, other kinds with OpenCV or Pillow where one is installed.

    :raises DecodeError: whatever is wrong with the bytes, which are a peer's.
    """
    bgr = is_bgr(color)
    try:
        if body.head(6) == b"\x93NUMPY":
            return npy(body)
        array = _native.decode(body, bgr, MAX_DECODED)
        return _foreign.decode(body, bgr, MAX_DECODED) if array is None else array
    except DecodeError:
        raise
    except Exception as error:
        raise DecodeError(f"the frame cannot be decoded: {error or type(error).__name__}") from error
