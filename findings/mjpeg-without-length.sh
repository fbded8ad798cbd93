#!/usr/bin/env bash
# ffmpeg 7.0.2 (PyPI imageio-ffmpeg 0.6.0) and OpenCV 4.12.0 (opencv-python-headless 4.12.0.88) reading multipart/x-mixed-replace
# whose parts have no Content-Length, as many small camera servers send it: any "\r\n--" within a picture is taken for the end of
# the part, whatever boundary the stream named. What is behind it is no part header, so the whole stream ends there. Four given
# bytes come by chance once in 4 GiB of compressed pictures: at 30 pictures of 100 kB a second, every 24 minutes. ffmpeg ends with
# status 0; for OpenCV read() is False for good, as if the camera had gone. With Content-Length nothing of it happens.
# Seen on 2026-11-30, 30 pictures, the fifth with these bytes in a comment: without Content-Length both read 4, with it 30.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" -q install --disable-pip-version-check imageio-ffmpeg==0.6.0 opencv-python-headless==4.12.0.88
"$place/venv/bin/python" - <<'PY'
import http.server, os, subprocess, sys, threading
os.environ["OPENCV_FFMPEG_LOGLEVEL"] = "-8"
import cv2, imageio_ffmpeg, numpy

PICTURES, SIDE = 30, 64

def picture(number, comment):
    """A valid JPEG, all of one grey, with a comment segment."""
    jpeg = cv2.imencode(".jpg", numpy.full((SIDE, SIDE), number * 8, numpy.uint8))[1].tobytes()
    return jpeg[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + jpeg[2:]

def stream(with_length, comment):
    out = b""
    for number in range(PICTURES):
        body = picture(number, comment if number == 4 else b"exposure 5 ms, gain 2.0")
        length = b"Content-Length: %d\r\n" % len(body) if with_length else b""
        out += b"--frame\r\nContent-Type: image/jpeg\r\n" + length + b"\r\n" + body + b"\r\n"
    return out

def by_ffmpeg(data):
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "quiet", "-f", "mpjpeg", "-i", "-",
               "-f", "rawvideo", "-fps_mode", "passthrough", "-pix_fmt", "gray", "-"]
    done = subprocess.run(command, input=data, capture_output=True, timeout=60)
    return len(done.stdout) // SIDE**2, done.returncode

def by_opencv(data):
    class Camera(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
            self.end_headers()
            try:
                self.wfile.write(data)
            except OSError:
                pass  # the reader has left

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Camera) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        capture = cv2.VideoCapture(f"http://127.0.0.1:{server.server_port}/", cv2.CAP_FFMPEG)
        count = 0
        while capture.read()[0]:
            count += 1
        capture.release()
        server.shutdown()
    return count

as_seen = True
for with_length in (False, True):
    for comment in (b"exposure 5 ms, gain 2.1", b"note\r\n--\x93\x11\x42"):
        data = stream(with_length, comment)
        (ffmpeg, status), opencv = by_ffmpeg(data), by_opencv(data)
        print(f"Content-Length: {with_length}, fifth picture with {comment!r}: "
              f"ffmpeg {ffmpeg} pictures, status {status}; OpenCV {opencv}; of {PICTURES}")
        torn = not with_length and b"\r\n--" in comment
        as_seen &= status == 0 and (ffmpeg == opencv == 4 if torn else ffmpeg == PICTURES)
        # OpenCV loses up to three to the end of a stream without lengths: it is late by as many.
        as_seen &= torn or opencv >= PICTURES - (0 if with_length else 4)
sys.exit(0 if as_seen else "not as seen before")
PY
