#!/usr/bin/env bash
# ffmpeg 7.0.2 (PyPI imageio-ffmpeg 0.6.0): the apng encoder in an image2pipe writes bare chunks from fcTL on, without the PNG
# signature and without IHDR, so that neither a viewer nor ffmpeg's own PNG reader can open what it made. The same encoder
# into the apng muxer writes a whole file. The command ends with status 0 and without a word either way.
# Seen on 2026-11-30: the pipe began with 00 00 00 1a "fcTL"; the file with 89 "PNG".
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" -q install --disable-pip-version-check imageio-ffmpeg==0.6.0
"$place/venv/bin/python" - <<'PY'
import subprocess, sys
import imageio_ffmpeg

def encode(muxer):
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error", "-f", "lavfi",
               "-i", "testsrc=size=64x48:rate=1", "-frames:v", "2", "-c:v", "apng", "-f", muxer, "-"]
    done = subprocess.run(command, capture_output=True)
    print(f"{muxer}: status {done.returncode}, stderr {done.stderr!r}, begins with {done.stdout[:8]!r}")
    return done

SIGNATURE = b"\x89PNG\r\n\x1a\n"
pipe, file = encode("image2pipe"), encode("apng")
quiet = pipe.returncode == 0 and not pipe.stderr
as_seen = quiet and pipe.stdout[4:8] == b"fcTL" and b"IHDR" not in pipe.stdout and file.stdout.startswith(SIGNATURE)
sys.exit(0 if as_seen else "not as seen before")
PY
