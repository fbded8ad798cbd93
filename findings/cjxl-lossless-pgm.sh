#!/usr/bin/env bash
# cjxl 0.7.0 (Debian 12: libjxl-tools): `cjxl -d 0` of a grey PGM with a maximum of 10, 12 or 14 bits, as such cameras write it, says
# "lossless", ends with status 0, and leaves away as many low bits as there are between that and 16: of 12 bits 8 are left, of 10
# bits 4. djxl 0.7.0 multiplies what is left, so the picture looks right. The rest is not in the file: a newer libjxl
# (0.11, PyPI imagecodecs 2025.3.30) finds no more in it, and shows counts that are 4, 16 or 64 times too small. The same counts in a PGM
# with a maximum of 65535 are lossless, and so are 8 bits.
# Seen on 2026-11-30, every count that the bits can hold: 10 bits: 17 of 1,024 left; 12 bits: 257 of 4,096; 14 bits: 4,097 of 16,384;
# 14 bits with a maximum of 65535: all.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
chmod 755 "$place"
# cjxl out of its package, beside whatever is installed; of other libraries, what this machine lacks.
packages=(libjxl-tools libjxl0.7)
mkdir -p "$place/debs/partial"
(
    cd "$place/debs"
    apt-get -qq -o APT::Sandbox::User=root download "${packages[@]/%/=0.7.0*}"
    apt-get -qq -o APT::Sandbox::User=root -o Dir::Cache::archives="$place/debs" -o Debug::NoLocking=1 --no-install-recommends \
        --download-only install "${packages[@]}" >"$place/apt" 2>&1 || { cat "$place/apt"; exit 1; }
    for package in *.deb; do dpkg -x "$package" "$place/root"; done
)
python3 -m venv "$place/venv"
"$place/venv/bin/pip" -q install --disable-pip-version-check imagecodecs==2025.3.30 numpy==2.2.6
libraries=$(dirname "$(find "$place/root" -name libjxl.so.0.7)")
"$place/venv/bin/python" - "$place" "$libraries" <<'PY'
import os, subprocess, sys
import imagecodecs, numpy

PLACE, LIBRARIES = sys.argv[1:]
SIDE = 128

def run(tool, *arguments):
    """What it prints, with the libraries of its package before others."""
    return subprocess.run([f"{PLACE}/root/usr/bin/{tool}", *arguments], env={**os.environ, "LD_LIBRARY_PATH": LIBRARIES},
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=True, timeout=60).stdout

def round_trip(counts, maximum):
    """What cjxl said, what djxl makes of its file, and what a newer libjxl finds in it."""
    kind = ">u2" if maximum > 255 else "u1"
    with open(f"{PLACE}/frame.pgm", "wb") as file:
        file.write(b"P5\n%d %d\n%d\n" % (SIDE, SIDE, maximum) + counts.astype(kind).tobytes())
    said = run("cjxl", "-d", "0", f"{PLACE}/frame.pgm", f"{PLACE}/frame.jxl")
    run("djxl", f"{PLACE}/frame.jxl", f"{PLACE}/back.pgm")
    with open(f"{PLACE}/back.pgm", "rb") as file:
        kept, pixels = file.read().split(b"\n%d\n" % maximum, 1)
    with open(f"{PLACE}/frame.jxl", "rb") as file:
        newer = imagecodecs.jpegxl_decode(file.read())
    return said, numpy.frombuffer(pixels, kind).reshape(SIDE, SIDE), newer

as_seen = True
for bits, maximum in ((8, 255), (10, 1023), (12, 4095), (14, 16383), (14, 65535), (16, 65535)):
    counts = (numpy.arange(SIDE * SIDE) * 2**bits // SIDE**2).reshape(SIDE, SIDE)
    said, back, newer = round_trip(counts, maximum)
    lost = 16 - bits if 255 < maximum < 65535 else 0
    left, error = len(numpy.unique(newer)), int(abs(back.astype(int) - counts).max())
    print(f"{bits} bits, maximum {maximum}: says lossless: {b'lossless' in said}; {left} of {len(numpy.unique(counts))} counts left "
          f"in the file; djxl: at most {error} off; a newer libjxl: {newer.max()} where {counts.max()} was")
    as_seen &= b"lossless" in said
    as_seen &= abs(newer - counts / 2**lost).max() < 1 and error > 0 if lost else (newer == counts).all() and error == 0
sys.exit(0 if as_seen else "not as seen before")
PY
