#!/usr/bin/env bash
# rosbags-image 0.10.4 (PyPI): sensor_msgs/Image says by `step` how many bytes a row takes, which may be more than its pixels need,
# as with drivers that align rows to 4 or 64 bytes. message_to_cvimage does not look at it: the padding becomes pixels, each
# row begins further to the right, and the last pixels are missing. Shape and type are right, and nothing is raised or logged.
# Rows without padding, big-endian counts too, are read right.
# Seen on 2026-11-30, mono16 and 16UC1, 382 x 288: step 764: equal to what was sent; step 768: shape (288, 382), 0.3 % of the
# pixels right.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" -q install --disable-pip-version-check rosbags==0.11.9 rosbags-image==0.10.4 \
    opencv-python-headless==4.12.0.88
"$place/venv/bin/python" - <<'PY'
import sys
import numpy
from rosbags.image import message_to_cvimage
from rosbags.typesys import Stores, get_typestore

HEIGHT, WIDTH = 288, 382
store = get_typestore(Stores.ROS2_HUMBLE)
image, header, time = (store.types[name] for name in
                       ("sensor_msgs/msg/Image", "std_msgs/msg/Header", "builtin_interfaces/msg/Time"))
counts = numpy.arange(7000, 7000 + HEIGHT * WIDTH).astype(numpy.uint16).reshape(HEIGHT, WIDTH)

def sent_and_read(encoding, big_endian, step):
    rows = counts.astype(">u2" if big_endian else "<u2").view(numpy.uint8)
    rows = numpy.pad(rows, ((0, 0), (0, step - WIDTH * 2)))
    message = image(header=header(stamp=time(sec=1, nanosec=0), frame_id="infrared"), height=HEIGHT, width=WIDTH,
                    encoding=encoding, is_bigendian=big_endian, step=step, data=rows.reshape(-1))
    # Through the wire format and back, as from a bag.
    wire = store.serialize_cdr(message, image.__msgtype__)
    return message_to_cvimage(store.deserialize_cdr(wire, image.__msgtype__))

as_seen = True
for encoding in ("mono16", "16UC1"):
    for big_endian in (0, 1):
        for step in (WIDTH * 2, 768):
            read = sent_and_read(encoding, big_endian, step)
            right = (read == counts).mean() if read.shape == counts.shape else 0
            print(f"{encoding}, big-endian {big_endian}, step {step}: {read.dtype} {read.shape}, {right:.1%} of the pixels right")
            same_kind = read.shape == counts.shape and read.dtype.itemsize == 2
            as_seen &= same_kind and (right == 1 if step == WIDTH * 2 else right < 0.1)
sys.exit(0 if as_seen else "not as seen before")
PY
