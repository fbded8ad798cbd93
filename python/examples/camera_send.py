"""Sends what an OpenCV camera sees: camera_send.py HOST:PORT PIN-OF-RECEIVER [CAMERA]."""

import sys
import time

import cv2

import framelane


def main() -> None:
    receiver, pin = sys.argv[1:3]
    camera = cv2.VideoCapture(int(sys.argv[3]) if len(sys.argv) > 3 else 0)
    print("the receiver allows this camera with", framelane.own_pin())
    with framelane.Sender(receiver, pin=pin, sources=["visible"], encode="jpeg:90", retry_for="1d") as sender:
        while True:
            ok, image = camera.read()
            if not ok:
                break
            sender.send("visible", image, captured=time.time_ns())
            if trouble := sender.trouble:
                print(trouble, file=sys.stderr)


if __name__ == "__main__":
    main()
