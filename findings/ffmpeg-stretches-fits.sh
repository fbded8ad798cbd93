#!/usr/bin/env bash
# ffmpeg 7.0.2 (PyPI imageio-ffmpeg 0.6.0): a FITS frame is stretched when it is read, each by itself, so that its darkest pixel becomes
# 0 and its brightest 65535. The counts are gone, and so is what makes frames comparable: one hot pixel turns the whole picture dark, and
# a scene that gets warmer does not show it. Nothing is said, the pixel format is gray16le, and the status is 0. With DATAMIN = 0 and
# DATAMAX = 65535 in the header every count is as it was.
# Seen on 2026-11-30, two frames of 16-bit counts (BZERO 32768, written by astropy 7.0.1) that differ in one pixel, 9000 or 30000: a
# pixel of 8066 is 34930 in one and 3037 in the other; with DATAMIN and DATAMAX 8066 in both.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" -q install --disable-pip-version-check imageio-ffmpeg==0.6.0 astropy==7.0.1 numpy==2.2.6
"$place/venv/bin/python" - "$place" <<'PY'
import subprocess, sys
import imageio_ffmpeg, numpy
from astropy.io import fits

PLACE, SIDE = sys.argv[1], 16
scene = numpy.linspace(7000, 9000, SIDE * SIDE).astype(numpy.uint16).reshape(SIDE, SIDE)
hot = scene.copy()
hot[-1, -1] = 30000

def through_ffmpeg(counts, bounds):
    """What ffmpeg makes of a frame, in the order of rows that it was written in, and what it says."""
    file = fits.PrimaryHDU(counts)
    file.header.update(bounds)
    file.writeto(f"{PLACE}/frame.fits", overwrite=True)
    assert (fits.getdata(f"{PLACE}/frame.fits") == counts).all()
    done = subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "warning", "-i", f"{PLACE}/frame.fits", "-f", "rawvideo",
                           "-pix_fmt", "gray16le", "-"], stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return numpy.frombuffer(done.stdout, "<u2").reshape(SIDE, SIDE)[::-1], done.stderr  # FITS begins with the lowest row

as_seen = True
for bounds in ({}, {"DATAMIN": 0, "DATAMAX": 65535}):
    (plain, said), (hotter, said_too) = (through_ffmpeg(counts, bounds) for counts in (scene, hot))
    print(f"{bounds}: said {said + said_too!r}; {scene[8, 8]} in both frames became {plain[8, 8]} and {hotter[8, 8]}; "
          f"the frames are from {plain.min()} to {plain.max()} and from {hotter.min()} to {hotter.max()}")
    as_seen &= not said + said_too
    if bounds:
        as_seen &= numpy.array_equal(plain, scene) and numpy.array_equal(hotter, hot)
    else:
        as_seen &= (plain.min(), plain.max(), hotter.min(), hotter.max()) == (0, 65535) * 2 and plain[8, 8] > 10 * hotter[8, 8]
sys.exit(0 if as_seen else "not as seen before")
PY
