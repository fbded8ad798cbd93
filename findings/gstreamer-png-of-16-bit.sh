#!/usr/bin/env bash
# GStreamer 1.22.0 (Debian 12: gstreamer1.0-tools, -plugins-base, -plugins-good): `videoconvert ! pngenc` makes an 8-bit colour PNG
# of a 16-bit grey camera's GRAY16_LE, although pngenc takes 16-bit grey (GRAY16_BE, the same counts with their bytes swapped): left
# to agree on a format, the two agree on RGBA. The low byte of each count is gone, a thermal picture of 7,000 to 9,000 counts has
# a few levels left, and the status is 0 without a word. `videoconvert ! video/x-raw,format=GRAY16_BE ! pngenc` keeps every count.
# Seen on 2026-11-30, 2,000 counts from 7000 to 8999: without the caps 8 bits, colour type 6 (RGBA), 24 different pixels left; with
# them 16 bits, colour type 0 (grey), and every count as it was.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
chmod 755 "$place"
# GStreamer out of its packages, beside whatever is installed; of other libraries, what this machine lacks.
packages=(gstreamer1.0-tools gstreamer1.0-plugins-base gstreamer1.0-plugins-good
    libgstreamer1.0-0 libgstreamer-plugins-base1.0-0)
mkdir -p "$place/debs/partial"
(
    cd "$place/debs"
    apt-get -qq -o APT::Sandbox::User=root download "${packages[@]/%/=1.22.0*}"
    apt-get -qq -o APT::Sandbox::User=root -o Dir::Cache::archives="$place/debs" -o Debug::NoLocking=1 --no-install-recommends \
        --download-only install "${packages[@]}" >"$place/apt" 2>&1 || { cat "$place/apt"; exit 1; }
    for package in *.deb; do dpkg -x "$package" "$place/root"; done
)
libraries=$(dirname "$(find "$place/root" -name libgstreamer-1.0.so.0)")
export LD_LIBRARY_PATH=$libraries GST_REGISTRY=$place/registry GST_PLUGIN_SYSTEM_PATH_1_0=$libraries/gstreamer-1.0
export GST_PLUGIN_SCANNER_1_0=$libraries/gstreamer1.0/gstreamer-1.0/gst-plugin-scanner PATH=$place/root/usr/bin:$PATH
python3 - "$place" <<'PY'
import array, struct, subprocess, sys, zlib

PLACE, WIDTH, HEIGHT = sys.argv[1], 160, 120
counts = array.array("H", (7000 + n % 2000 for n in range(WIDTH * HEIGHT)))
if sys.byteorder == "big":
    counts.byteswap()
with open(f"{PLACE}/frame.raw", "wb") as file:
    counts.tofile(file)

def encode(caps):
    """Status, what was said, and the PNG's depth, colour type and samples."""
    pipeline = (f"filesrc location={PLACE}/frame.raw ! rawvideoparse width={WIDTH} height={HEIGHT} format=gray16-le "
                f"! videoconvert {caps} ! pngenc ! filesink location={PLACE}/frame.png")
    done = subprocess.run(["gst-launch-1.0", "-q", *pipeline.split()], capture_output=True, timeout=60)
    with open(f"{PLACE}/frame.png", "rb") as file:
        png = file.read()
    depth, colour = png[24], png[25]
    samples = {0: 1, 2: 3, 6: 4}[colour]
    packed, at = b"", 8
    while at < len(png):
        length, kind = struct.unpack(">I4s", png[at:at + 8])
        packed += png[at + 8:at + 8 + length] if kind == b"IDAT" else b""
        at += 12 + length
    return done.returncode, done.stdout + done.stderr, depth, colour, unfilter(zlib.decompress(packed), samples * depth // 8)

def unfilter(data, pixel):
    """The rows of a PNG without their filters (PNG specification, section 9)."""
    stride = WIDTH * pixel
    above, rows = bytearray(stride), bytearray()
    for start in range(0, len(data), stride + 1):
        kind, row = data[start], bytearray(data[start + 1:start + 1 + stride])
        for x in range(stride):
            a, b, c = (row[x - pixel] if x >= pixel else 0), above[x], (above[x - pixel] if x >= pixel else 0)
            nearest = min((abs(b - c), 0, a), (abs(a - c), 1, b), (abs(a + b - 2 * c), 2, c))[2]
            row[x] = (row[x] + (0, a, b, (a + b) // 2, nearest)[kind]) & 255
        rows += row
        above = row
    return bytes(rows)

as_seen = True
for caps in ("", "! video/x-raw,format=GRAY16_BE"):
    status, said, depth, colour, pixels = encode(caps)
    pixel = len(pixels) // (WIDTH * HEIGHT)
    distinct = len({pixels[at:at + pixel] for at in range(0, len(pixels), pixel)})
    exact = pixels == struct.pack(f">{WIDTH * HEIGHT}H", *(7000 + n % 2000 for n in range(WIDTH * HEIGHT)))
    print(f"videoconvert {caps} ! pngenc: status {status}, said {said!r}; {depth} bits, colour type {colour}, "
          f"{distinct} different pixels of 2000, counts as they were: {exact}")
    as_seen &= status == 0 and not said
    as_seen &= exact and (depth, colour) == (16, 0) if caps else not exact and (depth, colour) == (8, 6) and distinct < 64
sys.exit(0 if as_seen else "not as seen before")
PY
