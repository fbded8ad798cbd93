#!/usr/bin/env bash
# redis 8.1.0 (PyPI) with redis-server 7.0.15 (Debian 12), both as they come: a subscriber that is busy while more than 32 MB are
# published, 50 frames of a 16-bit camera of 640 x 512, loses them, and of those that had been handed over to its connection it gets only
# the first. The server ends the connection; the client connects and subscribes again by itself, within get_message(), and goes on with
# what is published from then on. Nothing is raised or logged. The only signs are a second message of the type "subscribe", which
# ignore_subscribe_messages=True hides, and, at the publisher, that publish() counts 0 receivers.
# Seen on 2026-11-30, 200 frames published while the subscriber was busy: publish() counted 57 or 58 as delivered, 5 or 6 came; of 5 more, all.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
chmod 755 "$place"
# The server out of its packages, beside whatever is installed; of other libraries, what this machine lacks.
packages=(redis-server redis-tools)
mkdir -p "$place/debs/partial"
(
    cd "$place/debs"
    apt-get -qq -o APT::Sandbox::User=root download "${packages[@]/%/=5:7.0.15*}"
    apt-get -qq -o APT::Sandbox::User=root -o Dir::Cache::archives="$place/debs" -o Debug::NoLocking=1 --no-install-recommends \
        --download-only install "${packages[@]}" >"$place/apt" 2>&1 || { cat "$place/apt"; exit 1; }
    for package in *.deb; do dpkg -x "$package" "$place/root"; done
)
python3 -m venv "$place/venv"
"$place/venv/bin/pip" -q install --disable-pip-version-check redis==8.1.0
"$place/venv/bin/python" - "$place" "$(echo "$place"/root/usr/lib/*-linux-gnu)" <<'PY'
import logging, os, socket, struct, subprocess, sys, time
import redis

PLACE, LIBRARIES = sys.argv[1:]
FRAMES, LATER, SIZE = 200, 5, 640 * 512 * 2
logging.basicConfig(stream=sys.stdout)

with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    port = probe.getsockname()[1]
server = subprocess.Popen([f"{PLACE}/root/usr/bin/redis-server", "--bind", "127.0.0.1", "--port", str(port), "--save", "",
                           "--dir", PLACE], env={**os.environ, "LD_LIBRARY_PATH": LIBRARIES}, stdin=subprocess.DEVNULL,
                          stdout=subprocess.DEVNULL)
try:
    camera = redis.Redis(port=port)
    for _ in range(100):
        try:
            camera.ping()
            break
        except redis.ConnectionError:
            time.sleep(0.1)
    viewer = redis.Redis(port=port).pubsub()
    viewer.subscribe("infrared")
    assert viewer.get_message(timeout=10)["type"] == "subscribe"

    def publish(numbers):
        return sum(camera.publish("infrared", struct.pack("<I", number) + bytes(SIZE)) for number in numbers)

    def take():
        """Types of the messages that come until there are none for a second, and the numbers of the frames."""
        types, numbers = [], []
        while message := viewer.get_message(timeout=1) or viewer.get_message(timeout=1):
            types.append(message["type"])
            if message["type"] == "message":
                numbers.append(struct.unpack_from("<I", message["data"])[0])
        return types, numbers

    delivered = publish(range(FRAMES))  # while the viewer is busy
    types, numbers = take()
    delivered_later = publish(range(FRAMES, FRAMES + LATER))
    later_types, later = take()
finally:
    server.terminate()
    server.wait()
print(f"{FRAMES} frames published while busy, {delivered} of them delivered as publish() counts: {len(numbers)} came, and nothing was "
      f"raised; messages of type subscribe: {types.count('subscribe')}; {LATER} more: {delivered_later} delivered, {len(later)} came")
as_seen = (numbers == list(range(len(numbers))) and len(numbers) < delivered < FRAMES and types.count("subscribe") == 1
           and delivered_later == LATER and later == list(range(FRAMES, FRAMES + LATER)))
sys.exit(0 if as_seen else "not as seen before")
PY
