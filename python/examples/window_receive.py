"""Shows the newest frame of each source in a window: window_receive.py ADDR:PORT PIN-OF-SENDER. Any key ends it."""

import sys

import cv2

import framelane


def main() -> None:
    listen, pin = sys.argv[1:3]
    with framelane.Receiver(listen, allow=[pin], latest=True) as receiver:
        print("senders trust this receiver with", receiver.pin)
        # OpenCV's windows live by waitKey, also while no frame comes.
        while cv2.waitKey(1) < 0:
            try:
                frame = receiver.next(timeout=0.03)
                image = frame.array()
            except (TimeoutError, framelane.DecodeError):
                continue
            except framelane.Closed:
                break
            if image.dtype == "uint16":
                image = cv2.normalize(image, None, 0, 255, cv2.NORM_MINMAX, cv2.CV_8U)
            cv2.imshow(frame.source, image)


if __name__ == "__main__":
    main()
