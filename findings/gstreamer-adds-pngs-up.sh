#!/usr/bin/env bash
# GStreamer 1.22.0 (Debian 12: gstreamer1.0-libav 1.22.0, libavcodec 5.1): `avdec_png` adds each PNG of a stream to the sum of those
# before it, byte by byte and without carry, as if they were differences. The first picture is right, each later one is brighter
# than it was until it wraps around; 16-bit counts as well. Nothing is said and the status is 0. It is so with numbered files and with
# parts of a multipart stream. `pngdec` is right, and so is decodebin, which prefers it.
# Seen on 2026-11-30, five grey pictures: 10 20 30 40 50 became 10 30 60 100 150; 16 bits, 7000 five times: 7000 14000 20744 27744 34744.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
chmod 755 "$place"
# GStreamer out of its packages, beside whatever is installed; of other libraries, what this machine lacks.
packages=(gstreamer1.0-tools gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-libav
    libgstreamer1.0-0 libgstreamer-plugins-base1.0-0)
mkdir -p "$place/debs/partial"
(
    cd "$place/debs"
    apt-get -qq -o APT::Sandbox::User=root download "${packages[@]/%/=1.22.0*}" "libavcodec59=7:5.1.*"
    apt-get -qq -o APT::Sandbox::User=root -o Dir::Cache::archives="$place/debs" -o Debug::NoLocking=1 --no-install-recommends \
        --download-only install "${packages[@]}" >"$place/apt" 2>&1 || { cat "$place/apt"; exit 1; }
    for package in *.deb; do dpkg -x "$package" "$place/root"; done
)
libraries=$(dirname "$(find "$place/root" -name libgstreamer-1.0.so.0)")
export LD_LIBRARY_PATH=$libraries GST_REGISTRY=$place/registry GST_PLUGIN_SYSTEM_PATH_1_0=$libraries/gstreamer-1.0
export GST_PLUGIN_SCANNER_1_0=$libraries/gstreamer1.0/gstreamer-1.0/gst-plugin-scanner PATH=$place/root/usr/bin:$PATH
python3 - "$place" <<'PY'
import os, struct, subprocess, sys, zlib

PLACE, WIDTH, HEIGHT = sys.argv[1], 64, 48

def png(value, depth):
    """A grey picture, each pixel of which has that value."""
    row = b"\0" + value.to_bytes(depth // 8, "big") * WIDTH
    chunks = ((b"IHDR", struct.pack(">IIBBBBB", WIDTH, HEIGHT, depth, 0, 0, 0, 0)), (b"IDAT", zlib.compress(row * HEIGHT)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
                                            for kind, data in chunks)

def run(pipeline):
    done = subprocess.run(["gst-launch-1.0", "-q", *pipeline.split()], stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
    return done.returncode, done.stdout + done.stderr

def through(source, decoder, depth):
    """Status, what was said, and the values of each picture that came out."""
    pixels, size = f"{PLACE}/pixels", WIDTH * HEIGHT * depth // 8
    said = run(f"{source} ! {decoder} ! videoconvert ! video/x-raw,format={'GRAY8' if depth == 8 else 'GRAY16_BE'} ! "
               f"filesink location={pixels}")
    with open(pixels, "rb") as file:
        data = file.read()
    frames = [data[at:at + size] for at in range(0, len(data), size)]
    values = [sorted({int.from_bytes(frame[at:at + depth // 8], "big") for at in range(0, size, depth // 8)}) for frame in frames]
    return *said, [value for each in values for value in each]

as_seen = True
for depth, sent in ((8, [10, 20, 30, 40, 50]), (16, [7000] * 5)):
    for number, value in enumerate(sent):
        with open(f"{PLACE}/{number}.png", "wb") as file:
            file.write(png(value, depth))
    files = f"multifilesrc location={PLACE}/%d.png caps=image/png,framerate=(fraction)10/1"
    as_seen &= run(f"{files} ! multipartmux ! filesink location={PLACE}/parts")[0] == 0
    step = depth // 8
    added, total = [], bytes(step)
    for value in sent:
        total = bytes((a + b) & 255 for a, b in zip(total, value.to_bytes(step, "big")))
        added.append(int.from_bytes(total, "big"))
    for source in (files, f"filesrc location={PLACE}/parts ! multipartdemux single-stream=true ! image/png"):
        for decoder in ("avdec_png", "pngdec"):
            status, said, came = through(source, decoder, depth)
            print(f"{source.split()[0]}, {depth} bits, {decoder}: {sent} became {came}; status {status}, said {said!r}")
            as_seen &= status == 0 and not said and came == (added if decoder == "avdec_png" else sent)
    os.remove(f"{PLACE}/parts")
sys.exit(0 if as_seen else "not as seen before")
PY
