#!/usr/bin/env bash
# Linux 6.18.44, TCP: sendfile() has the connection take the file's pages, not what is in them. It returns when they are queued, with the
# whole length, and what is written into the file from then on goes out in place of what was there. So a picture that a camera writes over
# in place (`latest.raw`, a ring of frames in /dev/shm) arrives as a later one, or as parts of two, behind the header, length or hash of the
# first, wherever the link or the receiver is slower than the camera for a moment. TCP's checksum is made of what goes out, and the sender
# has its return value. It is so on tmpfs and on a disk. With send() of what was read, or where the writer renames a new file into place,
# the picture arrives that was sent.
# Seen on 2026-11-30 over loopback, a frame of 655,360 bytes, written over when sendfile() had returned 655360: read later: 0 bytes of the
# first frame came, 655,360 of the next; read at once, at 2 MB/s: 364,744 and 290,616; with send(), and with rename: 655,360 of the
# first. No package is used.
set -euo pipefail
place=$(mktemp -d)
shared=$(mktemp -d -p /dev/shm)
trap 'rm -rf "$place" "$shared"' EXIT
python3 - "$place" "$shared" <<'PY'
import os, socket, sys, threading

SIZE, RATE = 640 * 512 * 2, 2_000_000  # of a frame, bytes; of the slow link, bytes/s
SO_MAX_PACING_RATE = 47
first, second = (bytes([value]) * SIZE for value in (1, 2))

def write_over(path):
    """As a camera that has one file: the same file, its content anew."""
    with open(path, "r+b") as file:
        file.write(second)

def rename(path):
    with open(path + ".new", "wb") as file:
        file.write(second)
    os.rename(path + ".new", path)

def sendfile(sender, file):
    return os.sendfile(sender.fileno(), file.fileno(), 0, SIZE)

def send(sender, file):
    return sender.send(file.read())

def run(folder, transfer, replace, slow):
    """What the sender's call returned, and what the receiver got."""
    path = f"{folder}/latest.raw"
    with open(path, "wb") as file:
        file.write(first)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        sender = socket.socket()
        if slow:
            sender.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 1448)
            sender.setsockopt(socket.SOL_SOCKET, SO_MAX_PACING_RATE, RATE)
        sender.connect(listener.getsockname())
        receiver, _ = listener.accept()
    came = bytearray()

    def read():
        while data := receiver.recv(1 << 20):
            came.extend(data)

    reader = threading.Thread(target=read)
    with sender, receiver, open(path, "rb") as file:
        receiver.settimeout(30)
        if slow:
            reader.start()
        else:
            sender.setblocking(False)  # takes what the queue takes
        returned = transfer(sender, file)
        replace(path)
        sender.close()
        if not slow:
            reader.start()
        reader.join()
    return returned, came.count(1), came.count(2)

as_seen = True
for folder, name in zip(sys.argv[1:], ("temporary files", "/dev/shm")):
    for transfer, replace, slow in ((sendfile, write_over, False), (sendfile, write_over, True), (send, write_over, False),
                                    (send, write_over, True), (sendfile, rename, False), (sendfile, rename, True)):
        returned, of_first, of_second = run(folder, transfer, replace, slow)
        print(f"{name}, {transfer.__name__}() returned {returned}, then {replace.__name__}; {'a slow link' if slow else 'read later'}: "
              f"{of_first} bytes of the first frame came, {of_second} of the second")
        as_seen &= returned == of_first + of_second > 100_000
        if transfer is sendfile and replace is write_over:
            as_seen &= of_second > 0 and (of_first > 0 if slow else of_first == 0)
        else:
            as_seen &= of_second == 0
sys.exit(0 if as_seen else "not as seen before")
PY
