#!/usr/bin/env bash
# tifffile 2025.6.11 (PyPI): `imwrite(path, frame, append=True)` for each frame makes a TIFF that has every frame, and of which
# `imread(path)` gives the first and nothing else: each call begins a series of its own, and imread reads one series. Shape and type are
# those of a frame, and nothing is said. imageio.v3.imread and volread, which use tifffile, do the same. A page of another size among
# equal ones, as after a change of the camera's mode, is missing from what imread gives in the same way. `imread(path, key=slice(None))`
# gives all pages, and `metadata=None` when writing makes them one series.
# Seen on 2026-11-30, 10 frames appended: imread (120, 160), with key=slice(None) (10, 120, 160), Pillow finds 10; metadata=None:
# (10, 120, 160); 6 pages written by Pillow, the fourth lower: (5, 120, 160), and the numbers are 0, 1, 2, 4, 5.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" -q install --disable-pip-version-check tifffile==2025.6.11 imageio==2.37.0 pillow==11.3.0 numpy==2.2.6
"$place/venv/bin/python" - "$place" <<'PY'
import sys, warnings
import imageio.v3, numpy, tifffile
from PIL import Image

warnings.simplefilter("error")
PLACE, HEIGHT, WIDTH = sys.argv[1], 120, 160
frames = [numpy.full((HEIGHT, WIDTH), 7000 + number, numpy.uint16) for number in range(10)]
as_seen = True
for options in ({}, {"metadata": None}):
    path = f"{PLACE}/flight-{len(options)}.tif"
    for frame in frames:
        tifffile.imwrite(path, frame, append=True, **options)
    plain, imageio_too, every = tifffile.imread(path), imageio.v3.imread(path), tifffile.imread(path, key=slice(None))
    with Image.open(path) as pages:
        count = pages.n_frames
    print(f"appended{' with metadata=None' * len(options)}: Pillow finds {count} frames; imread {plain.shape}, imageio "
          f"{imageio_too.shape}, all pages {every.shape}")
    as_seen &= count == 10 and numpy.array_equal(every, frames)
    as_seen &= numpy.array_equal(plain, frames if options else frames[0]) and numpy.array_equal(plain, imageio_too)

path = f"{PLACE}/modes.tif"
pages = [Image.fromarray(frame[:100] if number == 3 else frame) for number, frame in enumerate(frames[:6])]
pages[0].save(path, save_all=True, append_images=pages[1:])
read = tifffile.imread(path)
with Image.open(path) as pages:
    count = pages.n_frames
print(f"one page of six of another size: Pillow finds {count} frames; imread {read.shape}, numbers {read[:, 0, 0] - 7000}")
as_seen &= count == 6 and list(read[:, 0, 0]) == [7000, 7001, 7002, 7004, 7005]
sys.exit(0 if as_seen else "not as seen before")
PY
