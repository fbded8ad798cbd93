#!/usr/bin/env bash
# pycine 0.3.2 (PyPI), reader of the CINE files of Phantom high-speed cameras: `start_frame_cine`, which is said to be the frame's number as the
# camera's software shows it, gives the frame before it, and for a recording's first frame the last one; from there it goes on
# with the first. Frame 0, the trigger's, is the one that one asks for: that 0 is taken for "not given" (`0 == False`), and what comes is
# the first frame of the file. Shape, type and count are right, and nothing is raised or logged. `start_frame`, which counts from 1, is
# right, and so is a file that is read from its beginning.
# Seen on 2026-11-30, 20 frames numbered -5 to 14, three asked for: start_frame_cine=-5: 14 -5 -4; 0: -5 -4 -3; 3: 2 3 4; start_frame=9: 3 4 5.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" -q install --disable-pip-version-check --no-deps pycine==0.3.2 numpy==2.2.6
"$place/venv/bin/python" -W error - "$place/flight.cine" <<'PY'
import struct, sys
from pycine.raw import read_frames

FILE, WIDTH, HEIGHT, RATE, ZERO = sys.argv[1], 64, 48, 10, 1000
FIRST, FRAMES, LAST = -5, 20, 14

def write(path, first, times, trigger):
    """A CINE file by the published layout, not compressed, 12 bits; each picture is filled with the number that the camera gave it."""
    count, size = len(times), WIDTH * HEIGHT * 2
    setup = bytearray(12_432)
    for at, kind, *values in ((140, "2sH", b"ST", len(setup)), (737, "2H", WIDTH, HEIGHT), (768, "I", RATE), (896, "I", 12),
                              (5732, "2i", 0, 4095), (10_388, "f", 1.0), (10_400, "d", RATE)):
        struct.pack_into("<" + kind, setup, at, *values)
    stamps = b"".join(struct.pack("<Q", time64(moment)) for moment in times)
    stamps = struct.pack("<I2H", 8 + len(stamps), 1002, 0) + stamps
    offsets = 84 + len(setup) + len(stamps)
    pictures = [offsets + 8 * count + number * (8 + size) for number in range(count)]
    with open(path, "wb") as file:
        file.write(struct.pack("<2s3HiIiI3IQ", b"CI", 44, 0, 1, first, count, first, count, 44, 84, offsets, time64(trigger)))
        file.write(struct.pack("<Iii2H2I2i2I", 40, WIDTH, HEIGHT, 1, 16, 0, size, 0, 0, 0, 4096))
        file.write(setup + stamps + struct.pack(f"<{count}q", *pictures))
        for number in range(first, first + count):
            file.write(struct.pack("<2I", 8, size) + struct.pack("<H", ZERO + number) * (WIDTH * HEIGHT))

def time64(moment):
    """Seconds since 1970 and 32 bits of a fraction."""
    return int(moment * 2**32)

start = 1780000000
write(FILE, FIRST, [start + number / RATE for number in range(FRAMES)], start - FIRST / RATE)

def read(**asked):
    """The camera's numbers of the frames that come."""
    return [int(frame[0, 0]) - ZERO for frame in read_frames(FILE, **asked)[0]]

as_seen = read() == list(range(FIRST, LAST + 1))
print(f"all: {read()}")
for asked, expected in (({"start_frame_cine": FIRST}, [LAST, FIRST, FIRST + 1]), ({"start_frame_cine": 0}, [FIRST, FIRST + 1, FIRST + 2]),
                        ({"start_frame_cine": 3}, [2, 3, 4]), ({"start_frame": 3 - FIRST + 1}, [3, 4, 5])):
    came = read(count=3, **asked)
    print(f"{asked}, three frames: {came}")
    as_seen &= came == expected
sys.exit(0 if as_seen else "not as seen before")
PY
