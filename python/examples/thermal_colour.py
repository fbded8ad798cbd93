"""False colours for 16-bit thermal frames of a store: thermal_colour.py STORE [SOURCE [FOLDER]].

The counts between the 1st and the 99th percentile of each frame are spread over the colours; a few hot or dead pixels do not
darken the rest.
"""

import pathlib
import sys

import cv2
import numpy as np

import framelane


def false_colour(counts: np.ndarray) -> np.ndarray:
    """(H, W) uint16 to (H, W, 3) uint8, blue first."""
    low, high = np.percentile(counts, (1, 99))
    grey = np.clip((counts - low) / max(high - low, 1.0) * 255.0, 0, 255).astype(np.uint8)
    return cv2.applyColorMap(grey, cv2.COLORMAP_INFERNO)


def main() -> None:
    store = framelane.Store(sys.argv[1])
    source = sys.argv[2] if len(sys.argv) > 2 else "infrared"
    folder = pathlib.Path(sys.argv[3] if len(sys.argv) > 3 else "coloured")
    folder.mkdir(parents=True, exist_ok=True)
    for frame in store[source]:
        # A name may have folders in it, and always stays below the one that it is put in.
        file = folder / pathlib.Path(frame.name).with_suffix(".png")
        file.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(file), false_colour(frame.array()))
    print(f"{len(store[source])} frames in {folder}")


if __name__ == "__main__":
    main()
