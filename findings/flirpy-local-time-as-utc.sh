#!/usr/bin/env bash
# flirpy 0.6.2 (PyPI), reader of FLIR's FFF and SEQ: the time that it calls `Datetime (UTC)` is in the time zone of the machine
# that reads, so the same frame has another "UTC" in each zone, and in the hour that a zone repeats in autumn two frames an hour apart have
# one. The milliseconds are left out: all frames of a second have one time. Of the temperatures in the file 273.14 is taken,
# not 273.15, so each is 0.01 K too warm. exiftool 12.57 (Debian 12) reads time, zone and milliseconds of the same files. `Timestamp`
# has the seconds since 1970, and is right.
# Seen on 2026-11-30, a frame of 2026-05-28 20:26:40.123 UTC, 20 degrees: in UTC 20:26:40, in Tokyo 05:26:40 of the next day, in New York
# 16:26:40, and 20.01 degrees; exiftool: 20:26:40.123+00:00 and 20.0 in each.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
chmod 755 "$place"
# exiftool out of its package, beside whatever is installed.
(cd "$place" && apt-get -qq -o APT::Sandbox::User=root download "libimage-exiftool-perl=12.57*" && dpkg -x libimage-exiftool-perl_*.deb root)
python3 -m venv "$place/venv"
"$place/venv/bin/pip" -q install --disable-pip-version-check --no-deps flirpy==0.6.2 numpy==2.2.6
cat >"$place/frame.py" <<'PY'
"""Writes a frame of FLIR's FFF format, by the layout that exiftool's documentation has of it: raw counts and camera information."""
import struct, sys

WIDTH, HEIGHT, HEADER, RECORD = 64, 48, 64, 32
raw = struct.pack("<3H26x", 2, WIDTH, HEIGHT) + struct.pack(f"<{WIDTH * HEIGHT}H", *(12000 + n for n in range(WIDTH * HEIGHT)))
camera = bytearray(0x46A)
for kind, at, values in (
    ("3H", 0x00, (2, WIDTH, HEIGHT)), ("2f", 0x20, (0.95, 1.0)),  # emissivity, distance
    ("3f", 0x28, (293.15, 293.15, 293.15)), ("f", 0x34, (1.0,)), ("f", 0x3C, (0.5,)),  # temperatures in K, window, humidity
    ("3f", 0x58, (17096.453, 1428.0, 1.0)), ("5f", 0x70, (0.006569, 0.01262, -0.002276, -0.00667, 1.9)),
    ("if", 0x308, (-342, 0.046642166)),  # Planck's constants of the camera
    ("2Ih", 0x384, (1780000000, 123, 0)), ("H", 0x464, (30,)),  # seconds, milliseconds, minutes from UTC; frames/s
):
    struct.pack_into("<" + kind, camera, at, *values)
start = HEADER + 2 * RECORD
records = struct.pack("<2H7I", 1, 2, 100, 1, start, len(raw), 0, 0, 0)
records += struct.pack("<2H7I", 0x20, 2, 100, 2, start + len(raw), len(camera), 0, 0, 0)
with open(sys.argv[1], "wb") as file:
    file.write(struct.pack("<4s16s4I28x", b"FFF", b"CAMCTRL", 100, HEADER, 2, 3) + records + raw + camera)
PY
python3 "$place/frame.py" "$place/frame.fff"
cat >"$place/read.py" <<'PY'
import sys
from flirpy.io.fff import Fff
frame = Fff(sys.argv[1])
assert frame.get_image()[0, :3].tolist() == [12000, 12001, 12002]
print(frame.meta["Datetime (UTC)"], frame.meta["Timestamp"], round(frame.meta["Atmospheric Temperature"], 3), sep="|")
PY
as_seen=yes
check() {
    local flirpy exiftool
    flirpy=$(TZ=$1 "$place/venv/bin/python" "$place/read.py" "$place/frame.fff")
    exiftool=$(TZ=$1 PERL5LIB=$place/root/usr/share/perl5 "$place/root/usr/bin/exiftool" -s3 -FLIR:DateTimeOriginal -FLIR:AtmosphericTemperature \
        -Warning "$place/frame.fff" | paste -sd '|')
    echo "TZ=$1: flirpy: $flirpy; exiftool: $exiftool"
    [[ $flirpy == "$2|1780000000|20.01" && $exiftool == "2026:05:28 20:26:40.123+00:00|20.0 C" ]] || as_seen=no
}
check UTC0 "2026-05-28 20:26:40"
check JST-9 "2026-05-29 05:26:40"
check EST5EDT,M3.2.0,M11.1.0 "2026-05-28 16:26:40"
[[ $as_seen == yes ]] || { echo "not as seen before" >&2; exit 1; }
