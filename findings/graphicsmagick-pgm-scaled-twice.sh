#!/usr/bin/env bash
# GraphicsMagick 1.3.40 (Debian 12: graphicsmagick): a grey PGM of 10, 12 or 14 bits is scaled to 16 bits twice when it is read, and what
# is above 65535 then is white: of a thermal picture of 7,000 to 9,000 counts (14 bits) nothing but white is left, of 12 bits every
# count from 256 on is. Whoever tries it with a small picture sees it work: it is so from as many pixels on as there are counts (16,384
# with 14 bits). Nothing is said, and the status is 0. Colour (PPM) is scaled once, and a maximum of 65535 keeps each count.
# Seen on 2026-11-30, `gm convert` of 160 x 120 pixels: 14 bits, 7,000 to 8,999: 0 counts of 2,000 left; 12 bits, 0 to 1,999: 256 of
# 2,000; 14 bits with a maximum of 65535: all; 14 bits in colour: all; 14 bits, 64 x 64 pixels: all.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
chmod 755 "$place"
# GraphicsMagick out of its packages, beside whatever is installed; of other libraries, what this machine lacks.
packages=(graphicsmagick libgraphicsmagick-q16-3)
mkdir -p "$place/debs/partial"
(
    cd "$place/debs"
    apt-get -qq -o APT::Sandbox::User=root download "${packages[@]/%/=1.4+really1.3.40*}"
    apt-get -qq -o APT::Sandbox::User=root -o Dir::Cache::archives="$place/debs" -o Debug::NoLocking=1 --no-install-recommends \
        --download-only install "${packages[@]}" >"$place/apt" 2>&1 || { cat "$place/apt"; exit 1; }
    for package in *.deb; do dpkg -x "$package" "$place/root"; done
)
libraries=$(dirname "$(find "$place/root" -name libGraphicsMagick-Q16.so.3)")
LD_LIBRARY_PATH=$libraries PATH=$place/root/usr/bin:$PATH python3 - "$place" <<'PY'
import struct, subprocess, sys

PLACE = sys.argv[1]

def convert(counts, width, maximum, samples):
    """The samples of a PGM (or PPM, with three of each count) as 16-bit ones, and what gm said."""
    pixels = [count for count in counts for _ in range(samples)]
    with open(f"{PLACE}/frame.pnm", "wb") as file:
        file.write(b"P%d\n%d %d\n%d\n" % (5 if samples == 1 else 6, width, len(counts) // width, maximum))
        file.write(struct.pack(f">{len(pixels)}H", *pixels))
    path = f"{PLACE}/out.{'pgm' if samples == 1 else 'ppm'}"
    done = subprocess.run(["gm", "convert", f"{PLACE}/frame.pnm", "-depth", "16", path], stdin=subprocess.DEVNULL,
                          capture_output=True, check=True, timeout=60)
    with open(path, "rb") as file:
        out = file.read()
    assert b"\n65535\n" in out[:64], out[:64]
    return struct.unpack(f">{len(pixels)}H", out[-2 * len(pixels):])[::samples], done.stdout + done.stderr

as_seen = True
for bits, lowest, maximum, width, height, samples in ((14, 7000, 16383, 160, 120, 1), (12, 0, 4095, 160, 120, 1),
                                                      (14, 7000, 65535, 160, 120, 1), (14, 7000, 16383, 160, 120, 3),
                                                      (14, 7000, 16383, 64, 64, 1)):
    counts = [lowest + n % 2000 for n in range(width * height)]
    came, said = convert(counts, width, maximum, samples)
    white = sum(value == 65535 for value in came) / len(came)
    once, twice = ([min(65535, count * (65535 / maximum) ** times) for count in counts] for times in (1, 2))
    is_once, is_twice = (max(abs(a - b) for a, b in zip(came, scaled)) < 17 for scaled in (once, twice))
    print(f"{bits} bits, maximum {maximum}, {width} x {height}, {samples} sample(s): {len(set(came) - {65535})} of 2000 counts left, "
          f"{white:.0%} white; scaled {'once' if is_once else 'twice' if is_twice else 'otherwise'}; said {said!r}")
    is_wrong = samples == 1 and maximum < 65535 and width * height > maximum
    as_seen &= not said and (is_twice and not is_once if is_wrong else is_once and len(set(came)) == 2000)
sys.exit(0 if as_seen else "not as seen before")
PY
