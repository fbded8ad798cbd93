#!/usr/bin/env bash
# GStreamer 1.22.0 (Debian 12), udpsrc: a second pipeline on a UDP port that is in use starts without an error or a word. The
# kernel then deals out the senders by address and port: each goes to one of the two for as long as both run, and the other gets
# nothing of it. So a pipeline that was forgotten takes about every second camera, or the one camera about every second time that
# it is started, and it looks as if the network had lost them. `udpsrc reuse=false` is refused the port, as most programs are.
# Seen on 2026-11-30, Linux 6.18.44, 40 senders: 20 whole at the first, 20 whole at the second, none at both. With reuse=false
# the second ended with an error.
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
import os, socket, subprocess, sys, time

PLACE, SENDERS, EACH = sys.argv[1], 40, 5

def free_port():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]

def start(port, name, *options):
    return subprocess.Popen(["gst-launch-1.0", "udpsrc", "address=127.0.0.1", f"port={port}", *options, "!", "filesink",
                             "buffer-mode=unbuffered", f"location={PLACE}/{name}"],
                            stdout=open(f"{PLACE}/{name}.said", "wb"), stderr=subprocess.STDOUT)

def wait_until(true, patience=20):
    end = time.monotonic() + patience
    while not true() and time.monotonic() < end:
        time.sleep(0.05)
    return true()

def read(name):
    try:
        with open(f"{PLACE}/{name}", "rb") as file:
            return file.read()
    except FileNotFoundError:
        return b""

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

port, running = free_port(), []
try:
    for name in ("first", "second"):
        process = start(port, name)
        running.append(process)
        assert wait_until(lambda: process.poll() is not None or bound(process, port))
    alive = all(process.poll() is None for process in running)
    for number in range(SENDERS):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.connect(("127.0.0.1", port))
            for _ in range(EACH):
                sender.send(bytes([number]))
    wait_until(lambda: len(read("first")) + len(read("second")) >= SENDERS * EACH)
    refused = start(port, "third", "reuse=false")
    running.append(refused)
    wait_until(lambda: refused.poll() is not None)
finally:
    for process in running:
        if process.poll() is None:
            process.kill()
        process.wait()
first, second = read("first"), read("second")
said = (read("first.said") + read("second.said")).lower()
whole = [sum(data.count(number) == EACH for number in range(SENDERS)) for data in (first, second)]
both = len(set(first) & set(second))
print(f"{SENDERS} senders: {whole[0]} whole at the first, {whole[1]} whole at the second, {both} at both; both ran: {alive}; "
      f"with reuse=false: status {refused.returncode}")
as_seen = (alive and sum(whole) == SENDERS and min(whole) >= 5 and both == 0 and refused.returncode not in (None, 0)
           and b"error" not in said and b"warn" not in said)
sys.exit(0 if as_seen else "not as seen before")
PY
