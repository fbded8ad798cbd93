#!/usr/bin/env bash
# imageio 2.37.0 with imageio-ffmpeg 0.6.0 (PyPI; ffmpeg 7.0.2): of a film whose frames are not evenly spaced, as from a camera that was
# away for some seconds or takes bursts, imageio gives more frames than there are: ffmpeg makes an even film of it and fills gaps with
# copies, since raw video, in which imageio gets the frames, has no times. Nothing is said. Pictures that no camera took are counted and
# measured, the gap is not to be seen, and a frame's number is not its number in the file. So it is for whatever reads `-f rawvideo`
# from ffmpeg. `output_params=["-fps_mode", "passthrough"]` gives each frame once.
# Seen on 2026-11-30, 40 frames of a camera of 30 frames/s, lossless, in Matroska: evenly spaced: 40; a pause of 4 s in the middle: 160;
# the first 20 within 0.17 s: 159; with passthrough: 40 each.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" -q install --disable-pip-version-check imageio==2.37.0 imageio-ffmpeg==0.6.0 pillow==11.3.0 numpy==2.2.6
"$place/venv/bin/python" - "$place/film.mkv" <<'PY'
import subprocess, sys
import imageio.v3, imageio_ffmpeg, numpy

FILM, WIDTH, HEIGHT = sys.argv[1], 64, 48
FLIGHTS = {"evenly": "N/30", "a pause of 4 s": "N/30+4*gte(N,20)", "the first 20 in a burst": "if(lt(N,20),N/120,N/30)"}
FRAMES = 40

def write(times):
    """A lossless film of FRAMES frames, each of the grey of its number, at those times."""
    pixels = b"".join(bytes([5 * number]) * (WIDTH * HEIGHT) for number in range(FRAMES))
    subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-loglevel", "error", "-f", "rawvideo", "-pix_fmt", "gray", "-video_size",
                    f"{WIDTH}x{HEIGHT}", "-framerate", "30", "-i", "-", "-vf", f"settb=1/1000,setpts='({times})/TB'",
                    "-fps_mode", "passthrough", "-enc_time_base", "1/1000", "-c:v", "ffv1", FILM], input=pixels, check=True)

def read(**options):
    return [round(frame.mean() / 5) for frame in imageio.v3.imiter(FILM, plugin="FFMPEG", **options)]

as_seen = True
for flight, times in FLIGHTS.items():
    write(times)
    came, each = read(), read(output_params=["-fps_mode", "passthrough"])
    copies = len(came) - len(set(came))
    print(f"{flight}: {FRAMES} frames in the film; imageio gives {len(came)}, of which {copies} are copies; passthrough: {len(each)}")
    as_seen &= each == list(range(FRAMES)) and sorted(set(came)) == each and came == sorted(came)
    as_seen &= copies == 0 if flight == "evenly" else 100 < copies < 140
sys.exit(0 if as_seen else "not as seen before")
PY
