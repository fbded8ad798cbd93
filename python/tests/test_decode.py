"""What becomes of a peer's bytes: the array that they are, or DecodeError, and never much memory."""

from __future__ import annotations

import io
import itertools
import random
import struct
import sys
import tracemalloc
from typing import Any, Callable

import numpy as np
import pytest

import framelane
from framelane import _codec, _foreign, _native

WIDTH, HEIGHT = 67, 45


def array(data: bytes, color: str = "bgr") -> np.ndarray:
    """As Frame.array and StoredFrame.array have it."""
    return _codec.decoded(_native.Body(data), color)


@pytest.fixture(params=["cv2", "PIL"])
def decoder(request, monkeypatch):
    """Only one of the two is there."""
    pytest.importorskip(request.param)
    monkeypatch.setitem(sys.modules, {"cv2": "PIL", "PIL": "cv2"}[request.param], None)
    return request.param


def tiff(image: np.ndarray, order: str = "<", big: bool = False, **changed: int) -> bytes:
    """Written by hand, channels as they come, so that it says nothing but what TIFF says."""
    channels = image.shape[2] if image.ndim == 3 else 1
    pixels = image.astype(image.dtype.newbyteorder(order)).tobytes()
    head = 16 if big else 8
    body = head + len(pixels)
    body += body % 2
    word = "Q" if big else "I"
    kind = {"u": 1, "f": 3}[image.dtype.kind]
    tags = {
        256: [image.shape[1]],
        257: [image.shape[0]],
        258: [8 * image.itemsize] * channels,
        259: [1],
        262: [2 if channels >= 3 else 1],
        273: [head],
        277: [channels],
        278: [image.shape[0]],
        279: [len(pixels)],
        339: [kind] * channels,
    }
    if channels in (2, 4):
        tags[338] = [2]
    for name, value in changed.items():
        tags[int(name[1:])] = [value]
    size = struct.calcsize(order + word)
    entries, beside = b"", b""
    after = body + (8 if big else 2) + len(tags) * (20 if big else 12) + size
    for tag, values in sorted(tags.items()):
        form, number = ("H", 3) if max(values) < 65_536 and tag not in (256, 257, 273, 279) else ("I", 4)
        data = struct.pack(f"{order}{len(values)}{form}", *values)
        if len(data) > size:
            place, beside = struct.pack(order + word, after + len(beside)), beside + data + b"\0" * (len(data) % 2)
        else:
            place = data.ljust(size, b"\0")
        entries += struct.pack(f"{order}HH{word}", tag, number, len(values)) + place
    mark = b"II" if order == "<" else b"MM"
    start = struct.pack(order + "HHHQ", 43, 8, 0, body) if big else struct.pack(order + "HI", 42, body)
    directory = struct.pack(order + ("Q" if big else "H"), len(tags)) + entries + bytes(size)
    return (mark + start + pixels).ljust(body, b"\0") + directory + beside


def pixels(channels: int, dtype: Any = np.uint8) -> np.ndarray:
    rng = np.random.default_rng(channels)
    shape = (HEIGHT, WIDTH) if channels == 1 else (HEIGHT, WIDTH, channels)
    if np.dtype(dtype).kind == "f":
        return rng.normal(size=shape).astype(dtype)
    return rng.integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)


def bgr_of(image: np.ndarray) -> np.ndarray:
    return image[:, :, [2, 1, 0, *range(3, image.shape[2])]] if image.ndim == 3 and image.shape[2] >= 3 else image


def test_tiff_of_every_kind_has_its_colours_where_they_belong(decoder):
    wanted = [(1, np.uint8), (3, np.uint8), (4, np.uint8), (1, np.uint16)]
    if decoder == "cv2":
        # Pillow does not know them.
        wanted += [(3, np.uint16), (4, np.uint16), (1, np.float32), (3, np.float32)]
    for (channels, dtype), order in itertools.product(wanted, "<>"):
        image = pixels(channels, dtype)
        data = tiff(image, order)
        for color, expected in (("rgb", image), ("bgr", bgr_of(image))):
            got = array(data, color)
            assert got.dtype == np.dtype(dtype), (channels, dtype, order)
            np.testing.assert_array_equal(got, expected, err_msg=f"{channels} {dtype} {order} {color}")


@pytest.mark.parametrize("kind", ["png", "tiff", "webp", "bmp", "jp2"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_alpha_is_the_last_whatever_the_kind(decoder, monkeypatch, kind, channels):
    image = pixels(channels)
    if channels == 4:
        image[:, :, 3] |= 1  # where nothing is seen, WebP has no colours
    with monkeypatch.context() as other:
        other.delitem(sys.modules, "cv2", raising=False)
        cv2 = pytest.importorskip("cv2")
        how = [cv2.IMWRITE_WEBP_QUALITY, 101] if kind == "webp" else []
        if kind == "jp2":
            how = [cv2.IMWRITE_JPEG2000_COMPRESSION_X1000, 1000]
        data = cv2.imencode("." + kind, bgr_of(image), how)[1].tobytes()
    rgb, bgr = array(data, "rgb"), array(data)
    if rgb.ndim != image.ndim:
        image = np.dstack([image] * 3)  # there is no grey WebP
    if rgb.shape[2:] == (4,) and channels == 3:
        rgb, bgr = rgb[:, :, :3], bgr[:, :, :3]
    np.testing.assert_array_equal(rgb, image)
    np.testing.assert_array_equal(bgr, bgr_of(image))


def test_colours_of_palettes_and_of_other_spaces(decoder):
    if decoder == "cv2":
        pytest.skip("OpenCV gives colours by itself")
    from PIL import Image

    for mode, kind in [("P", "GIF"), ("P", "BMP"), ("P", "TIFF"), ("1", "TIFF"), ("CMYK", "TIFF"), ("LA", "TIFF")]:
        image = Image.fromarray(pixels(3)).convert(mode)
        out = io.BytesIO()
        image.save(out, kind)
        got = array(out.getvalue(), "rgb")
        plain = {"1": "L", "LA": "LA"}.get(mode, "RGB")
        expected = np.array(Image.open(io.BytesIO(out.getvalue())).convert(plain))
        assert got.dtype == np.uint8
        np.testing.assert_array_equal(got[..., :3] if plain == "RGB" else got, expected)


def samples() -> "dict[str, bytes]":
    """One file of each kind that can be made here."""
    cv2 = pytest.importorskip("cv2")
    image = pixels(3)
    made = {
        kind: cv2.imencode("." + kind, pixels(1) if kind == "pgm" else image)[1].tobytes()
        for kind in ("png", "jpg", "tiff", "bmp", "webp", "jp2", "ppm", "pgm", "gif")
    }
    made["hdr"] = cv2.imencode(".hdr", pixels(3, np.float32))[1].tobytes()
    made["pfm"] = cv2.imencode(".pfm", pixels(3, np.float32))[1].tobytes()
    made["pam"] = cv2.imencode(".pam", image)[1].tobytes()
    made["big tiff"] = tiff(image, big=True)
    made["npy"] = npy("<u2", (HEIGHT, WIDTH), bytes(2 * HEIGHT * WIDTH))
    return made


def npy(descr: object, shape: object, data: bytes = b"") -> bytes:
    head = f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape!r}, }}".encode()
    head += b" " * (-(len(head) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head + data


def test_headers_are_read_as_decoders_read_them():
    """What is reckoned is no less than what it takes, and not many times that."""
    for name, data in samples().items():
        got = array(data)
        assert got.shape[:2] == (HEIGHT, WIDTH), name
        kind = _foreign.kind_of(data[:16])
        if kind is not None:
            assert got.nbytes <= _foreign._BYTES[kind](memoryview(data)) <= 4 * got.nbytes, name


def p(*lines: str) -> bytes:
    return "\n".join(lines).encode() + b"\n"


def box(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(data), kind) + data


SIZ = struct.pack(">HHHHIIIIIIIIH", 0xFF4F, 0xFF51, 47, 0, 10**6, 10**6, 0, 0, 10**6, 10**6, 0, 0, 3) + b"\x07\x01\x01" * 3
ONE = np.zeros((1, 1), np.uint8)

BOMBS: "dict[str, Callable[[], bytes]]" = {
    "TIFF": lambda: tiff(ONE, _256=30_000, _257=30_000),
    "TIFF, big-endian": lambda: tiff(ONE, ">", _256=2**31 - 1),
    "BigTIFF": lambda: tiff(ONE, big=True, _256=2**31 - 1, _257=2**31 - 1),
    "TIFF of one tile": lambda: tiff(ONE, _322=2**15, _323=2**15),
    "TIFF of many channels": lambda: tiff(np.zeros((1, 1, 3), np.uint16), _256=10_000, _257=10_000),
    "TIFF with a palette": lambda: tiff(ONE, _256=16_000, _257=16_000, _262=3),
    "BMP": lambda: b"BM" + struct.pack("<IIIIiiHHIIiiII", 54, 0, 54, 40, 40_000, -40_000, 1, 24, 1, 0, 0, 0, 0, 0),
    "WebP": lambda: b"RIFF\x1e\0\0\0WEBPVP8X\x0a\0\0\0\x10\0\0\0" + b"\xff\xff\x3f" * 2 + bytes(64),
    "WebP without loss": lambda: b"RIFF\x1e\0\0\0WEBPVP8L\x0a\0\0\0\x2f\xff\xff\xff\x1f" + bytes(64),
    "GIF": lambda: b"GIF89a" + b"\xff\xff\xff\xff" + bytes(64),
    "P5": lambda: p("P5 100000 100000 255"),
    "P6 with comments": lambda: p("P6", "# x", "30000", "# 1", "30000 65535"),
    "P4": lambda: p("P4 100000 100000"),
    "PAM": lambda: p("P7", "WIDTH 100000", "HEIGHT 100000", "DEPTH 4", "MAXVAL 255", "TUPLTYPE RGB_ALPHA", "ENDHDR"),
    "PFM": lambda: p("PF", "30000 30000", "-1.0"),
    "HDR": lambda: p("#?RADIANCE", "FORMAT=32-bit_rle_rgbe", "", "-Y 100000 +X 100000"),
    "JPEG 2000": lambda: b"\x00\x00\x00\x0cjP  \r\n\x87\n" + box(b"ftyp", b"jp2 \0\0\0\0jp2 ") + box(b"jp2c", SIZ),
    "JPEG 2000 without boxes": lambda: SIZ,
    "PNG": lambda: b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sIIBBBBBI", 13, b"IHDR", 30_000, 30_000, 8, 2, 0, 0, 0, 0x2FDA6B1E),
    "JPEG": lambda: b"\xff\xd8\xff\xc0\x00\x11\x08\xff\xff\xff\xff\x03\x01\x11\x00\x02\x11\x00\x03\x11\x00\xff\xda\x00\x0c\x03\x01\x00\x02\x00\x03\x00\x00\x3f\x00",
    "NPY": lambda: npy("<f8", (2**20, 2**20)),
    "NPY of no side": lambda: npy("<f8", (2**40, 2**40, 0)),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_what_would_take_much_memory_is_refused_before_it_does(monkeypatch, bomb):
    def reached(*_):
        raise AssertionError("a decoder was given it")

    monkeypatch.setattr(_foreign, "_opencv", reached)
    monkeypatch.setattr(_foreign, "_pillow", reached)
    tracemalloc.start()
    try:
        for color in ("bgr", "rgb"):
            with pytest.raises(framelane.DecodeError) as raised:
                array(BOMBS[bomb](), color)
            assert "AssertionError" not in str(raised.value) and "was given" not in str(raised.value), raised.value
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


HOSTILE = [
    b"",
    b"\0",
    b"what is this",
    b"P5 100000 100000 255\n",
    b"P5 0 5 255\n",
    b"P5 " + b" " * 100_000,
    b"P5" + b"#\n" * 50_000,
    b"P5 -5 5 255\n",
    b"#?RADIANCE 100000x100000",
    b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
    b"\x00\x00\x00\x20ftypavif" + bytes(20),
    b"\x00\x00\x00\x0cjP  \r\n\x87\n" + b"\0" * 40,
    b"\x00\x00\x00\x0cjP  \r\n\x87\n" + box(b"free", b"") * 10_000,
    b"\xff\x0a" + bytes(64),
    b"II*\0\xff\xff\xff\xff",
    b"II*\0\x08\0\0\0\xff\xff",
    b"MM\0+\0\x08\0\0" + b"\xff" * 64,
    b"\x93NUMPY",
    b"\x93NUMPY\x01\x00\xff\xff",
    b"\x93NUMPY\x03\x00" + bytes(64),
    b"\x93NUMPY\x02\x00\xff\xff\xff\x7f" + bytes(64),
    *(npy("<u2", shape, bytes(64)) for shape in [(-2, -2), (-4,), (-1, 3), (True,), (2.0,), 5, (10**30,), (1,) * 65, ((1,),), None]),
    *(npy(descr, (2, 2), bytes(64)) for descr in ["|S0", "|V0", "<U0", "O", ("<f4", (3,)), [("a", "O")], "nonsense", 7]),
    npy([("a", "|V0")], (2,), bytes(64)),
    npy("<u2", (2, 2), bytes(3)),
    npy("(" * 4_000, (2, 2), bytes(64)),
]


@pytest.mark.parametrize("number", range(len(HOSTILE)))
def test_nothing_but_decode_error_comes_of_hostile_bytes(decoder, number):
    with pytest.raises(framelane.DecodeError) as raised:
        array(HOSTILE[number])
    assert str(raised.value)


def test_no_change_of_a_byte_raises_anything_else(monkeypatch):
    """Files of every kind, cut and changed at random; whoever decodes them."""
    monkeypatch.setattr(_codec, "MAX_DECODED", 1 << 22)
    made = samples()
    dice = random.Random(7)
    decoded = 0
    for name, data in made.items():
        for _ in range(150):
            changed = bytearray(data[: dice.choice((len(data), len(data), dice.randrange(len(data))))])
            for _ in range(dice.randrange(1, 4)):
                if changed:
                    # Headers are at the beginning, and at the end.
                    at = dice.choice((dice.randrange(min(64, len(changed))), dice.randrange(len(changed))))
                    changed[at] = dice.choice((0, 1, 0x7F, 0x80, 0xFF, dice.randrange(256)))
            try:
                got = array(bytes(changed))
                assert got.nbytes <= _codec.MAX_DECODED, name
                decoded += 1
            except framelane.DecodeError:
                pass
    assert decoded > 100


def test_a_frame_that_is_empty_is_refused_as_any_other(ends):
    with ends.receiver() as receiver, ends.sender(receiver.address) as sender:
        sender.send("visible", b"")
        with pytest.raises(framelane.DecodeError, match="empty"):
            receiver.next(timeout=60).array()


def test_without_a_decoder_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(framelane.DecodeError, match="pip install opencv-python-headless"):
        array(tiff(pixels(3)))
    with pytest.raises(framelane.DecodeError, match="no kind of image"):
        array(b"%!PS-Adobe-3.0 EPSF-3.0")


FIELDS = [
    [("größe", "<u2"), ("x", "u1")],  # within Latin-1
    [("温度", "<f4"), ("время", "<i8", (2,))],
    [(f"поле {number}", "<f8") for number in range(60)],
    [("\ud800 поле", "u1")],
]


@pytest.mark.parametrize("fields", FIELDS)
def test_raw_arrays_have_fields_of_any_name(fields):
    image = np.zeros((3, 4), np.dtype(fields))
    image[fields[0][0]] = 7
    data = _codec.raw(image).tobytes()
    for got in (array(data), np.load(io.BytesIO(data))):
        assert got.dtype == image.dtype
        np.testing.assert_array_equal(got, image)
    written = io.BytesIO()
    np.save(written, image)
    np.testing.assert_array_equal(array(written.getvalue()), image)


@pytest.mark.parametrize(
    "dtype, says",
    [
        ([(f"field {number}", "u1") for number in range(1_000)], "1000 fields"),
        ([(f"поле {number}", "u1") for number in range(1_000)], "1000 fields"),
        ([(f"field {number}", "u1") for number in range(9_000)], "9000 fields"),
        ([], "holds nothing"),
        (object, "Python objects"),
    ],
)
def test_raw_arrays_that_cannot_travel_are_refused(dtype, says):
    with pytest.raises(framelane.EncodeError, match=says):
        _codec.raw(np.zeros((2, 2), np.dtype(dtype)))


@pytest.mark.parametrize(
    "head",
    [
        "",
        "[" * 9_000,
        "{'descr': '<u2', 'fortran_order': False}",
        "{'descr': '<u2', 'fortran_order': 0, 'shape': (2,)}",
        "{'descr': '<u2', 'fortran_order': False, 'shape': 2}",
        "{'descr': '<u2', 'fortran_order': False, 'shape': (-2,)}",
        "{'descr': '<u2', 'fortran_order': False, 'shape': (1 << 60,)}",
        "{'descr': '<u2', 'fortran_order': False, 'shape': (100,)}",
        "{'descr': '|O', 'fortran_order': False, 'shape': (2,)}",
        "{'descr': 5, 'fortran_order': False, 'shape': (2,)}",
        "__import__('os').getpid()",
        "\udcff",
    ],
)
def test_heads_of_the_third_version_are_a_peers(head):
    text = head.encode("utf-8", "surrogateescape")
    with pytest.raises(framelane.DecodeError):
        array(b"\x93NUMPY\x03\x00" + struct.pack("<I", len(text)) + text + bytes(8))
    with pytest.raises(framelane.DecodeError):
        array(b"\x93NUMPY\x03\x00" + struct.pack("<I", 1 << 31) + text)
