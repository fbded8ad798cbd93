#!/usr/bin/env bash
# ffmpeg 7.0.2 with libsrt (PyPI imageio-ffmpeg 0.6.0): what was sent within the last `latency` before an SRT sender ends never
# comes out of the receiver, on a link that loses nothing. The receiver holds each packet back for the latency that was
# agreed, and throws away what it holds when the sender's shutdown comes. More latency, which is how one loses less on a bad
# link, loses more at the end, and each restart of the sender costs as much again. Both ends have acknowledged everything, and the
# sender ends with status 0 and without a word. A sender that stays silently connected for longer than the latency
# before it ends loses nothing but the last frame, which is this receiver's own: its parser waits for the next.
# Seen on 2026-11-30, 80 frames at 20 frames/s: latency 1 s: 61 came; 2 s: 42; 1 s, and silent for 3 s at
# the end: 79. (On a busy machine, where frames come more slowly: 68, 49, 79.)
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" -q install --disable-pip-version-check imageio-ffmpeg==0.6.0
"$place/venv/bin/python" - "$place" <<'PY'
import re, socket, subprocess, sys, time
import imageio_ffmpeg

FFMPEG, PLACE = imageio_ffmpeg.get_ffmpeg_exe(), sys.argv[1]
RATE, FRAMES = 20, 80

# The frames, each with its number in a comment behind SOI.
made = subprocess.run([FFMPEG, "-loglevel", "error", "-f", "lavfi", "-i", f"testsrc2=size=320x240:rate={RATE}",
                       "-frames:v", str(FRAMES), "-threads", "1", "-c:v", "mjpeg", "-f", "image2pipe", "-"],
                      stdin=subprocess.DEVNULL, capture_output=True, check=True).stdout
frames = [b"\xff\xd8\xff\xfe\x00\x0bframe%04d" % number + rest
          for number, rest in enumerate(made.split(b"\xff\xd8")[1:])]
assert len(frames) == FRAMES

def free_port():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]

def run(latency, silent):
    """The numbers of the frames that came, when each was given to the sender, when there were no more, and how that ended."""
    address = f"srt://127.0.0.1:{free_port()}?latency={latency * 1000}"  # ffmpeg wants microseconds
    copy = ["-probesize", "32", "-analyzeduration", "0", "-f", "mjpeg"]
    receiver = subprocess.Popen([FFMPEG, "-y", "-loglevel", "error", *copy, "-i", address + "&mode=listener",
                                 "-c", "copy", "-f", "mjpeg", f"{PLACE}/out"],
                                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    sender = subprocess.Popen([FFMPEG, "-y", "-loglevel", "error", *copy, "-i", "-", "-c", "copy", "-f", "image2pipe",
                               "-flush_packets", "1", address + "&mode=caller"],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    given = []
    try:
        for frame in frames:
            sender.stdin.write(frame)
            sender.stdin.flush()
            given.append(time.monotonic())
            time.sleep(1 / RATE)
        time.sleep(silent)
        end = time.monotonic()
        said = sender.communicate(timeout=20)[0]
        receiver.wait(timeout=20)
    finally:
        for process in (sender, receiver):
            process.kill()
            process.wait()
    with open(f"{PLACE}/out", "rb") as out:
        came = [int(number) for number in re.findall(rb"frame(\d{4})", out.read())]
    return came, given, end, (sender.returncode, said)

as_seen = True
for latency, silent in ((1000, 0), (2000, 0), (1000, 3)):
    came, given, end, (status, said) = run(latency, silent)
    print(f"latency {latency} ms, silent for {silent} s at the end: {len(came)} of {FRAMES} frames, "
          f"the last is {came[-1] if came else None}; sender: status {status}, {said!r}")
    # What came is the beginning, without a gap. The end is at the latency before the sender's, or, since a sender on a busy
    # machine takes a moment to end, up to 0.7 s later.
    as_seen &= status == 0 and not said and came == list(range(len(came)))
    lost = [end - moment for moment in given[len(came):]]
    as_seen &= len(lost) <= 1 if silent else latency / 1000 - 0.7 < max(lost, default=0) < latency / 1000 + 0.3
sys.exit(0 if as_seen else "not as seen before")
PY
