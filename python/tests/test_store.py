"""Reading a store: sequences, tables, pairs."""

from __future__ import annotations

import json
import pathlib
import random
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest

import framelane
from conftest import LIMIT

MILLI = 1_000_000


def write(folder: pathlib.Path, source: str, times: "list[int | None] | np.ndarray", ledger: list[dict] | None = None) -> None:
    """A source as a receiver would have stored it, without its files."""
    place = folder / source
    place.mkdir(parents=True)
    with open(place / "manifest.jsonl", "w") as file:
        for number, captured in enumerate(times):
            at = "null" if captured is None else int(captured)
            file.write(
                f'{{"sequence":{number},"name":"{number}.png","bytes":3,"blake3":"{number:064x}","captured_unix_ns":{at},'
                f'"clock":"program","due_unix_ns":null,"received_unix_ns":{number + 1},"stored_unix_ns":{number + 2},'
                f'"media_type":"image/png","modified_unix_ns":null,"run":"{7:032x}","sender":"sha256:ab"}}\n'
            )
    with open(place / "ledger.jsonl", "w") as file:
        for line in ledger or []:
            file.write(json.dumps(line) + "\n")


def test_what_was_received_is_read(ends, tmp_path, rng):
    images = [rng.integers(0, 65_536, (6, 8), dtype=np.uint16) for _ in range(5)]
    with ends.receiver(out=tmp_path / "out") as receiver:
        with ends.sender(receiver.address, sources=["visible", "infrared"]) as sender:
            for number, image in enumerate(images):
                # Sent in another order than captured.
                sender.send("infrared", image, captured=10**18 + (5 - number) * MILLI)
    store = framelane.Store(tmp_path / "out")
    assert "infrared" in store
    infrared = store["infrared"]
    assert len(infrared) == 5
    assert infrared.captured.tolist() == [10**18 + at * MILLI for at in range(1, 6)]
    for frame, image in zip(infrared, reversed(images)):
        np.testing.assert_array_equal(frame.array(), image)
    assert infrared[-1].sequence == 0 and [frame.sequence for frame in infrared[1:3]] == [3, 2]
    assert infrared[0].path == str(tmp_path / "out" / "infrared" / infrared[0].name)
    assert set(infrared.column("sender")) == {ends.sender_pin}
    with pytest.raises(IndexError, match="none at 5"):
        infrared[5]
    with pytest.raises(KeyError, match="there are"):
        store["../out"]
    with pytest.raises(framelane.StoreError, match="no store at"):
        framelane.Store(tmp_path / "nothing")


def test_frames_of_some_hours_alone(tmp_path):
    at = lambda number: 10**18 + number
    write(tmp_path, "a", [at(30), at(10), None, at(20), at(40)])
    store = framelane.Store(tmp_path)
    assert store["a"].names == ["1.png", "3.png", "0.png", "4.png", "2.png"]
    assert store.source("a", since=at(20), until=at(40)).names == ["3.png", "0.png"]
    assert store.source("a", since=at(20)).sequence.tolist() == [3, 0, 4]
    assert [frame.name for frame in store.source("a", until=at(20))] == ["1.png"]
    assert store.source("a").names == store["a"].names
    assert store["a"].blake3[0] == f"{1:064x}" and store["a"][-1].path == str(tmp_path / "a" / "2.png")
    with pytest.raises(KeyError, match="no source 'b'"):
        store.source("b", since=at(20))


def test_a_long_store_takes_little_memory(tmp_path):
    """Some 150 bytes a frame, and as much again for a moment; with an object for each name, path and hash it was 900."""
    frames = 200_000
    write(tmp_path, "a", np.arange(frames) * MILLI + 10**18)
    text = """
import resource, sys
import framelane
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
framelane.Store(sys.argv[1]).sources
before = peak()
source = framelane.Store(sys.argv[1])["a"]
print(len(source), peak() - before, source[-1].name)
"""
    told = subprocess.run([sys.executable, "-c", text, tmp_path], capture_output=True, text=True, check=True, timeout=LIMIT).stdout
    count, grown, last = told.split()
    assert int(count) == frames and last == f"{frames - 1}.png"
    assert int(grown) < 450 * frames, f"{int(grown) / frames:.0f} bytes a frame"


def test_lines_that_were_replaced_or_cannot_be_read(tmp_path):
    write(tmp_path, "a", [1, 2, 3])
    path = tmp_path / "a" / "manifest.jsonl"
    first = path.read_text().splitlines()[0]
    again = first.replace('"bytes":3', '"bytes":9')
    path.write_text(path.read_text() + "not a line\n" + again + "\n" + first[:40])
    source = framelane.Store(tmp_path)["a"]
    assert source.names == ["0.png", "1.png", "2.png"] and source.size.tolist() == [9, 3, 3]


def test_a_source_by_days(tmp_path):
    day = 86_400 * 10**9
    for date, at in [("2026-11-28", [5, 7]), ("2026-11-29", [day + 1])]:
        write(tmp_path / "parts" / date, "s", at)
        for file in (tmp_path / "parts" / date / "s").iterdir():
            place = tmp_path / "s" / date
            place.mkdir(parents=True, exist_ok=True)
            text = file.read_text()
            if file.name == "manifest.jsonl":
                for number in range(len(at)):
                    text = text.replace(f'"{number}.png"', f'"{date}-{number}.png"')
                (place / file.name).write_text(text)
    (tmp_path / "s" / "ledger.jsonl").write_text("")
    store = framelane.Store(tmp_path)
    assert "s" in store.sources
    source = store["s"]
    assert source.names == ["2026-11-28-0.png", "2026-11-28-1.png", "2026-11-29-0.png"]
    assert source[2].path == str(tmp_path / "s" / "2026-11-29" / "2026-11-29-0.png")


def test_tables(tmp_path):
    write(tmp_path, "a", [5_000, None, 3_000])
    source = framelane.Store(tmp_path)["a"]
    assert source.names == ["2.png", "0.png", "1.png"]
    table = source.to_numpy()
    assert table["name"].tolist() == source.names and np.isnat(table["captured"][2])
    pandas = pytest.importorskip("pandas")
    rows = source.to_pandas()
    assert rows["sequence"].tolist() == [2, 0, 1] and rows["captured"][0] == pandas.Timestamp(3_000, tz="UTC")
    assert rows["captured"].isna().tolist() == [False, False, True]
    polars = pytest.importorskip("polars")
    rows = source.to_polars()
    assert rows["sequence"].to_list() == [2, 0, 1] and rows["captured"].null_count() == 1
    assert rows.schema["captured"] == polars.Datetime("ns", "UTC")


def test_pairs_and_reasons(tmp_path):
    base = 1_700_000_000_000_000_000
    write(tmp_path, "visible", [base, base + 100 * MILLI, base + 205 * MILLI, base + 215 * MILLI, base + 500 * MILLI, None])
    ledger = [
        {"run": "07" * 16, "began": 1, "first": 0},
        {
            "run": "07" * 16,
            "dropped": {"first": 5, "last": 6},
            "reason": "late",
            "where": "sender",
            "captured_unix_ns": [base + 495 * MILLI, base + 505 * MILLI],
        },
    ]
    write(tmp_path, "infrared", [base + 3 * MILLI, base + 150 * MILLI, base + 212 * MILLI], ledger)
    store = framelane.Store(tmp_path)
    pairs = store.pairs("visible", "infrared", within="20ms")
    assert pairs.first.tolist() == [0, 3] and pairs.second.tolist() == [0, 2]
    assert pairs.skew.tolist() == [3 * MILLI, -3 * MILLI]
    first, second, skew = pairs[0]
    assert (first.name, second.name, skew.total_seconds()) == ("0.png", "0.png", 0.003)
    reasons = {f"{frame.source}/{frame.name}": why for frame, why in pairs.alone()}
    assert reasons == {
        "visible/1.png": "the nearest frame of infrared, 1.png, is 50.0 ms away",
        "visible/2.png": "the nearest frame of infrared, 2.png, is closer to 3.png",
        "visible/4.png": "infrared declared frames 5 to 6 dropped around then: late, at the sender",
        "visible/5.png": "it has no capture time",
        "infrared/1.png": "the nearest frame of visible, 1.png, is 50.0 ms away",
    }
    assert pairs.columns()["visible_captured"].tolist() == [base, base + 215 * MILLI]
    assert [first.name for first, _, _ in pairs[:2]] == ["0.png", "3.png"] and pairs[-1][0].name == "3.png" and pairs[2:] == []
    with pytest.raises(IndexError, match="2 pairs, and none at 2"):
        pairs[2]
    pandas = pytest.importorskip("pandas")
    table = pairs.to_pandas()
    assert table["skew"].tolist()[0].value == 3 * MILLI
    # Tables of pairs and of frames are of the same times.
    both = table.merge(store["visible"].to_pandas(), left_on="visible_captured", right_on="captured")
    assert both["name"].tolist() == ["0.png", "3.png"]
    polars = pytest.importorskip("polars")
    rows = pairs.to_polars()
    assert rows.schema["infrared_captured"] == polars.Datetime("ns", "UTC")
    assert rows.join(store["visible"].to_polars(), left_on="visible_captured", right_on="captured").height == 2


@pytest.mark.parametrize("within", [float("nan"), float("inf"), -1, "-1ms", 1e10])
def test_how_far_apart_is_a_length_of_time(tmp_path, within):
    write(tmp_path, "a", [1])
    with pytest.raises(ValueError, match="length of time|zero or more"):
        framelane.Store(tmp_path).pairs("a", "a", within=within)


def test_a_file_that_is_not_as_it_was_stored(ends, tmp_path, rng):
    image = rng.integers(0, 256, (6, 8), dtype=np.uint8)
    with ends.receiver(out=tmp_path / "out") as receiver:
        with ends.sender(receiver.address, encode="raw") as sender:
            for number in range(4):
                sender.send("visible", image, captured=10**18 + number)
    store = framelane.Store(tmp_path / "out")
    whole, altered, longer, gone = store["visible"]
    content = pathlib.Path(altered.path).read_bytes()
    pathlib.Path(altered.path).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    pathlib.Path(longer.path).write_bytes(content + b"x")
    pathlib.Path(gone.path).unlink()
    np.testing.assert_array_equal(whole.array(), image)
    assert whole.bytes == content
    for frame, says in [(altered, "not what was stored: its BLAKE3"), (longer, r"has \d+ bytes"), (gone, "is not there: .*expired")]:
        for read in (frame.array, lambda: frame.bytes):
            with pytest.raises(framelane.StoreError, match=says):
                read()
    with pytest.raises(KeyError, match="no column 'size'; there are clock"):
        store["visible"].column("size")
    shutil.rmtree(tmp_path / "out")
    assert "cannot be read" in repr(store)
    with pytest.raises(framelane.StoreError, match="cannot be read"):
        store.sources


def test_frames_of_days_that_have_expired_are_left_out(tmp_path):
    """Their lines are there still, those of frames that came later as well."""
    ledger = [
        {"day": "2026-11-28", "expired_unix_ns": 2, "frames": 1, "bytes": 3},
    ]
    for date in ("2026-11-28", "2026-11-29"):
        write(tmp_path / "parts" / date, "s", [5, 6, 7])
        place = tmp_path / "s" / date
        place.mkdir(parents=True)
        text = (tmp_path / "parts" / date / "s" / "manifest.jsonl").read_text()
        for number in range(3):
            text = text.replace(f'"{number}.png"', f'"{date}-{number}.png"')
        (place / "manifest.jsonl").write_text(text)
    (tmp_path / "s" / "ledger.jsonl").write_text("".join(json.dumps(line) + "\n" for line in ledger))
    source = framelane.Store(tmp_path)["s"]
    # Stored at 2, 3 and 4: what was there at 2 has expired.
    assert sorted(source.names) == sorted(["2026-11-28-1.png", "2026-11-28-2.png", *(f"2026-11-29-{n}.png" for n in range(3))])
    assert source.expired == 1 and len(source.size) == len(source.paths) == len(source.column("run")) == 5


def brute_force(first, second, within):
    """The closest first, looked up among all."""
    near = [(abs(b - a), i, j) for i, a in enumerate(first) for j, b in enumerate(second) if abs(b - a) <= within]
    left, right, pairs = set(range(len(first))), set(range(len(second))), []
    for _, i, j in sorted(near):
        if i in left and j in right:
            left.remove(i)
            right.remove(j)
            pairs.append((i, j))
    return sorted(pairs)


@pytest.mark.parametrize("seed", range(30))
def test_pairs_are_the_closest(tmp_path, seed):
    rng = np.random.default_rng(seed)
    # Whole times so fine that no two distances are the same.
    first, second = (np.sort(rng.integers(1, 10**12, rng.integers(0, 60))) for _ in range(2))
    within = int(rng.integers(0, 10**11))
    write(tmp_path, "a", first)
    write(tmp_path, "b", second)
    pairs = framelane.Store(tmp_path).pairs("a", "b", within=within / 1e9)
    expected = brute_force(first.tolist(), second.tolist(), round(within / 1e9 * 1e9))
    assert list(zip(pairs.first.tolist(), pairs.second.tolist())) == expected
    alone = pairs.alone()
    assert len(alone) == len(first) + len(second) - 2 * len(expected)
    assert all(why for _, why in alone)


def test_equal_times_pair_up_in_order(tmp_path):
    write(tmp_path, "a", [10, 10, 10, 20])
    write(tmp_path, "b", [10, 10, 20, 20])
    pairs = framelane.Store(tmp_path).pairs("a", "b", within=0)
    assert len(pairs) == 3 and pairs.skew.tolist() == [0, 0, 0]


def test_hundreds_of_thousands_in_seconds(tmp_path):
    count = 100_000
    rng = np.random.default_rng(1)
    times = 10**18 + np.arange(count) * 33 * MILLI
    write(tmp_path, "visible", times + rng.integers(0, 5 * MILLI, count))
    kept = rng.random(count) > 0.1
    write(tmp_path, "infrared", times[kept] + rng.integers(0, 5 * MILLI, int(kept.sum())))
    # Of the processor: the machine may be busy with other things.
    began = time.process_time()
    pairs = framelane.Store(tmp_path).pairs("visible", "infrared", within="20ms")
    alone = pairs.alone()
    took = time.process_time() - began
    assert len(pairs) == int(kept.sum()) and len(alone) == count - len(pairs)
    assert np.array_equal(pairs.first, np.flatnonzero(kept))
    assert took < 30, f"{took} s"


@pytest.mark.parametrize("length", [1 << 40, (1 << 64) - 1])
def test_a_length_in_the_manifest_that_no_file_has_is_told(tmp_path, length):
    write(tmp_path, "visible", [1])
    manifest = tmp_path / "visible" / "manifest.jsonl"
    manifest.write_text(manifest.read_text().replace('"bytes":3', f'"bytes":{length}'))
    (tmp_path / "visible" / "0.png").write_bytes(b"abc")
    with pytest.raises(framelane.StoreError, match=f"it has 3 bytes, and {length} were stored"):
        _ = framelane.Store(tmp_path)["visible"][0].bytes


def test_reasons_take_no_longer_with_many_drops(tmp_path):
    """Each frame of its own drop, and of the one that lasts longest."""
    from framelane._store import Drop, _Drops

    def drop(begin, end):
        return Drop("07" * 16, begin, end, "late", "sender", (begin * MILLI, end * MILLI))

    drops = [drop(10 * number, 10 * number + 1) for number in range(20_000)]
    random.Random(3).shuffle(drops)
    known = _Drops([*drops, drop(1_000, 2_000), Drop("07" * 16, 0, 1, None, "sender", None)], MILLI)
    began = time.process_time()
    for number in range(20_000):
        found = known.around((10 * number + 2) * MILLI)
        assert found.first == (1_000 if 99 < number < 200 else 10 * number), number
        assert (known.around((10 * number + 5) * MILLI) is None) == (not 100 <= number < 200), number
    # Through all of them for each it would be 400,000,000 steps.
    assert time.process_time() - began < 5
    assert known.around(-2 * MILLI) is None
