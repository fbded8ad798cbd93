#!/usr/bin/env bash
# GStreamer 1.22.0 (Debian 12: gstreamer1.0-plugins-good): where packets of uncompressed video (RFC 4175) are lost, `rtpvrawdepay` gives the
# frame all the same, and what was in them is what its memory had before: the same lines of a frame some frames ago. So the picture is
# whole, sharp and of two moments. Its buffer is not flagged as corrupted (only as "discont"), and nothing is said. A
# mean, a difference or a detection of what moves is made of lines of which some are old.
# Seen on 2026-11-30, five frames, each filled with its number, 7 packets each, two packets of each from the third frame on lost: five frames
# came, of 9,216 bytes each: 1; 2; 71 % 3 and 29 % 1; 71 % 4 and 29 % 2; 71 % 5 and 29 % 1.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
chmod 755 "$place"
# GStreamer out of its packages, beside whatever is installed; of other libraries, what this machine lacks.
packages=(gstreamer1.0-tools gstreamer1.0-plugins-base gstreamer1.0-plugins-good
    libgstreamer1.0-0 libgstreamer-plugins-base1.0-0)
mkdir -p "$place/debs/partial"
(
    cd "$place/debs"
    apt-get -qq -o APT::Sandbox::User=root download "${packages[@]/%/=1.22.0*}"
    apt-get -qq -o APT::Sandbox::User=root -o Dir::Cache::archives="$place/debs" -o Debug::NoLocking=1 --no-install-recommends \
        --download-only install "${packages[@]}" >"$place/apt" 2>&1 || { cat "$place/apt"; exit 1; }
    for package in *.deb; do dpkg -x "$package" "$place/root"; done
)
libraries=$(dirname "$(find "$place/root" -name libgstreamer-1.0.so.0)")
export LD_LIBRARY_PATH=$libraries GST_REGISTRY=$place/registry GST_PLUGIN_SYSTEM_PATH_1_0=$libraries/gstreamer-1.0
export GST_PLUGIN_SCANNER_1_0=$libraries/gstreamer1.0/gstreamer-1.0/gst-plugin-scanner PATH=$place/root/usr/bin:$PATH
python3 - "$place" <<'PY'
import os, re, socket, subprocess, sys, time

PLACE, WIDTH, HEIGHT, FRAMES = sys.argv[1], 64, 48, 5
SIZE, LOST, FIRST = WIDTH * HEIGHT * 3, (3, 4), 3  # of each frame from the third on, the third and fourth packet

def udp():
    end = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    end.bind(("127.0.0.1", 0))
    return end

def free_port():
    with udp() as probe:
        return probe.getsockname()[1]

def bound(process, port):
    """Whether the process holds a socket on the UDP port."""
    wanted = set()
    with open("/proc/net/udp") as table:
        for line in list(table)[1:]:
            fields = line.split()
            if int(fields[1].split(":")[1], 16) == port:
                wanted.add(f"socket:[{fields[9]}]")
    held = f"/proc/{process.pid}/fd"
    return any(os.path.islink(f"{held}/{fd}") and os.readlink(f"{held}/{fd}") in wanted for fd in os.listdir(held))

def run(lossy):
    """What the receiver made of five frames, what it said, and how many packets came and were lost on the way."""
    with open(f"{PLACE}/frames", "wb") as file:
        file.write(b"".join(bytes([number]) * SIZE for number in range(1, FRAMES + 1)))
    open(f"{PLACE}/came", "wb").close()
    port, packets, lost = free_port(), 0, 0
    caps = (f"application/x-rtp,media=video,clock-rate=90000,encoding-name=RAW,sampling=RGB,depth=(string)8,width=(string){WIDTH},"
            f"height=(string){HEIGHT},payload=96")
    receiver = subprocess.Popen(["gst-launch-1.0", "-v", *f"udpsrc address=127.0.0.1 port={port} caps={caps} ! rtpvrawdepay ! tee name=t "
                                 f"t. ! queue ! filesink buffer-mode=unbuffered location={PLACE}/came "
                                 "t. ! queue ! fakesink name=seen silent=false".split()],
                                stdin=subprocess.DEVNULL, stdout=open(f"{PLACE}/said", "wb"), stderr=subprocess.STDOUT)
    try:
        end = time.monotonic() + 30
        while not bound(receiver, port) and receiver.poll() is None and time.monotonic() < end:
            time.sleep(0.05)
        with udp() as link:
            link.settimeout(20)
            sender = subprocess.Popen(["gst-launch-1.0", "-q", *f"filesrc location={PLACE}/frames blocksize={SIZE} ! rawvideoparse "
                                       f"width={WIDTH} height={HEIGHT} format=rgb framerate=5/1 ! rtpvrawpay mtu=1400 ! "
                                       f"udpsink host=127.0.0.1 port={link.getsockname()[1]}".split()], stdin=subprocess.DEVNULL)
            frames, number = [], 0
            while len(frames) < FRAMES or not last:
                packet = link.recv(65536)
                stamp, last = packet[4:8], packet[1] & 0x80  # the marker is set in a frame's last packet
                if stamp not in frames:
                    frames.append(stamp)
                    number = 0
                number, packets = number + 1, packets + 1
                if lossy and len(frames) >= FIRST and number in LOST:
                    lost += 1
                    continue
                link.sendto(packet, ("127.0.0.1", port))
            sender.wait(timeout=20)
        end = time.monotonic() + 5
        while os.path.getsize(f"{PLACE}/came") < FRAMES * SIZE and time.monotonic() < end:
            time.sleep(0.05)
        time.sleep(0.5)
    finally:
        receiver.terminate()
        receiver.wait()
    with open(f"{PLACE}/came", "rb") as file:
        came = file.read()
    with open(f"{PLACE}/said", "rb") as file:
        said = file.read().decode(errors="replace")
    flags = re.findall(r"chain .*flags: [0-9a-f]+ ?([a-z -]*)", said)
    return [came[at:at + SIZE] for at in range(0, len(came), SIZE)], flags, re.findall("(?i).*(?:warn|error|corrupt).*", said), packets, lost

as_seen = True
for lossy in (False, True):
    frames, flags, said, packets, lost = run(lossy)
    made_of = [{value: round(frame.count(value) / SIZE, 2) for value in sorted(set(frame))} for frame in frames]
    print(f"{packets} packets, {lost} lost: {len(frames)} frames of {sorted(set(map(len, frames)))} bytes, made of {made_of}; flags "
          f"{flags}; warnings {said}")
    as_seen &= len(frames) == FRAMES and {len(frame) for frame in frames} == {SIZE} and not said and "corrupted" not in " ".join(flags)
    for number, parts in enumerate(made_of, 1):
        if lossy and number >= FIRST:
            old = set(parts) - {number}
            as_seen &= 0.5 < parts.get(number, 0) < 0.9 and len(old) == 1 and 0 < min(old) < number
        else:
            as_seen &= parts == {number: 1}
sys.exit(0 if as_seen else "not as seen before")
PY
