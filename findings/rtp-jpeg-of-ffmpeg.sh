#!/usr/bin/env bash
# GStreamer 1.22.0 (Debian 12), rtpjpegpay, with the Motion JPEG that ffmpeg 7.0.2 (PyPI imageio-ffmpeg 0.6.0) writes by default:
# RTP for JPEG carries no Huffman tables, and the receiver puts in the standard ones. ffmpeg makes tables of its own for each
# frame. rtpjpegpay takes them out, says nothing, and every picture arrives as noise, of the right size, with good packets only and
# status 0. Where width or height is no multiple of 8, the size that arrives is another (382x288, as some infrared cameras have
# it, becomes 384x288).
# ffmpeg with `-huffman default` (and libjpeg without "optimise") makes what can be sent this way.
# Seen on 2026-11-30, 384x288: mean difference in brightness from the original 126 of 255 with ffmpeg's own tables, 0 with the
# standard ones; 382x288 with the standard ones came out as 384x288.
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
python3 -m venv "$place/venv"
"$place/venv/bin/pip" -q install --disable-pip-version-check imageio-ffmpeg==0.6.0
"$place/venv/bin/python" - "$place" <<'PY'
import glob, os, subprocess, sys
import imageio_ffmpeg

PLACE, FFMPEG, FRAMES = sys.argv[1], imageio_ffmpeg.get_ffmpeg_exe(), 3
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "LD_LIBRARY_PATH"}  # ffmpeg needs none of it

def ffmpeg(*arguments, data=None):
    done = subprocess.run([FFMPEG, "-y", "-loglevel", "fatal", *arguments], input=data, capture_output=True, env=ENVIRONMENT)
    return done.stdout

def size(jpeg):
    """Width and height out of the frame header."""
    at = 2
    while jpeg[at + 1] not in (0xC0, 0xC1, 0xC2):
        at += 2 + int.from_bytes(jpeg[at + 2:at + 4], "big")
    return int.from_bytes(jpeg[at + 7:at + 9], "big"), int.from_bytes(jpeg[at + 5:at + 7], "big")

def luma(jpeg, width, height):
    return ffmpeg("-f", "mjpeg", "-i", "-", "-frames:v", "1", "-f", "rawvideo", "-vf", f"crop={width}:{height}:0:0",
                  "-pix_fmt", "gray", "-", data=jpeg)

def run(width, height, *options):
    """GStreamer's status and words, the size that arrived, and the mean difference in brightness."""
    source = f"{PLACE}/camera"
    ffmpeg("-f", "lavfi", "-i", f"testsrc2=size={width}x{height}:rate=10", "-frames:v", str(FRAMES), "-pix_fmt", "yuvj420p",
           "-threads", "1", "-c:v", "mjpeg", *options, "-q:v", "2", "-f", "mpjpeg", source)
    for old in glob.glob(f"{PLACE}/*.jpg"):
        os.remove(old)
    pipeline = (f"filesrc location={source} ! multipartdemux single-stream=true ! image/jpeg,width={width},height={height},"
                f"framerate=10/1 ! rtpjpegpay ! rtpjpegdepay ! multifilesink location={PLACE}/%d.jpg")
    done = subprocess.run(["gst-launch-1.0", "-q", *pipeline.split()], capture_output=True, timeout=60)
    arrived = sorted(glob.glob(f"{PLACE}/*.jpg"))
    first = ffmpeg("-f", "mpjpeg", "-i", source, "-c", "copy", "-frames:v", "1", "-f", "image2pipe", "-")
    with open(arrived[0], "rb") as file:
        came = file.read()
    before, after = luma(first, width, height), luma(came, width, height)
    difference = sum(abs(a - b) for a, b in zip(before, after)) / len(before) if len(before) == len(after) else None
    return done.returncode, done.stdout + done.stderr, len(arrived), size(came), difference

as_seen = True
for width, height, options in ((384, 288, ()), (384, 288, ("-huffman", "default")), (382, 288, ("-huffman", "default"))):
    status, said, count, came, difference = run(width, height, *options)
    print(f"{width}x{height} {' '.join(options) or 'by default'}: GStreamer status {status}, said {said!r}; {count} of {FRAMES} "
          f"pictures, {came[0]}x{came[1]}, mean difference {difference if difference is None else round(difference, 1)}")
    as_seen &= status == 0 and not said and count == FRAMES
    as_seen &= came == ((width + 7) // 8 * 8, height)
    as_seen &= difference == 0 if options else difference is None or difference > 30
sys.exit(0 if as_seen else "not as seen before")
PY
