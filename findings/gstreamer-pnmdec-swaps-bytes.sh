#!/usr/bin/env bash
# GStreamer 1.22.0 (Debian 12: gstreamer1.0-plugins-bad): `pnmdec` agrees to give GRAY16_LE where the next element wants it, and then gives
# the bytes of a 16-bit PGM (maximum 65535) as they are in the file, which is GRAY16_BE: each count has its bytes swapped.
# So it is with `pnmdec ! videoconvert ! video/x-raw,format=GRAY16_LE`, and before encoders that take nothing else, as openjpegenc and
# avenc_ffv1. The status is 0, and nothing is said. `pnmdec ! video/x-raw,format=GRAY16_BE ! videoconvert ! ...` is right, and so is a
# PGM with a lower maximum, which is scaled to 16 bits.
# Seen on 2026-11-30, counts from 7000 to 8999: 7000 became 22555, and 0.4 % are right, those whose two bytes are equal; with GRAY16_BE
# in between all are right; with a maximum of 16383 each is 65535/16383 of what it was.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
chmod 755 "$place"
# GStreamer out of its packages, beside whatever is installed; of other libraries, what this machine lacks.
packages=(gstreamer1.0-tools gstreamer1.0-plugins-base gstreamer1.0-plugins-bad
    libgstreamer1.0-0 libgstreamer-plugins-base1.0-0 libgstreamer-plugins-bad1.0-0)
mkdir -p "$place/debs/partial"
(
    cd "$place/debs"
    apt-get -qq -o APT::Sandbox::User=root download "${packages[@]/%/=1.22.0*}"
    # Of the many libraries of plugins-bad those that pnmdec needs come with plugins-base.
    apt-get -qq -o APT::Sandbox::User=root -o Dir::Cache::archives="$place/debs" -o Debug::NoLocking=1 --no-install-recommends \
        --download-only install "${packages[@]:0:2}" >"$place/apt" 2>&1 || { cat "$place/apt"; exit 1; }
    for package in *.deb; do dpkg -x "$package" "$place/root"; done
)
libraries=$(dirname "$(find "$place/root" -name libgstreamer-1.0.so.0)")
mkdir "$place/plugins"
cp "$libraries"/gstreamer-1.0/libgst{coreelements,pnm,videoconvertscale}.so "$place/plugins"
export LD_LIBRARY_PATH=$libraries GST_REGISTRY=$place/registry GST_PLUGIN_SYSTEM_PATH_1_0=$place/plugins
export GST_PLUGIN_SCANNER_1_0=$libraries/gstreamer1.0/gstreamer-1.0/gst-plugin-scanner PATH=$place/root/usr/bin:$PATH
python3 - "$place" <<'PY'
import array, struct, subprocess, sys

PLACE, WIDTH, HEIGHT = sys.argv[1], 160, 120
counts = [7000 + n % 2000 for n in range(WIDTH * HEIGHT)]
swapped = [n >> 8 | (n & 255) << 8 for n in counts]

def through(maximum, elements):
    """Status, what was said, and the counts of a PGM behind these elements, as GRAY16_LE."""
    with open(f"{PLACE}/frame.pgm", "wb") as file:
        file.write(b"P5\n%d %d\n%d\n" % (WIDTH, HEIGHT, maximum) + struct.pack(f">{len(counts)}H", *counts))
    pipeline = f"filesrc location={PLACE}/frame.pgm ! {elements} ! video/x-raw,format=GRAY16_LE ! filesink location={PLACE}/pixels"
    done = subprocess.run(["gst-launch-1.0", "-q", *pipeline.split()], stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
    with open(f"{PLACE}/pixels", "rb") as file:
        came = array.array("H", file.read())
    if sys.byteorder == "big":
        came.byteswap()
    return done.returncode, done.stdout + done.stderr, came.tolist()

as_seen = True
for maximum, elements, expected in (
    (65535, "pnmdec", swapped),
    (65535, "pnmdec ! videoconvert", swapped),
    (65535, "pnmdec ! video/x-raw,format=GRAY16_BE ! videoconvert", counts),
    (16383, "pnmdec ! videoconvert", [n * 65535 // 16383 for n in counts]),
):
    status, said, came = through(maximum, elements)
    right = sum(a == b for a, b in zip(came, counts)) / len(counts)
    print(f"maximum {maximum}, {elements}: {counts[:3]} became {came[:3]}, {right:.1%} right; status {status}, said {said!r}")
    as_seen &= status == 0 and not said and came == expected
sys.exit(0 if as_seen else "not as seen before")
PY
