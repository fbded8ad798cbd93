#!/usr/bin/env bash
# astropy 7.0.1 (and 8.0.2) with fitsio 1.4.2 (PyPI; CFITSIO, as in fpack 1.7 of Debian 12): a 16-bit frame or mask that CFITSIO compressed
# with PLIO, as `compress="PLIO"` and `fpack -p` do, is read by astropy with 32768 too much in each pixel: it adds the BZERO of the
# header, which was not taken off. Above 32767 counts wrap around, so that dark is bright and bright is dark, and of a mask
# all is set. Nothing is raised or warned of. fitsio reads its file right, and so does astropy RICE, GZIP, and PLIO of 8 bits.
# Seen on 2026-11-30, 16-bit counts from 0 to 65535 and a mask of 0 and 65535: PLIO: 0 became 32768, 65535 became 32767, no pixel right;
# RICE and GZIP: all right; 8 bits: all right.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" -q install --disable-pip-version-check fitsio==1.4.2 astropy==7.0.1 numpy==2.2.6
"$place/venv/bin/python" -W error - "$place/frame.fits" <<'PY'
import sys
import fitsio, numpy
from astropy.io import fits

FILE, HEIGHT, WIDTH = sys.argv[1], 48, 64
frame = numpy.linspace(0, 65535, HEIGHT * WIDTH).round().astype(numpy.uint16).reshape(HEIGHT, WIDTH)
mask = numpy.zeros((HEIGHT, WIDTH), numpy.uint16)
mask[20:30, 20:30] = 65535

as_seen = True
for name, pixels in (("frame", frame), ("mask", mask), ("mask of 8 bits", mask.astype(numpy.uint8))):
    for kind in ("PLIO", "RICE", "GZIP", "GZIP_2"):
        fitsio.write(FILE, pixels, compress=kind, clobber=True)
        with fits.open(FILE) as file:
            file.verify("exception")
            read = file[1].data.copy()
        own = fitsio.read(FILE, ext=1)
        lowest, highest = pixels.argmin(), pixels.argmax()
        print(f"{name}, {kind}: fitsio {(own == pixels).mean():.0%} right, astropy {(read == pixels).mean():.0%}: {pixels.flat[lowest]} is "
              f"{read.flat[lowest]}, {pixels.flat[highest]} is {read.flat[highest]} ({read.dtype})")
        as_seen &= bool((own == pixels).all()) and read.dtype == pixels.dtype
        shifted = kind == "PLIO" and pixels.dtype == numpy.uint16
        as_seen &= bool((read == (pixels ^ 32768 if shifted else pixels)).all())
sys.exit(0 if as_seen else "not as seen before")
PY
