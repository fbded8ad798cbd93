#!/usr/bin/env bash
# rosbags 0.11.9 (PyPI), its Writer of rosbag2 with storage in sqlite3: a recording is one transaction that close() commits. Where
# the recorder is killed, the file is as large as the flight, and whoever opens it first, if only to count, throws all of it
# away: SQLite undoes what was not committed. Of a flight of hours no frame is left; a copy of the file without its journal
# shows none either. Closing the bag and beginning another now and then keeps what came before.
# Seen on 2026-11-30: 400 frames of 655,360 bytes, SIGKILL: 260,751,360 bytes on the disk, 0 messages, and then 28,672 bytes;
# the bag of 50 frames that was closed before: 50 messages.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" -q install --disable-pip-version-check rosbags==0.11.9
cat > "$place/record.py" <<'PY'
"""Records frames into one bag after another, and is killed in mid-stream."""
import os, signal, sys
from pathlib import Path
import numpy
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

HEIGHT, WIDTH = 512, 640
store = get_typestore(Stores.ROS2_HUMBLE)
image, header, time = (store.types[f"{name}"] for name in
                       ("sensor_msgs/msg/Image", "std_msgs/msg/Header", "builtin_interfaces/msg/Time"))
for bag, frames in zip(sys.argv[1::2], sys.argv[2::2]):
    writer = Writer(Path(bag), version=9, storage_plugin=StoragePlugin.SQLITE3)
    writer.open()
    topic = writer.add_connection("/infrared", image.__msgtype__, typestore=store)
    for number in range(int(frames)):
        pixels = numpy.full(HEIGHT * WIDTH * 2, number % 251, numpy.uint8)
        frame = image(header=header(stamp=time(sec=number, nanosec=0), frame_id="infrared"), height=HEIGHT, width=WIDTH,
                      encoding="mono16", is_bigendian=0, step=WIDTH * 2, data=pixels)
        writer.write(topic, number * 10**9, store.serialize_cdr(frame, image.__msgtype__))
    if bag == sys.argv[-2]:
        os.kill(os.getpid(), signal.SIGKILL)
    writer.close()
PY
"$place/venv/bin/python" - "$place" <<'PY'
import pathlib, signal, sqlite3, subprocess, sys

place = pathlib.Path(sys.argv[1])
done = subprocess.run([sys.executable, place / "record.py", place / "first", "50", place / "flight", "400"])
[file] = (place / "flight").glob("*.db3")
before = file.stat().st_size

def messages(database):
    return sqlite3.connect(database).execute("SELECT count(*) FROM messages").fetchone()[0]

left, after = messages(file), file.stat().st_size
[closed] = (place / "first").glob("*.db3")
print(f"killed: {done.returncode == -signal.SIGKILL}; {before} bytes on the disk, {left} messages, then {after} bytes; "
      f"the bag that was closed before: {messages(closed)} messages")
as_seen = (done.returncode == -signal.SIGKILL and before > 400 * 655360 * 0.9 and left == 0 and after < before / 100
           and messages(closed) == 50)
sys.exit(0 if as_seen else "not as seen before")
PY
