"""imagezmq's methods, its own programs, and where it hangs."""

from __future__ import annotations

import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import framelane
import framelane.imagezmq as imagezmq
from framelane.imagezmq._keys import key_folder, trusted_pins
from framelane.imagezmq._note import MAGIC
from framelane.imagezmq._patterns import AGAIN
from framelane.imagezmq._peers import PEERS
from conftest import LIMIT, unused_port
from test_process import program


@pytest.fixture(autouse=True)
def identity(tmp_path, monkeypatch):
    """A user of this test's own."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for variable in ("FRAMELANE_PIN", "FRAMELANE_ALLOW", "FRAMELANE_CERTS"):
        monkeypatch.delenv(variable, raising=False)


def serve(hub, seen, reply=lambda msg: b"OK"):
    """Takes images and replies, until the hub is closed."""
    try:
        while True:
            msg, image = hub.recv_image()
            seen.append((msg, image))
            hub.send_reply(reply(msg))
    except framelane.Closed:
        pass


def test_an_image_and_its_reply(beside, rng):
    seen: list = []
    with imagezmq.ImageHub("tcp://127.0.0.1:0") as hub:
        serving = beside(lambda: serve(hub, seen, lambda msg: f"re: {msg}".encode()))
        with imagezmq.ImageSender(f"tcp://127.0.0.1:{hub.port}") as sender:
            images = [
                rng.integers(0, 256, (40, 60, 3), dtype=np.uint8),
                rng.integers(0, 65_536, (40, 60), dtype=np.uint16),
                rng.normal(size=(3, 4, 5)).astype(np.float32),
                rng.integers(0, 256, (40, 60, 3), dtype=np.uint8)[:, ::2],
            ]
            for number, image in enumerate(images):
                assert sender.send_image(f"cam {number} é", image, timeout=LIMIT) == f"re: cam {number} é".encode()
            long = "x" * 100_000
            assert sender.send_image(long, images[0], timeout=LIMIT) == f"re: {long}".encode()
        hub.close()
        serving.result()
    assert [msg for msg, _ in seen[:4]] == [f"cam {number} é" for number in range(4)]
    for (_, got), image in zip(seen, images):
        assert got.dtype == image.dtype
        np.testing.assert_array_equal(got, image)


def test_jpgs_are_those_bytes(beside):
    jpeg = b"\xff\xd8\xff\xe0 whatever\xff\xd9"
    with imagezmq.ImageHub("tcp://127.0.0.1:0") as hub, imagezmq.ImageSender(f"tcp://127.0.0.1:{hub.port}") as sender:
        sending = beside(lambda: sender.send_jpg("cam", np.frombuffer(jpeg, np.uint8), timeout=LIMIT))
        msg, got = hub.recv_jpg(timeout=LIMIT)
        assert (msg, got) == ("cam", jpeg)
        hub.send_reply(b"OK")
        assert sending.result() == b"OK"


def test_the_methods_for_one_pattern(beside):
    """imagezmq has them, and programs call them."""
    with imagezmq.ImageHub("tcp://127.0.0.1:0") as hub, imagezmq.ImageSender(f"tcp://127.0.0.1:{hub.port}") as sender:
        image = np.zeros((4, 4), np.uint8)
        for send, given in [(sender.send_image_reqrep, image), (sender.send_jpg_reqrep, b"\xff\xd8\xff")]:
            sending = beside(lambda: send("cam", given, timeout=LIMIT))
            assert hub.recv_jpg(timeout=LIMIT)[0] == "cam"
            hub.send_reply(b"yes")
            assert sending.result() == b"yes"
        with pytest.raises(framelane.FramelaneError, match="does not publish"):
            sender.send_image_pubsub("cam", image)
        sender.init_pubsub("tcp://127.0.0.1:0")
        assert sender.send_image_pubsub("cam", image) is None and sender.send_jpg_pubsub("cam", b"\xff\xd8\xff") is None
        with pytest.raises(framelane.FramelaneError, match="does not wait for replies"):
            sender.send_jpg_reqrep("cam", b"\xff\xd8\xff")
        sender.init_reqrep(f"tcp://127.0.0.1:{hub.port}")
        sending = beside(lambda: sender.send_image("again", image, timeout=LIMIT))
        assert hub.recv_image(timeout=LIMIT)[0] == "again"
        hub.send_reply()
        assert sending.result() == b"OK"
    with pytest.raises(framelane.Closed):
        sender.send_image("cam", image)


def test_a_reply_out_of_turn_is_refused(beside):
    with imagezmq.ImageHub("tcp://127.0.0.1:0") as hub, imagezmq.ImageSender(f"tcp://127.0.0.1:{hub.port}") as sender:
        with pytest.raises(framelane.FramelaneError, match="no image to reply to"):
            hub.send_reply()
        sending = beside(lambda: sender.send_image("cam", np.zeros((4, 4), np.uint8), timeout=LIMIT))
        hub.recv_image(timeout=LIMIT)
        hub.send_reply()
        with pytest.raises(framelane.FramelaneError, match="no image to reply to"):
            hub.send_reply()
        assert sending.result() == b"OK"
    with imagezmq.ImageSender("tcp://127.0.0.1:0", REQ_REP=False) as sender:
        with imagezmq.ImageHub(f"tcp://127.0.0.1:{sender.port}", REQ_REP=False) as hub:
            with pytest.raises(framelane.FramelaneError, match="nobody to reply to"):
                hub.send_reply()


def test_what_a_peer_sends_does_not_end_a_hub(beside, tmp_path):
    """Images that are none, and notes that are none, of one that may send."""
    note = b'{"life":"\\ud800","count":1,"reply":"\\ud800"}'
    deep = b"[" * 100_000
    frames = [b"", b"P5 100000 100000 255\n", b"x" + deep + len(deep).to_bytes(4, "little") + MAGIC]
    noted = [image + note + len(note).to_bytes(4, "little") + MAGIC for image in (b"x", b"P5 1 1 255\n\0")]
    with imagezmq.ImageHub("tcp://127.0.0.1:0") as hub:
        own = key_folder(None)
        taking = beside(lambda: hub.recv_image(timeout=LIMIT))
        with framelane.Sender(f"127.0.0.1:{hub.port}", pin=imagezmq.own_pin(), sources=["a"], certs=own) as sender:
            for frame in [*frames, noted[0].replace(b'"count":1', b'"count":0'), noted[1]]:
                sender.send("a", frame).wait(timeout=LIMIT)
            assert taking.result()[1].tolist() == [[0]]
            hub.send_reply()


def test_the_sender_may_be_first(beside, free_port):
    with imagezmq.ImageSender(f"tcp://127.0.0.1:{free_port}") as sender:
        sending = beside(lambda: sender.send_image("first", np.zeros((4, 4), np.uint8), timeout=LIMIT))
        with pytest.raises(TimeoutError):
            sender._ways._replies.next(0.2)
        with imagezmq.ImageHub(f"tcp://127.0.0.1:{free_port}") as hub:
            assert hub.recv_image(timeout=LIMIT)[0] == "first"
            hub.send_reply()
            assert sending.result() == b"OK"


def test_a_hub_that_is_restarted_gets_the_image_again(beside, free_port):
    """It was killed with the image in hand: imagezmq's sender waits for ever."""
    text = "import framelane.imagezmq as z; h = z.ImageHub('tcp://127.0.0.1:%d'); h.recv_image(); print('taken', flush=True); input()"
    first = subprocess.Popen([sys.executable, "-c", text % free_port], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert first.stdout is not None and first.stdin is not None
    with imagezmq.ImageSender(f"tcp://127.0.0.1:{free_port}") as sender:
        sending = beside(lambda: sender.send_image("again", np.zeros((4, 4), np.uint8), timeout=LIMIT))
        assert first.stdout.readline() == "taken\n"
        first.kill()
        first.communicate(timeout=LIMIT)
        with _listen(free_port) as hub:
            assert hub.recv_image(timeout=LIMIT)[0] == "again"
            hub.send_reply(b"at last")
            assert sending.result() == b"at last"


def test_a_slow_hub_gets_no_image_twice(beside):
    with imagezmq.ImageHub("tcp://127.0.0.1:0") as hub, imagezmq.ImageSender(f"tcp://127.0.0.1:{hub.port}") as sender:
        sending = beside(lambda: [sender.send_image(f"{number}", np.zeros((4, 4), np.uint8), timeout=LIMIT) for number in range(2)])
        assert hub.recv_image(timeout=LIMIT)[0] == "0"
        # It is sent again meanwhile.
        time.sleep(AGAIN * 1.5)
        hub.send_reply(b"slow")
        assert hub.recv_image(timeout=LIMIT)[0] == "1"
        hub.send_reply(b"OK")
        assert sending.result() == [b"slow", b"OK"]


def test_a_subscriber_gets_the_newest(beside, rng):
    with imagezmq.ImageSender("tcp://127.0.0.1:0", REQ_REP=False) as sender:
        with imagezmq.ImageHub(f"tcp://127.0.0.1:{sender.port}", REQ_REP=False) as hub:
            image = rng.integers(0, 256, (40, 60, 3), dtype=np.uint8)
            got = None
            end = time.monotonic() + LIMIT
            number = 0
            while got is None and time.monotonic() < end:
                # Nobody may have subscribed yet; imagezmq's are lost then as well.
                assert sender.send_image(f"{number}", image) is None
                number += 1
                try:
                    got = hub.recv_image(timeout=0.05)
                except TimeoutError:
                    pass
            assert got is not None
            np.testing.assert_array_equal(got[1], image)
            for later in range(number, number + 100):
                sender.send_image(f"{later}", image)
                time.sleep(0.005)
            last = f"{number + 99}"
            seen = []
            while last not in seen and time.monotonic() < end:
                try:
                    seen.append(hub.recv_image(timeout=1.0)[0])
                except TimeoutError:
                    break
            # It slept while they came: it does not have to go through all of them.
            assert seen[-1] == last and len(seen) < 50, seen


def test_a_publisher_that_is_restarted_is_found_again(beside, free_port):
    address = f"tcp://127.0.0.1:{free_port}"
    image = np.zeros((4, 4), np.uint8)

    def one(hub, name):
        end = time.monotonic() + LIMIT
        with _publish(free_port) as sender:
            while time.monotonic() < end:
                sender.send_image(name, image)
                try:
                    # One of the publisher before may be here still.
                    if hub.recv_image(timeout=0.1)[0] == name:
                        return name
                except TimeoutError:
                    pass

    with imagezmq.ImageHub(address, REQ_REP=False) as hub:
        assert one(hub, "first") == "first"
        assert one(hub, "second") == "second"


def test_more_subscriptions_than_there_are_places_for_take_no_memory():
    with imagezmq.ImageSender("tcp://127.0.0.1:0", REQ_REP=False) as sender:
        publishing = sender._way()
        for number in range(1_000):
            publishing._note(("sha256:aa", f"host:{number}"))
        assert list(publishing._heard)[-1] == ("sha256:aa", "host:999")
        assert len(publishing._heard) == PEERS
        publishing._heard.clear()


def test_strangers_are_refused(tmp_path):
    with imagezmq.ImageHub("tcp://*:0") as hub:
        with imagezmq.ImageSender(f"tcp://127.0.0.1:{hub.port}", certs=tmp_path / "stranger", pin=imagezmq.own_pin()) as sender:
            with pytest.raises(framelane.FramelaneError, match=imagezmq.own_pin(tmp_path / "stranger")):
                sender.send_image("x", np.zeros((2, 2), np.uint8), timeout=LIMIT)
        with pytest.raises(TimeoutError):
            hub.recv_image(timeout=0.05)


def test_pins_may_be_in_the_environment(tmp_path, monkeypatch, beside):
    monkeypatch.setenv("FRAMELANE_ALLOW", imagezmq.own_pin(tmp_path / "other"))
    monkeypatch.setenv("FRAMELANE_PIN", imagezmq.own_pin())
    with imagezmq.ImageHub("tcp://127.0.0.1:0") as hub:
        with imagezmq.ImageSender(f"tcp://127.0.0.1:{hub.port}", certs=tmp_path / "other") as sender:
            sending = beside(lambda: sender.send_image("x", np.zeros((2, 2), np.uint8), timeout=LIMIT))
            assert hub.recv_image(timeout=LIMIT)[0] == "x"
            hub.send_reply()
            assert sending.result() == b"OK"


@pytest.mark.parametrize("address", ["ipc://x", "tcp://host", "5555"])
def test_addresses_that_are_none(address):
    with pytest.raises(ValueError, match="tcp://"):
        imagezmq.ImageSender(address)


@pytest.fixture
def free_port():
    return unused_port()


def _listen(port):
    return _again(lambda: imagezmq.ImageHub(f"tcp://127.0.0.1:{port}"))


def _publish(port):
    return _again(lambda: imagezmq.ImageSender(f"tcp://127.0.0.1:{port}", REQ_REP=False))


def _again(make):
    """A port can be in use for a moment longer, while peers are told."""
    end = time.monotonic() + LIMIT
    while True:
        try:
            return make()
        except framelane.ListenError:
            assert time.monotonic() < end
            time.sleep(0.02)


def send_until_it_is_replied_to(sender_start, jpeg, limit):
    """As imagezmq's example timeout_req_ImageSender.py does it: its calls, and what it catches."""
    zmq = pytest.importorskip("zmq")
    restarts = 0
    sender = sender_start(zmq)
    try:
        end = time.monotonic() + limit
        while time.monotonic() < end:
            try:
                return sender.send_jpg("cam", jpeg), restarts
            except (zmq.ZMQError, zmq.ContextTerminated, zmq.Again):
                sender.close()
                restarts += 1
                sender = sender_start(zmq)
    finally:
        sender.close()


def test_limits_of_its_socket_are_as_in_its_example(beside, free_port):
    def sender_start(zmq):
        sender = imagezmq.ImageSender(connect_to=f"tcp://127.0.0.1:{free_port}")
        sender.zmq_socket.setsockopt(zmq.LINGER, 0)
        sender.zmq_socket.setsockopt(zmq.RCVTIMEO, 200)
        sender.zmq_socket.setsockopt(zmq.SNDTIMEO, 200)
        return sender

    pytest.importorskip("zmq")
    jpeg = np.frombuffer(b"\xff\xd8\xff\xe0 whatever\xff\xd9", np.uint8)
    sending = beside(lambda: send_until_it_is_replied_to(sender_start, jpeg, LIMIT))
    # Nobody replies, and then somebody does.
    time.sleep(0.5)
    with imagezmq.ImageHub(f"tcp://127.0.0.1:{free_port}") as hub:
        hub.zmq_socket.RCVTIMEO = int(LIMIT * 1_000)
        hub.recv_jpg()
        hub.send_reply(b"OK")
        # Those that gave up may have left theirs; the one that waits is told in its turn.
        hub.zmq_socket.RCVTIMEO = 50
        while sending.is_alive():
            try:
                hub.recv_jpg()
                hub.send_reply(b"OK")
            except Exception as error:
                assert type(error).__name__ == "Again", error
    reply, restarts = sending.result()
    assert reply == b"OK" and restarts >= 1


def test_limits_of_its_socket_without_pyzmq(monkeypatch):
    monkeypatch.setitem(sys.modules, "zmq", None)
    with imagezmq.ImageHub("tcp://127.0.0.1:0") as hub:
        assert (hub.zmq_socket.RCVTIMEO, hub.zmq_socket.getsockopt(27)) == (-1, -1)
        hub.zmq_socket.setsockopt(27, 20)
        with pytest.raises(imagezmq.Again):
            hub.recv_image()
        with pytest.raises(TimeoutError) as said:
            hub.recv_image(timeout=0.02)
        assert not isinstance(said.value, imagezmq.Again)
        with pytest.raises(framelane.FramelaneError, match="no socket of ZeroMQ"):
            hub.zmq_socket.setsockopt(6, b"")
        with pytest.raises(ValueError, match="milliseconds"):
            hub.zmq_socket.setsockopt(27, -2)
        with pytest.raises(AttributeError, match="no socket of ZeroMQ"):
            hub.zmq_socket.send(b"x")
        hub.zmq_socket.close()
        with pytest.raises(framelane.Closed):
            hub.recv_image()


def test_ctrl_c_ends_a_subscriber_whose_publisher_is_gone(tmp_path):
    subscribes = """
        import framelane.imagezmq as imagezmq
        hub = imagezmq.ImageHub(f"tcp://127.0.0.1:{sys.argv[1]}", REQ_REP=False)
        hub.recv_image()
        print("ready", flush=True)
        while True: hub.recv_image()
    """
    publishes = """
        import framelane.imagezmq as imagezmq, numpy, time
        sender = imagezmq.ImageSender("tcp://127.0.0.1:0", REQ_REP=False)
        print(sender.port, flush=True)
        while True:
            sender.send_image("x", numpy.zeros((4, 4), numpy.uint8))
            time.sleep(0.02)
    """
    with program(publishes) as publisher:
        assert publisher.stdout is not None
        with program(subscribes, publisher.stdout.readline().strip()) as subscriber:
            assert subscriber.stdout is not None and subscriber.stdout.readline() == "ready\n"
            publisher.kill()
            publisher.communicate(timeout=LIMIT)
            # It says where it is twice more.
            time.sleep(1.2)
            asked = time.monotonic()
            subscriber.send_signal(signal.SIGINT)
            _, errors = subscriber.communicate(timeout=LIMIT)
            took = time.monotonic() - asked
    assert "KeyboardInterrupt" in errors and took < 4, (took, errors)


# imagezmq's own programs.

PAIRS = [
    ("test_send_num_images.py", "test_receive_images.py"),
    ("test_pub_send_num_images.py", "test_sub_receive_num_images.py"),
]

# Windows are counted instead of shown, and time flies: the programs themselves are as they are.
STAGE = """
import sys, time
import cv2
shown = 0
def imshow(name, image):
    global shown
    shown += 1
    assert image.shape == (400, 400, 3) and image.any(), (name, image.shape)
    print("SHOWN", name, flush=True)
    if shown == 5:
        sys.exit(0)
cv2.imshow, cv2.waitKey = imshow, lambda wait: -1
sleep = time.sleep
time.sleep = lambda seconds: sleep(min(seconds, 0.05))
path = sys.argv[1]
exec(compile(open(path).read(), path, "exec"), {"__name__": "__main__"})
"""


@pytest.fixture(scope="session")
def programs(tmp_path_factory):
    """The programs in imagezmq's source distribution on PyPI."""
    place = tmp_path_factory.mktemp("imagezmq")
    found = os.environ.get("FRAMELANE_TEST_IMAGEZMQ")
    if not found:
        fetch = [sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check", "--no-deps", "--no-binary", ":all:"]
        if subprocess.run([*fetch, "imagezmq==1.2.0", "-d", str(place)], capture_output=True).returncode != 0:
            pytest.skip("imagezmq's source distribution cannot be had from PyPI")
        shutil.unpack_archive(next(place.glob("*.tar.gz")), place)
        found = str(next(place.glob("imagezmq-*/tests")))
    return pathlib.Path(found)


WITHOUT_A_NETWORK = """
import subprocess, threading
import numpy as np
import framelane.imagezmq as imagezmq
from framelane.imagezmq._facing import Facing

sender = imagezmq.ImageSender("tcp://10.9.8.7:5555")
facing = Facing("10.9.8.7", 5555)
assert facing.address(7) is None, facing.address(7)
subscriber = imagezmq.ImageHub("tcp://10.9.8.7:5556", REQ_REP=False)
replies = []
asking = threading.Thread(target=lambda: replies.append(sender.send_image("early", np.zeros((4, 4), np.uint8))))
asking.start()
for line in ("ip address add 10.9.8.7/24 dev lo", "ip link set lo up"):
    subprocess.run(line.split(), check=True)
assert facing.address(7) == "10.9.8.7:7", facing.address(7)
with imagezmq.ImageHub("tcp://*:5555") as hub:
    msg, _ = hub.recv_image(timeout=LIMIT)
    hub.send_reply(b"seen")
    # Where to reply was not known when the image was sent first: it comes again, and the hub says again what it said.
    while asking.is_alive():
        try:
            hub.recv_image(timeout=0.1)
        except TimeoutError:
            continue
with imagezmq.ImageSender("tcp://*:5556", REQ_REP=False) as publisher:
    for number in range(1000):
        publisher.send_image(number, np.zeros((4, 4), np.uint8))
        try:
            subscriber.recv_image(timeout=0.1)
            break
        except TimeoutError:
            continue
    else:
        raise SystemExit("no image came")
assert msg == "early" and replies == [b"seen"], (msg, replies)
subscriber.close()
sender.close()
"""


def test_both_ends_may_be_there_before_the_network(tmp_path):
    alone = ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--map-root-user", "--net"]
    if shutil.which("ip") is None or subprocess.run([*alone, "true"], capture_output=True).returncode != 0:
        pytest.skip("no network namespace can be made")
    script = WITHOUT_A_NETWORK.replace("LIMIT", str(LIMIT))
    done = subprocess.run([*alone, sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=3 * LIMIT)
    assert done.returncode == 0, done.stderr


def test_a_name_that_nobody_knows_yet_is_no_error():
    imagezmq.ImageSender("tcp://no-such-host.invalid:5555").close()
    imagezmq.ImageHub("tcp://no-such-host.invalid:5555", REQ_REP=False).close()


def test_a_hub_within_its_machine_does_not_subscribe_elsewhere():
    with imagezmq.ImageHub("tcp://127.0.0.1:5555", REQ_REP=False) as hub:
        hub.connect("tcp://localhost:5556")
        with pytest.raises(framelane.FramelaneError, match="name tcp://10.0.0.2:5555 first"):
            hub.connect("tcp://10.0.0.2:5555")


def test_an_image_without_a_reply_is_not_passed_over(beside):
    """imagezmq raises as well; the camera that sent it would wait for ever."""
    with imagezmq.ImageHub("tcp://127.0.0.1:0") as hub, imagezmq.ImageSender(f"tcp://127.0.0.1:{hub.port}") as sender:
        sending = beside(lambda: sender.send_image("a", np.zeros((2, 2), np.uint8)))
        hub.recv_image(timeout=LIMIT)
        with pytest.raises(framelane.FramelaneError, match="has no reply yet"):
            hub.recv_image(timeout=LIMIT)
        hub.send_reply(b"late")
        assert sending.result() == b"late"


def test_a_hub_may_change_what_it_does_and_ends_with_its_context(beside):
    with imagezmq.ImageHub("tcp://127.0.0.1:0") as hub, imagezmq.ImageSender("tcp://127.0.0.1:0", REQ_REP=False) as publisher:
        hub.init_pubsub(f"tcp://127.0.0.1:{publisher.port}")
        for number in range(1_000):
            publisher.send_image(number, np.zeros((2, 2), np.uint8))
            try:
                hub.recv_image(timeout=0.1)
                break
            except TimeoutError:
                continue
        hub.init_reqrep("tcp://127.0.0.1:0")
        with imagezmq.ImageSender(f"tcp://127.0.0.1:{hub.port}") as sender:
            sending = beside(lambda: sender.send_image("a", np.zeros((2, 2), np.uint8)))
            hub.recv_image(timeout=LIMIT)
            hub.send_reply()
            assert sending.result() == b"OK"
            sender.zmq_context.term()
        hub.zmq_context.destroy(linger=0)
        with pytest.raises(framelane.Closed):
            hub.recv_image()


def test_pins_in_the_environment_are_apart_by_spaces_or_commas(monkeypatch, tmp_path):
    one, two = (framelane.own_pin(tmp_path / name) for name in "ab")
    for text in (f"{one},{two}", f"{one} {two}", f" front={one} , {two}\n"):
        monkeypatch.setenv("FRAMELANE_ALLOW", text)
        assert trusted_pins(None, "FRAMELANE_ALLOW", str(tmp_path / "own"))[:2] == [one, two], text


@pytest.mark.parametrize("sends, receives", PAIRS)
@pytest.mark.parametrize("library", ["imagezmq", "framelane.imagezmq"])
def test_its_own_programs_run_unchanged(programs, tmp_path, library, sends, receives):
    pytest.importorskip("cv2")
    if library == "imagezmq":
        pytest.importorskip("imagezmq")
    # Their port is fixed, so each run has a network of its own.
    alone = ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--map-root-user", "--net"]
    up = "ip link set lo up"
    if shutil.which("ip") is None or subprocess.run([*alone, "sh", "-c", up], capture_output=True).returncode != 0:
        pytest.skip("no network namespace can be made")
    (tmp_path / "stage.py").write_text(STAGE)
    for name in (sends, receives):
        text = (programs / name).read_text()
        changed = re.sub(r"^import imagezmq$", f"import {library} as imagezmq", text, flags=re.MULTILINE)
        assert changed != text or library == "imagezmq"
        # The address of the publisher is the user's to write.
        changed = changed.replace("tcp://192.168.86.33:5555", "tcp://127.0.0.1:5555")
        (tmp_path / name).write_text(changed)
    run = f"{sys.executable} stage.py"
    script = f"{up}; {run} {sends} >sent 2>&1 & sender=$!; {run} {receives}; status=$?; kill $sender; exit $status"
    script = f"{up} && ({script})"
    done = subprocess.run([*alone, "sh", "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=2 * LIMIT)
    assert done.returncode == 0, done.stderr + (tmp_path / "sent").read_text()
    assert done.stdout.count("SHOWN") == 5
