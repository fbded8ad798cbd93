#!/usr/bin/env bash
# netCDF4 1.7.2 (PyPI): in a variable of 16-bit counts that has no fill value and not one attribute, every pixel of 65535 is masked
# when it is read, and in one of 8 bits every pixel of 255, so that the saturated pixels of a frame, the hottest ones, are missing
# from max(), mean() and comparisons. Nothing is said at either end; the bytes in the file are right. `set_auto_mask(False)` on the
# dataset, before reading, gives what was written.
# Seen on 2026-11-30, a frame of 20000 with one pixel of 65535 and one of 30000: max() 30000, one pixel masked, none above 60000;
# with set_auto_mask(False) max() 65535; 8 bits with one pixel of 255 and one of 200: max() 200, one pixel masked.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" -q install --disable-pip-version-check netCDF4==1.7.2
"$place/venv/bin/python" - "$place/flight.nc" <<'PY'
import sys
import netCDF4, numpy

thermal = numpy.full((4, 4), 20000, numpy.uint16)
thermal[1, 1], thermal[2, 2] = 65535, 30000
visible = numpy.full((4, 4), 100, numpy.uint8)
visible[1, 1], visible[2, 2] = 255, 200

with netCDF4.Dataset(sys.argv[1], "w") as file:
    for name, size in (("time", None), ("y", 4), ("x", 4)):
        file.createDimension(name, size)
    file.createVariable("thermal", "u2", ("time", "y", "x"))[0] = thermal
    file.createVariable("visible", "u1", ("time", "y", "x"))[0] = visible

with netCDF4.Dataset(sys.argv[1]) as file:
    attributes = file["thermal"].ncattrs()
    read, eight = file["thermal"][0], file["visible"][0]
with netCDF4.Dataset(sys.argv[1]) as file:
    file.set_auto_mask(False)
    plain, plain_eight = file["thermal"][0], file["visible"][0]

masked = int(numpy.ma.count_masked(read))
above = int((read > 60000).sum() or 0)
print(f"attributes {attributes}; written: max {thermal.max()}, mean {thermal.mean()}")
print(f"read: max {read.max()}, mean {read.mean()}, {masked} masked, above 60000: {above}")
print(f"without masks: max {plain.max()}; 8 bit: max {eight.max()}, {numpy.ma.count_masked(eight)} masked")
as_seen = (attributes == [] and read.max() == 30000 and masked == 1 and above == 0 and numpy.array_equal(plain, thermal)
           and eight.max() == 200 and numpy.ma.count_masked(eight) == 1 and numpy.array_equal(plain_eight, visible))
sys.exit(0 if as_seen else "not as seen before")
PY
