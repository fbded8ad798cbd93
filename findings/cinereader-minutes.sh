#!/usr/bin/env bash
# cinereader 1.4.3 (PyPI), the camera maker's reader of the CINE files of Phantom high-speed cameras: of the time of a frame, and of that of
# the trigger, it takes the second within the minute, and nothing above it. So the times that `read()` and `read_timestamps()` give jump
# back by 60 s where a recording goes over a full minute, and all that is behind that jump seems to be from before the trigger. A short
# recording has it by chance; one of longer than a minute, as of a slow camera, always. The frames are right, and nothing is said.
# The times in the file are whole: seconds since 1970.
# Seen on 2026-11-30, 20 frames at 10 frames/s, the trigger half a minute past the minute: times from -0.5 to 1.4 s. The trigger half a
# second before the minute: from -0.5 to 0.4 s, and then from -59.5 to -58.6 s.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" -q install --disable-pip-version-check cinereader==1.4.3 numpy==2.2.6 pandas==2.3.3 numba==0.62.1
"$place/venv/bin/python" - "$place/flight.cine" <<'PY'
import struct, sys
import cinereader

FILE, WIDTH, HEIGHT, RATE, ZERO = sys.argv[1], 64, 48, 10, 1000
FIRST, FRAMES = -5, 20

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

as_seen = True
for name, trigger in (("half a minute past the minute", 1780000050), ("half a second before the minute", 1780000019.5)):
    times = [trigger + number / RATE for number in range(FIRST, FIRST + FRAMES)]
    write(FILE, FIRST, times, trigger)
    _, frames, microseconds = cinereader.read(FILE, FIRST)
    seconds = [round(float(each) / 1e6, 3) for each in microseconds]
    numbers = [int(frame[0, 0]) - ZERO for frame in frames]
    print(f"the trigger {name}: frames {numbers[0]} to {numbers[-1]}; seconds from the trigger: {seconds}")
    # A full minute is where a time in seconds since 1970 is a multiple of 60.
    as_seen &= numbers == list(range(FIRST, FIRST + FRAMES))
    as_seen &= seconds == [round(number / RATE - 60 * (moment // 60 != trigger // 60), 3) for number, moment in zip(numbers, times)]
as_seen &= min(seconds) < -59
sys.exit(0 if as_seen else "not as seen before")
PY
