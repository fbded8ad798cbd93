#!/usr/bin/env bash
# ffmpeg 7.0.2 (PyPI imageio-ffmpeg 0.6.0): with two encoder threads or more, PNG and Motion JPEG frames leave for a pipe one
# frame late, for good, from whichever frame on its encoder has first been asked before it was done: on a quiet machine
# the first, on a busy one a later. At one frame a minute that is a minute. `-flush_packets 1` does not help;
# `-threads 1` does.
# Seen on 2026-11-30, 12 frames: 2 threads: nothing came out after one of the frames, and the last image only when the
# input was closed, in 4 of 4 runs; 1 thread: each image at once, nothing at the end.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" -q install --disable-pip-version-check imageio-ffmpeg==0.6.0
"$place/venv/bin/python" - <<'PY'
import os, select, subprocess, sys, time
import imageio_ffmpeg

WIDTH, HEIGHT = 64, 48
QUIET = 1.0  # seconds without a byte after which nothing more is expected; an encoded frame takes a few ms

def run(codec, threads, frames=12):
    """Bytes out after each frame that went in, and at the end."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error",
               "-f", "rawvideo", "-pix_fmt", "gray", "-video_size", f"{WIDTH}x{HEIGHT}", "-framerate", "10",
               "-probesize", "32", "-analyzeduration", "0", "-i", "-",
               "-c:v", codec, "-threads", str(threads), "-f", "image2pipe", "-flush_packets", "1", "-"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    out = process.stdout.fileno()
    came = []
    for frame in range(frames):
        process.stdin.write(bytes([frame * 10]) * (WIDTH * HEIGHT))
        process.stdin.flush()
        count, patience = 0, QUIET
        while select.select([out], [], [], patience)[0]:
            count += len(os.read(out, 1 << 16))
            patience = QUIET
        came.append(count)
    process.stdin.close()
    last = len(process.stdout.read())
    process.wait()
    return came, last

as_seen = True
for codec in ("png", "mjpeg"):
    for threads in (1, 2):
        came, last = run(codec, threads)
        print(f"{codec}, {threads} thread(s): bytes after each frame {came}, at the end {last}")
        held = came.count(0) == 1 and last > 0
        at_once = all(came) and last == 0
        as_seen &= held if threads == 2 else at_once
sys.exit(0 if as_seen else "not as seen before")
PY
