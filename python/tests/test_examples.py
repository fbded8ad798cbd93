"""The examples do what they say, those with a camera or a window aside."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest

import framelane

EXAMPLES = pathlib.Path(__file__).resolve().parent.parent / "examples"


@pytest.fixture
def store(ends, tmp_path, rng) -> pathlib.Path:
    """Five visible frames, and infrared ones a few milliseconds later; one has no partner."""
    out = tmp_path / "received"
    with ends.receiver(out=out) as receiver:
        with ends.sender(receiver.address, sources=["visible", "infrared"]) as sender:
            for number in range(5):
                at = 10**18 + number * 40_000_000
                sender.send("visible", rng.integers(0, 256, (24, 32, 3), dtype=np.uint8), captured=at)
                if number != 2:
                    counts = (7_000 + rng.integers(0, 2_000, (24, 32))).astype(np.uint16)
                    sender.send("infrared", counts, captured=at + 4_000_000)
    return out


def run(name: str, *args: object, cwd: pathlib.Path) -> str:
    done = subprocess.run(
        [sys.executable, EXAMPLES / name, *map(str, args)], cwd=cwd, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_dataset(store, tmp_path):
    assert "4 pairs" in run("dataset.py", store, cwd=tmp_path)
    sys.path.insert(0, str(EXAMPLES))
    try:
        from dataset import PairedFrames
    finally:
        sys.path.remove(str(EXAMPLES))
    dataset = PairedFrames(str(store))
    assert len(dataset) == 4
    sample = dataset[1]
    assert tuple(sample["visible"].shape) == (3, 24, 32) and tuple(sample["infrared"].shape) == (1, 24, 32)
    assert sample["skew"] == np.float32(0.004)
    visible = framelane.Store(store)["visible"][1].array()
    # Red first, from 0 to 1.
    np.testing.assert_allclose(np.asarray(sample["visible"])[0] * 255, visible[:, :, 2], atol=1e-3)


def test_thermal_colour(store, tmp_path):
    cv2 = pytest.importorskip("cv2")
    assert "4 frames" in run("thermal_colour.py", store, cwd=tmp_path)
    files = sorted((tmp_path / "coloured").iterdir())
    image = cv2.imread(str(files[0]))
    # Spread over the colours, not all dark or all bright.
    assert len(files) == 4 and image.shape == (24, 32, 3) and image.std() > 40


def test_notebook(tmp_path):
    """Its cells run one after the other."""
    book = json.loads((EXAMPLES / "tour.ipynb").read_text())
    assert book["nbformat"] == 4
    code = ["".join(cell["source"]) for cell in book["cells"] if cell["cell_type"] == "code"]
    assert len(code) > 5
    script = tmp_path / "tour.py"
    script.write_text("\n\n".join(code))
    done = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "pairs" in done.stdout


@pytest.mark.parametrize("name", ["camera_send.py", "window_receive.py"])
def test_the_others_are_python(name):
    compile((EXAMPLES / name).read_text(), name, "exec")
