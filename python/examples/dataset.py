"""Pairs of visible and infrared frames of a store, as a dataset for training.

    from torch.utils.data import DataLoader
    loader = DataLoader(PairedFrames("received", within="20ms"), batch_size=8, num_workers=4)

Samples are dictionaries: ``visible`` is (3, H, W) in float32 from 0 to 1, red first, ``infrared`` (1, H, W) in float32 by 65,535, ``skew`` in seconds.
Without PyTorch they are numpy arrays. Workers are forked or spawned as PyTorch likes; a store holds no threads.
"""

import numpy as np

import framelane

try:
    import torch
    from torch.utils.data import Dataset
except ImportError:
    torch, Dataset = None, object


class PairedFrames(Dataset):
    def __init__(self, store: str, first: str = "visible", second: str = "infrared", within: str = "20ms") -> None:
        self.names = (first, second)
        self.pairs = framelane.Store(store).pairs(first, second, within=within)

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> dict:
        first, second, skew = self.pairs[index]
        sample = dict(zip(self.names, (planes(first.array(color="rgb")), planes(second.array(color="rgb")))))
        return {**sample, "skew": np.float32(skew.total_seconds())}


def planes(image: np.ndarray):
    """(H, W) or (H, W, C) to (C, H, W), from 0 to 1."""
    image = image[:, :, None] if image.ndim == 2 else image
    scaled = np.ascontiguousarray(image.transpose(2, 0, 1), dtype=np.float32)
    if np.issubdtype(image.dtype, np.integer):
        scaled /= np.iinfo(image.dtype).max
    return scaled if torch is None else torch.from_numpy(scaled)


if __name__ == "__main__":
    import sys

    dataset = PairedFrames(sys.argv[1])
    print(len(dataset), "pairs;", {name: getattr(value, "shape", value) for name, value in dataset[0].items()} if len(dataset) else "")
