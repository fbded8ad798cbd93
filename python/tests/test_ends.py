"""Sending and receiving."""

from __future__ import annotations

import datetime
import pathlib
import socket
import threading
import time

import numpy as np
import pytest

import framelane
from conftest import LIMIT, listen_again


def test_an_array_arrives_as_it_was_sent(ends, rng):
    image = rng.integers(0, 65_536, (48, 64), dtype=np.uint16)
    moment = datetime.datetime(2026, 11, 29, 20, 11, 33, 123_456, datetime.timezone.utc)
    with ends.receiver() as receiver, ends.sender(receiver.address) as sender:
        receipt = sender.send("visible", image, captured=moment)
        frame = receiver.next(timeout=LIMIT)
        receipt.wait(timeout=LIMIT)
        assert receipt.stored is True
        assert (frame.source, frame.sequence, frame.media) == ("visible", 0, "image/png")
        assert frame.captured == moment and frame.clock == "program"
        assert frame.name == "20261129T201133.123456Z.png"
        assert frame.sender == ends.sender_pin
        np.testing.assert_array_equal(frame.array(), image)


@pytest.mark.parametrize("encode", ["png", "raw"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", [(1, 1), (5, 7), (6, 4, 3), (6, 4, 4)])
def test_shapes_and_types_without_loss(ends, rng, encode, dtype, shape):
    image = rng.integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)
    with ends.receiver() as receiver, ends.sender(receiver.address, encode=encode) as sender:
        sender.send("visible", image)
        got = receiver.next(timeout=LIMIT).array()
        assert got.dtype == dtype
        np.testing.assert_array_equal(got, image)


def test_raw_takes_every_shape_type_and_layout(ends, rng):
    base = rng.normal(size=(6, 8, 3)).astype(np.float32)
    arrays = [
        base,
        base[::2, ::-1],
        np.asfortranarray(base),
        base.astype(">f8"),
        np.zeros((0, 4), np.uint8),
        np.array(7.5),
        rng.integers(0, 2, (3, 4)).astype(bool),
        np.array([(1, 2.0)], dtype=[("a", "<i4"), ("b", "<f8")]),
    ]
    with ends.receiver() as receiver, ends.sender(receiver.address, encode="raw") as sender:
        for array in arrays:
            sender.send("visible", array)
            frame = receiver.next(timeout=LIMIT)
            got = frame.array()
            assert got.dtype == array.dtype and got.shape == array.shape
            np.testing.assert_array_equal(got, array)
            assert not got.flags.writeable or got.size == 0, "it is a view of what arrived"
        with pytest.raises(framelane.EncodeError, match="Python objects"):
            sender.send("visible", np.array([object()]))


def test_both_orders_of_bytes_and_one_channel(ends, rng):
    """uint16 is uint16 whichever byte is first; (H, W, 1) comes back as (H, W)."""
    image = rng.integers(0, 65_536, (5, 7, 3), dtype=np.uint16)
    with ends.receiver() as receiver, ends.sender(receiver.address) as sender:
        for sent, expected in [(image.astype(">u2"), image), (image[:, :, :1], image[:, :, 0])]:
            sender.send("visible", sent)
            got = receiver.next(timeout=LIMIT).array()
            assert got.dtype == np.uint16
            np.testing.assert_array_equal(got, expected)


def test_an_array_that_is_not_aligned(ends, rng):
    """As the fields behind a header of odd length, or of a packed record, are."""
    pixels = rng.integers(0, 1 << 16, (6, 8), dtype=np.uint16)
    packet = b"x" * 27 + pixels.tobytes()
    unaligned = np.frombuffer(packet, np.uint16, offset=27).reshape(6, 8)
    assert not unaligned.flags.aligned
    with ends.receiver() as receiver, ends.sender(receiver.address) as sender:
        for encode in ("png", "raw"):
            sender.send("visible", unaligned, encode=encode)
            assert np.array_equal(receiver.next(LIMIT).array(), pixels)


def test_a_pillow_image_has_the_colours_that_it_says(ends):
    pil = pytest.importorskip("PIL.Image")
    red = pil.new("RGB", (4, 4), (255, 0, 0))
    clear = pil.new("P", (4, 4))
    clear.info["transparency"] = 0
    with ends.receiver() as receiver, ends.sender(receiver.address) as sender:
        for image in (red, red.convert("P"), red.convert("CMYK")):
            sender.send("visible", image)
            assert receiver.next(LIMIT).array(color="rgb")[0, 0].tolist() == [255, 0, 0], image.mode
        for image, shape in ((red.convert("L"), (4, 4)), (red.convert("1"), (4, 4)), (red.convert("LA"), (4, 4, 4)), (clear, (4, 4, 4))):
            sender.send("visible", image)
            assert receiver.next(LIMIT).array().shape == shape, image.mode
        sender.send("visible", pil.fromarray(np.full((2, 2), 40_000, np.uint16)))
        assert receiver.next(LIMIT).array().tolist() == [[40_000] * 2] * 2


HEADS = {
    "gif": b"GIF89a", "avif": b"\0\0\0\x1cftypavif", "jp2": b"\0\0\0\x0cjP  \r\n\x87\n", "j2k": b"\xff\x4f\xff\x51", "hdr": b"#?RADIANCE\n",
    "pfm": b"PF\n", "pam": b"P7\n", "pbm": b"P4\n", "pgm": b"P2\n", "ppm": b"P6\n", "tiff": b"II*\0", "bmp": b"BM", "webp": b"RIFF\0\0\0\0WEBP",
    "jxl": b"\xff\x0a", "jpg": b"\xff\xd8\xff\xe0", "png": b"\x89PNG\r\n\x1a\n",
}


def test_bytes_are_named_after_their_kind(ends):
    with ends.receiver() as receiver, ends.sender(receiver.address) as sender:
        for extension, head in HEADS.items():
            sender.send("visible", head)
            frame = receiver.next(LIMIT)
            assert frame.name.endswith("." + extension) and frame.media.startswith("image/"), (frame.name, frame.media)


def test_a_home_is_the_same_folder_everywhere(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with framelane.Receiver("127.0.0.1:0", certs="~/keys") as receiver:
        assert framelane.own_pin("~/keys") == receiver.pin
    from framelane import imagezmq

    assert imagezmq.own_pin("~/keys") == receiver.pin
    monkeypatch.setenv("FRAMELANE_CERTS", "~/keys")
    assert imagezmq.own_pin() == receiver.pin
    assert not (tmp_path / "~").exists()


def test_what_is_no_image_is_refused_by_words(ends):
    sender = ends.sender("127.0.0.1:9")
    for image, kind, says in [
        (None, TypeError, "cv2.imread"),
        ("image.png", TypeError, "read_bytes"),
        (pathlib.Path("image.png"), TypeError, "read_bytes"),
        (np.zeros((0, 5), np.uint8), framelane.EncodeError, r"\(0, 5\) has no pixels"),
        (np.zeros((2, 2, 2), np.uint8), framelane.EncodeError, r"\(H, W\), \(H, W, 3\) or \(H, W, 4\)"),
        (np.array(["a"]), framelane.EncodeError, "uint8 and uint16"),
        (5, framelane.EncodeError, "uint8 and uint16"),
        (5, ValueError, "uint8 and uint16"),
        (np.frombuffer(b"\xff\xd8\xff\xe0 a JPEG file", np.uint8), ValueError, r"image\.tobytes\(\)"),
        (np.zeros(20, np.uint8), ValueError, r"\(H, W\).*\(20,\)"),
    ]:
        with pytest.raises(kind, match=says):
            sender.send("visible", image)
    for wrong in ({"encode": ""}, {"color": ""}, {"encode": "jpeg:²"}):
        with pytest.raises(ValueError, match="encode=|color="):
            sender.send("visible", np.zeros((2, 2, 3), np.uint8), **wrong)
    sender.stop()


def test_what_is_lossy_is_asked_for(ends, rng):
    smooth = np.dstack([np.outer(np.arange(64), np.ones(48)) * 3 + shift for shift in (10, 30, 50)]).astype(np.uint8)
    with ends.receiver() as receiver, ends.sender(receiver.address, encode="jpeg:95") as sender:
        sender.send("visible", smooth)
        frame = receiver.next(timeout=LIMIT)
        assert frame.media == "image/jpeg" and frame.bytes.startswith(b"\xff\xd8")
        # Blue and red are where they were.
        assert np.abs(frame.array().astype(int) - smooth).max() < 12
        assert np.abs(frame.array(color="rgb")[:, :, ::-1].astype(int) - smooth).max() < 12
        with pytest.raises(framelane.EncodeError, match="8 bits"):
            sender.send("visible", smooth.astype(np.uint16))
    for wrong, says in [("jpeg", "how much"), ("jpeg:0", "how much"), ("webp", "without loss")]:
        with pytest.raises(ValueError, match=says):
            ends.sender("127.0.0.1:9", encode=wrong)
    with pytest.raises(ValueError, match="OpenCV"):
        ends.sender("127.0.0.1:9", color="grb")


def test_colours_are_red_first_in_files(ends, tmp_path):
    red = np.zeros((4, 4, 3), np.uint8)
    red[:, :, 2] = 255  # OpenCV's red
    with ends.receiver(out=tmp_path / "out") as receiver, ends.sender(receiver.address) as sender:
        sender.send("visible", red)
        frame = receiver.next(timeout=LIMIT)
        assert frame.array(color="rgb")[0, 0].tolist() == [255, 0, 0]
        assert frame.array()[0, 0].tolist() == [0, 0, 255]
        cv2 = pytest.importorskip("cv2")
        assert cv2.imread(str(tmp_path / "out" / "visible" / frame.name))[0, 0].tolist() == [0, 0, 255]


def test_bytes_travel_as_they_are(ends):
    jpeg = b"\xff\xd8\xff\xe0 not much of an image \xff\xd9"
    with ends.receiver() as receiver, ends.sender(receiver.address) as sender:
        for image in (jpeg, bytearray(jpeg), memoryview(jpeg)):
            sender.send("visible", image)
            frame = receiver.next(timeout=LIMIT)
            assert frame.bytes == jpeg and bytes(frame.buffer) == jpeg
            assert frame.name.endswith(".jpg")
            with pytest.raises(framelane.DecodeError):
                frame.array()
        sender.send("visible", b"x", name="front/17.dat")
        assert receiver.next(timeout=LIMIT).name == "front/17.dat"


def test_an_array_may_be_changed_when_it_was_sent(ends):
    image = np.full((480, 640), 1, np.uint8)
    with ends.receiver() as receiver, ends.sender(receiver.address, encode="raw") as sender:
        for value in range(1, 20):
            image[:] = value
            sender.send("visible", image)
            image[:] = 0
        for _ in range(1, 20):
            # Frames may overtake one another.
            frame = receiver.next(timeout=LIMIT)
            assert (frame.array() == frame.sequence + 1).all()


def test_a_frame_is_of_the_time_when_it_was_handed_over(ends, rng):
    """And not of when it was encoded, which takes longer for one camera than for another."""
    large = rng.integers(0, 256, (1_500, 2_000, 3), dtype=np.uint8)
    with ends.receiver() as receiver, ends.sender(receiver.address) as sender:
        before = time.time_ns()
        sender.send("visible", large)
        took = time.time_ns() - before
        age = receiver.next(LIMIT).captured_ns - before
        assert 0 <= age < took / 2, (age, took)


def test_a_long_frame_is_handed_over_in_two_milliseconds(ends):
    """6 MB, which are copied, and nothing else is waited for. The best of some, since the machine may be busy with other things."""
    image = np.zeros((1_000, 2_000, 3), np.uint8)
    with ends.receiver() as receiver, ends.sender(receiver.address, encode="raw") as sender:
        took = []
        for _ in range(20):
            before = time.perf_counter()
            sender.send("visible", image)
            took.append(time.perf_counter() - before)
            receiver.next(timeout=LIMIT)
        assert min(took) < 2e-3, took


def test_what_is_stored_is_in_the_folder(ends, tmp_path, rng):
    out = tmp_path / "received"
    images = [rng.integers(0, 65_536, (8, 8), dtype=np.uint16) for _ in range(10)]
    with ends.receiver(out=out) as receiver:
        with ends.sender(receiver.address, encode="raw") as sender:
            for image in images:
                sender.send("visible", image)
            for _ in images:
                frame = receiver.next(timeout=LIMIT)
                np.testing.assert_array_equal(np.load(out / "visible" / frame.name), images[frame.sequence])
        assert sender.report.complete and sender.report.sent == 10
    assert receiver.report.stored == 10 and receiver.report.missing == 0


def test_a_folder_for_each_day(ends, tmp_path):
    with ends.receiver(out=tmp_path / "out", layout="day") as receiver:
        with ends.sender(receiver.address, encode="raw") as sender:
            for days in range(3):
                sender.send("visible", np.array([days]), captured=10**18 + days * 86_400 * 10**9)
    stored = framelane.Store(tmp_path / "out")["visible"]
    assert [frame.array().tolist() for frame in stored] == [[0], [1], [2]]
    assert [pathlib.Path(path).parent.name for path in stored.paths] == ["2001-09-09", "2001-09-10", "2001-09-11"]
    with pytest.raises(ValueError, match="flat, day and hour"):
        ends.receiver(layout="week")


def test_what_is_wrong_is_said_at_the_start(ends, tmp_path):
    with pytest.raises(framelane.StartError, match="no source"):
        ends.sender("127.0.0.1:9", sources=[])
    with pytest.raises(framelane.StartError, match="sha256"):
        ends.sender("127.0.0.1:9", pin="sha256:0")
    with pytest.raises(framelane.StartError, match="two sources"):
        ends.sender("127.0.0.1:9", sources=["a", "a"])
    with pytest.raises(ValueError, match="from 1 to 100"):
        ends.sender("127.0.0.1:9", weight={"visible": 0})
    with pytest.raises(ValueError, match="no unit"):
        ends.sender("127.0.0.1:9", deadline="300")
    with pytest.raises(framelane.ListenError, match="allow"):
        ends.receiver("0.0.0.0:0", allow=[])
    with pytest.raises(framelane.ListenError, match="no address to listen on"):
        ends.receiver("4433")
    with ends.receiver() as receiver:
        with pytest.raises(framelane.ListenError, match=str(receiver.port)):
            ends.receiver(receiver.address)
        with ends.sender(receiver.address) as sender:
            with pytest.raises(framelane.PushError, match="infrared"):
                sender.send("infrared", b"x")
            with pytest.raises(framelane.PushError, match="manifest.jsonl"):
                sender.send("visible", b"x", name="manifest.jsonl")
            with pytest.raises(ValueError, match="zone"):
                sender.send("visible", b"x", captured=datetime.datetime(2026, 1, 1))
            with pytest.raises(ValueError, match="nanoseconds"):
                sender.send("visible", b"x", captured=int(time.time()))


def test_what_cannot_be_meant_is_said_by_its_name(ends):
    for options, says in [
        ({"weight": {"visible": 1.5}}, "weight=.*whole number"),
        ({"deadline": -1}, "length of time.*-1"),
        ({"retry_for": float("nan")}, "length of time.*nan"),
        ({"drain": float("inf")}, "length of time.*inf"),
        ({"memory": -1}, "size.*-1"),
    ]:
        with pytest.raises(ValueError, match=says):
            ends.sender("127.0.0.1:9", **options)
    with pytest.raises(TypeError, match="whole number of bytes.*float"):
        ends.sender("127.0.0.1:9", memory=1.5)
    sender = ends.sender("127.0.0.1:9")
    with pytest.raises(TypeError, match="source is a str, not int"):
        sender.send(5, b"x")
    with pytest.raises(TypeError, match="name is a str, not PosixPath"):
        sender.send("visible", b"x", name=pathlib.Path("x"))
    with pytest.raises(framelane.PushError, match=r"no source 'infrared'; there are visible \(sources=\)"):
        sender.send("infrared", b"x")
    for moment in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="no capture time"):
            sender.send("visible", b"x", captured=moment)
    sender.stop()
    # Parameters have the names that they have here.
    with pytest.raises(framelane.ListenError, match=r"with `allow` PIN .* or `allow=\"any\"`"):
        ends.receiver("0.0.0.0:0", allow=[])


def test_a_block_that_sends_nothing_says_that_it_could_not(ends, caplog):
    with ends.receiver() as receiver:
        with ends.sender(receiver.address, pin="sha256:" + "0" * 64, retry_for=0) as sender:
            pass
    assert sender.report.complete and sender.report.error is not None
    assert "nothing was sent" in caplog.text and "sha256:" in caplog.text


def test_a_stranger_is_refused_by_words(ends):
    with ends.receiver(allow=["sha256:" + "0" * 64]) as receiver:
        sender = ends.sender(receiver.address, retry_for=0)
        receipt = sender.send("visible", b"x")
        with pytest.raises(framelane.RunEnded):
            receipt.wait(timeout=LIMIT)
        report = sender.finish(timeout=LIMIT)
        assert not report.complete and ends.sender_pin in report.error
        with pytest.raises(framelane.RunEnded):
            sender.send("visible", b"x")
    with pytest.raises(framelane.Incomplete, match="1 frame is not stored") as raised:
        with ends.sender(receiver.address, retry_for=0) as sender:
            sender.send("visible", b"x")
    assert raised.value.report.missing == 1


def test_waits_have_an_end(ends):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as nobody:
        nobody.bind(("127.0.0.1", 0))
        sender = ends.sender("127.0.0.1:%d" % nobody.getsockname()[1], memory="4KiB")
        receipt = sender.send("visible", b"x" * 2_000)
        with pytest.raises(TimeoutError, match="still being sent"):
            receipt.wait(timeout=0.05)
        with pytest.raises(TimeoutError, match="memory"):
            sender.send("visible", b"x" * 3_000, timeout=0.05)
        assert sender.pending == 1 and not sender.connected
        with pytest.raises(TimeoutError):
            sender.finish(timeout=0.05)
        assert receipt.stored is None
        report = sender.close()
        assert report.missing == 1
    with ends.receiver() as receiver:
        with pytest.raises(TimeoutError):
            receiver.next(timeout=0.05)
        with pytest.raises(ValueError):
            receiver.next(timeout=-1)


def test_closing_ends_the_waiting_of_others(ends, beside):
    receiver = ends.receiver()
    waiting = [beside(lambda: list(receiver)) for _ in range(3)]
    receiver.close()
    assert [thread.result() for thread in waiting] == [[], [], []]
    with pytest.raises(framelane.Closed):
        receiver.next()


def test_once_ends_by_itself(ends, beside):
    receiver = ends.receiver(once=True)
    taking = beside(lambda: [frame.bytes for frame in receiver])
    with ends.sender(receiver.address) as sender:
        sender.send("visible", b"x")
    assert taking.result() == [b"x"]
    assert receiver.report.stored == 1


def test_latest_is_the_newest(ends):
    with ends.receiver() as receiver, ends.sender(receiver.address, sources=["visible", "infrared"]) as sender:
        receiver.latest("visible")
        receipts = [sender.send("visible", b"%d" % number) for number in range(50)]
        # Each has arrived; nobody has taken any.
        for receipt in receipts:
            receipt.wait(timeout=LIMIT)
        sender.send("visible", b"newest").wait(timeout=LIMIT)
        assert receiver.next(timeout=LIMIT).bytes == b"newest"
        with pytest.raises(TimeoutError):
            receiver.next(timeout=0.05)
        receiver.every()
        for number in range(5):
            sender.send("visible", b"%d" % number, name=f"again{number}")
        assert {receiver.next(timeout=LIMIT).bytes for _ in range(5)} == {b"%d" % number for number in range(5)}


def test_what_is_late_is_dropped_and_declared(ends):
    with ends.receiver() as receiver:
        sender = ends.sender(receiver.address, deadline="50ms")
        long_ago = time.time_ns() - 10**9
        late = sender.send("visible", b"late", captured=long_ago)
        with pytest.raises(framelane.FrameLost):
            late.wait(timeout=LIMIT)
        report = sender.finish(timeout=LIMIT)
        assert report.dropped == 1 and report.missing == 0 and report.complete


def test_what_the_receiver_refuses_is_not_stored(ends):
    """It is declared, and nobody wanted that."""
    with ends.receiver(max_frame="1kB") as receiver:
        with pytest.raises(framelane.Incomplete, match="1 frame is not stored: ") as raised:
            with ends.sender(receiver.address) as sender:
                sender.send("visible", b"x" * 500)
                assert receiver.next(timeout=LIMIT).bytes == b"x" * 500
                with pytest.raises(framelane.FrameLost):
                    sender.send("visible", b"x" * 5_000).wait(timeout=LIMIT)
    report = raised.value.report
    assert (report.complete, report.sent, report.dropped, report.missing) == (False, 1, 1, 0)
    assert (receiver.report.stored, receiver.report.dropped, receiver.report.missing) == (1, 1, 0)


@pytest.mark.parametrize("transport", ["quic", "tcp"])
def test_one_transport_and_no_other(ends, transport):
    with ends.receiver(transport=transport) as receiver, ends.sender(receiver.address, transport=transport) as sender:
        assert list(receiver.addresses) == [transport]
        sender.send("visible", b"x")
        assert receiver.next(timeout=LIMIT).bytes == b"x"
    with pytest.raises(ValueError, match="and auto"):
        ends.sender("127.0.0.1:9", transport="udp")
    with pytest.raises(ValueError, match="stop-and-wait"):
        ends.receiver(transport="udp")


def test_a_folder_is_sent_beside(ends, tmp_path):
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "0.png").write_bytes(b"\x89PNG one")
    with ends.receiver() as receiver:
        sender = ends.sender(receiver.address, sources=[], folders={"old": folder})
        frame = receiver.next(timeout=LIMIT)
        assert (frame.source, frame.name) == ("old", "0.png")
        assert sender.finish(timeout=LIMIT).complete


def test_other_threads_run_meanwhile(ends):
    """What waits or encodes lets the interpreter go."""
    with ends.receiver() as receiver, ends.sender(receiver.address) as sender:
        counted = 0
        stop = threading.Event()

        def count():
            nonlocal counted
            while not stop.is_set():
                counted += 1

        counting = threading.Thread(target=count, daemon=True)
        with pytest.raises(TimeoutError):
            counting.start()
            receiver.next(timeout=0.5)
        stop.set()
        counting.join()
        assert counted > 1_000
        sender.send("visible", b"x")
        assert receiver.next(timeout=LIMIT).bytes == b"x"


def test_many_threads_send(ends, beside):
    with ends.receiver() as receiver:
        with ends.sender(receiver.address) as sender:
            threads = [
                beside(lambda which=which: [sender.send("visible", b"%d" % which) for _ in range(50)])
                for which in range(4)
            ]
            got = [receiver.next(timeout=LIMIT).bytes for _ in range(200)]
            for thread in threads:
                for receipt in thread.result():
                    receipt.wait(timeout=LIMIT)
        assert sorted(got) == sorted(b"%d" % which for which in range(4) for _ in range(50))


def test_nothing_is_lost_where_the_receiver_is_restarted(ends, tmp_path, rng):
    out = tmp_path / "received"
    receiver = ends.receiver(out=out)
    address = receiver.address
    images = [rng.integers(0, 256, (24, 32, 3), dtype=np.uint8) for _ in range(60)]
    with ends.sender(address, retry_for="5m") as sender:
        for image in images[:20]:
            sender.send("visible", image)
        seen = {receiver.next(timeout=LIMIT).sequence for _ in range(10)}
        receiver.close()
        for image in images[20:40]:
            sender.send("visible", image)
        again = listen_again(lambda: ends.receiver(address, out=out))
        for image in images[40:]:
            sender.send("visible", image)
        report = sender.finish(timeout=LIMIT)
    again.close()
    assert report.complete and len(seen) == 10
    stored = framelane.Store(out)["visible"]
    assert [int(sequence) for sequence in stored.sequence] == list(range(60))
    for frame, image in zip(stored, images):
        np.testing.assert_array_equal(frame.array(), image)


def test_a_receiver_that_goes_with_the_last_frame_is_not_waited_for(ends):
    receiver = ends.receiver()
    sender = ends.sender(receiver.address, retry_for="1d")
    receipt = sender.send("visible", b"x")
    assert receiver.next(timeout=LIMIT).bytes == b"x"
    receipt.wait(timeout=LIMIT)
    receiver.close()
    report = sender.finish(timeout=LIMIT)
    assert report.complete and report.sent == 1


def test_the_readme_says_what_is_so(ends):
    assert pathlib.Path(ends.place / "sender" / "key.pem").stat().st_mode & 0o077 == 0
    assert framelane.own_pin(ends.place / "sender") == ends.sender_pin


@pytest.mark.parametrize(
    "options, says",
    [
        ({"sources": [1]}, r"sources=\[1\]: sources is a str, or several, and 1 is none"),
        ({"sources": 1}, "sources=1: sources is a str, or several, not int"),
        ({"pin": [b"sha256:"]}, "pin=.*b'sha256:' is none"),
        ({"to": None}, "receiver=None: receiver is a str, not NoneType"),
        ({"via": [3]}, "via=.* and 3 is none"),
        ({"transport": None}, "transport is a str"),
        ({"repair": 10}, "repair is a str"),
        ({"when_full": 1}, "when_full is a str"),
        ({"weight": {1: 2}}, "weight=.* and 1 is none"),
        ({"weight": [1]}, "weight is a dict by the names of sources, not list"),
        ({"deadline": {1: "1s"}}, "deadline=.* and 1 is none"),
        ({"folders": {None: "x"}}, "folders=.* and None is none"),
        ({"folders": "x"}, "folders is a dict"),
    ],
)
def test_what_is_no_option_of_a_sender_is_said_in_its_words(ends, options, says):
    with pytest.raises(TypeError, match=says):
        ends.sender(options.pop("to", "127.0.0.1:9"), **options)


@pytest.mark.parametrize(
    "options, says",
    [
        ({"listen": None}, "listen=None: listen is a str, not NoneType"),
        ({"allow": [1]}, "allow=.* and 1 is none"),
        ({"allow": 5}, "allow is a str, or several, not int"),
        ({"latest": [None]}, "latest=.* and None is none"),
        ({"layout": 1}, "layout is a str"),
        ({"transport": [1]}, "transport=.* and 1 is none"),
        ({"once": 1}, "once=1: once is True or False, not int"),
        ({"durable": "false"}, "durable is True or False"),
        ({"shared": None}, "shared is True or False"),
        ({"allow_overwrite": 0}, "allow_overwrite is True or False"),
    ],
)
def test_what_is_no_option_of_a_receiver_is_said_in_its_words(ends, options, says):
    with pytest.raises(TypeError, match=says):
        ends.receiver(**options)


def test_capture_times_of_numpy_and_pandas_are_kept_to_the_nanosecond(ends):
    nanos = 1_764_500_000_123_427_842
    given = [(np.datetime64(nanos, "ns"), nanos)]
    for unit, of_it in [("us", 1_000), ("ms", 1_000_000), ("s", 10**9), ("m", 60 * 10**9), ("h", 3_600 * 10**9), ("D", 86_400 * 10**9)]:
        given.append((np.datetime64(nanos, "ns").astype(f"datetime64[{unit}]"), nanos // of_it * of_it))
    given.append((np.datetime64(nanos // 10**9 // 25, "25s"), nanos // (25 * 10**9) * 25 * 10**9))
    try:
        import pandas

        given.append((pandas.Timestamp(nanos, tz="UTC"), nanos))
        given.append((pandas.Timestamp(nanos, tz="Asia/Tokyo"), nanos))
    except ImportError:
        pass
    with ends.receiver() as receiver, ends.sender(receiver.address) as sender:
        for moment, expected in given:
            sender.send("visible", b"x", captured=moment)
            assert receiver.next(timeout=LIMIT).captured_ns == expected, moment
        for moment, says in [
            (np.datetime64("NaT"), "NaT"),
            (np.datetime64("2026-01", "M"), "finer"),
            (np.datetime64(10**6, "D"), "1970 to 2262"),
            (np.datetime64(-1, "s"), "1970 to 2262"),
        ]:
            with pytest.raises(ValueError, match=says):
                sender.send("visible", b"x", captured=moment)
