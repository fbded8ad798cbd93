#!/usr/bin/env bash
# socat 1.7.4.4 (Debian 12): a relay of UDP, as of a camera's stream into another network, cuts each datagram off after 8,192 bytes, since
# that is the size of its buffer (-b). What is over is gone: the rest of a datagram is not read later. The receiver gets as many datagrams
# as were sent, and nothing is said at any end. Datagrams of up to 1,472 bytes never show it; those of a GigE camera with jumbo
# frames (8,972 bytes behind IP and UDP), and images in one datagram, lose their end. With -b 65536 they are whole.
# Seen on 2026-11-30: 1472, 8192, 8193, 8972 and 60000 bytes sent: 1472, 8192, 8192, 8192 and 8192 came; with -b 65536 all of them.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
chmod 755 "$place"
# socat out of its package, beside whatever is installed; of other libraries, what this machine lacks.
mkdir -p "$place/debs/partial"
(
    cd "$place/debs"
    apt-get -qq -o APT::Sandbox::User=root download "socat=1.7.4.4*"
    apt-get -qq -o APT::Sandbox::User=root -o Dir::Cache::archives="$place/debs" -o Debug::NoLocking=1 --no-install-recommends \
        --download-only install socat >"$place/apt" 2>&1 || { cat "$place/apt"; exit 1; }
    for package in *.deb; do dpkg -x "$package" "$place/root"; done
)
python3 - "$place/root/usr/bin/socat" <<'PY'
import socket, subprocess, sys

SIZES = [1472, 8192, 8193, 8972, 60000]

def udp():
    end = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    end.bind(("127.0.0.1", 0))
    return end

def relayed(options):
    """The lengths that arrive, whether each is the beginning of what was sent, and what socat says."""
    with udp() as camera, udp() as viewer, udp() as probe:
        viewer.settimeout(10)
        port = probe.getsockname()[1]
        probe.close()
        relay = subprocess.Popen([sys.argv[1], "-u", *options, f"UDP4-RECV:{port},bind=127.0.0.1",
                                  f"UDP4-SENDTO:127.0.0.1:{viewer.getsockname()[1]}"],
                                 stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        try:
            viewer.settimeout(0.2)
            for _ in range(150):  # until the relay is there
                camera.sendto(b"there?", ("127.0.0.1", port))
                try:
                    viewer.recv(65536)
                    break
                except TimeoutError:
                    pass
            viewer.settimeout(1)
            try:
                while viewer.recv(65536):
                    pass
            except TimeoutError:
                viewer.settimeout(10)
            lengths, beginnings = [], True
            for size in SIZES:
                sent = bytes(n % 251 for n in range(size))
                camera.sendto(sent, ("127.0.0.1", port))
                came = viewer.recv(65536)
                lengths.append(len(came))
                beginnings &= sent.startswith(came)
        finally:
            relay.terminate()
            said = relay.communicate()[0]
    return lengths, beginnings, said

as_seen = True
for options in ([], ["-b", "65536"]):
    lengths, beginnings, said = relayed(options)
    print(f"socat {' '.join(options)}: sent {SIZES}, came {lengths}, each the beginning: {beginnings}; said {said!r}")
    as_seen &= beginnings and lengths == (SIZES if options else [min(size, 8192) for size in SIZES])
sys.exit(0 if as_seen else "not as seen before")
PY
