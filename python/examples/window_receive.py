"""Shows the newest frame of each source in a window: window_receive.py ADDR:PORT PIN-OF-SENDER. Any key ends it."""

import sys

import cv2

import framelane


def main() -> None:
    listen, pin = sys.argv[1:3]
    with framelane.Receiver(listen, allow=[pin], latest=True) as receiver:
        print("senders trust this receiver with", receiver.pin)
        for frame in receiver:
            image = frame.array()
            if image.dtype == "uint16":
                image = cv2.normalize(image, None, 0, 255, cv2.NORM_MINMAX, cv2.CV_8U)
            cv2.imshow(frame.source, image)
            if cv2.waitKey(1) >= 0:
                break


if __name__ == "__main__":
    main()
