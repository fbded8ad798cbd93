"""The same for asyncio."""

from __future__ import annotations

import asyncio
import time

import numpy as np
import pytest

import framelane
from conftest import LIMIT


def run(work):
    return asyncio.run(asyncio.wait_for(work, LIMIT))


def test_frames_and_receipts(ends, rng):
    images = [rng.integers(0, 65_536, (8, 8), dtype=np.uint16) for _ in range(20)]

    async def main():
        async with ends.async_receiver() as receiver:
            async with ends.async_sender(receiver.address) as sender:
                receipts = [await sender.send("visible", image) for image in images]
                taken = 0
                async for frame in receiver:
                    np.testing.assert_array_equal(frame.array(), images[frame.sequence])
                    taken += 1
                    if taken == len(images):
                        break
                await asyncio.gather(*receipts)
                assert all(receipt.stored for receipt in receipts)
            assert sender.report.complete
        assert receiver.report.stored == 20
        with pytest.raises(framelane.Closed):
            await receiver.next()

    run(main())


def test_a_wait_that_is_cancelled_takes_nothing(ends):
    async def main():
        async with ends.async_receiver() as receiver, ends.async_sender(receiver.address) as sender:
            for _ in range(20):
                with pytest.raises(asyncio.TimeoutError):
                    await asyncio.wait_for(receiver.next(), 0.001)
            for number in range(20):
                await sender.send("visible", b"%d" % number)
            got = set()
            while len(got) < 20:
                try:
                    got.add((await asyncio.wait_for(receiver.next(), 0.0005)).bytes)
                except asyncio.TimeoutError:
                    pass
            assert got == {b"%d" % number for number in range(20)}

    run(main())


def test_the_loop_is_not_held_up(ends):
    async def main():
        ticks = 0

        async def tick():
            nonlocal ticks
            while True:
                await asyncio.sleep(0.005)
                ticks += 1

        ticking = asyncio.create_task(tick())
        async with ends.async_receiver() as receiver:
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(receiver.next(), 0.5)
        ticking.cancel()
        assert ticks > 10

    run(main())


def test_memory_that_is_full_is_waited_for(ends):
    async def main():
        async with ends.async_receiver() as receiver, ends.async_sender(receiver.address, memory="8KiB") as sender:

            async def send():
                for number in range(30):
                    await sender.send("visible", b"%d" % number + b"x" * 6_000)

            sending = asyncio.create_task(send())
            got = {int((await receiver.next()).bytes.rstrip(b"x")) for _ in range(30)}
            await sending
            assert got == set(range(30))

    run(main())


def test_errors_are_those_of_the_others(ends):
    async def main():
        async with ends.async_receiver() as receiver:
            sender = ends.async_sender(receiver.address, retry_for=0, deadline="1ms")
            with pytest.raises(framelane.PushError):
                await sender.send("nothing", b"x")
            receipt = await sender.send("visible", b"late", captured=1_700_000_000_000_000_000)
            with pytest.raises(framelane.FrameLost):
                await receipt
            assert (await sender.finish()).dropped == 1
        with pytest.raises(framelane.Incomplete):
            async with ends.async_sender("127.0.0.1:9", retry_for=0) as sender:
                await sender.send("visible", b"x")

    run(main())


def test_several_wait_at_once(ends):
    async def main():
        async with ends.async_receiver() as receiver, ends.async_sender(receiver.address) as sender:
            waiting = [asyncio.create_task(receiver.next()) for _ in range(8)]
            for number in range(8):
                await sender.send("visible", b"%d" % number)
            got = {frame.bytes for frame in await asyncio.gather(*waiting)}
            assert got == {b"%d" % number for number in range(8)}
            waiting = [asyncio.create_task(receiver.next()) for _ in range(4)]
            await asyncio.sleep(0)
            await sender.finish()
            await receiver.close()
            for task in waiting:
                with pytest.raises(framelane.Closed):
                    await task

    run(main())


def test_one_that_is_cancelled_passes_on_what_it_was_told(ends):
    async def main():
        async with ends.async_receiver() as receiver, ends.async_sender(receiver.address) as sender:
            for _ in range(3):
                waiting = [asyncio.create_task(asyncio.wait_for(receiver.next(), 0.05)), asyncio.create_task(receiver.next())]
                await asyncio.sleep(0)
                receipt = await sender.send("visible", b"x")
                # The loop is busy while the frame comes, and beyond the first one's patience.
                time.sleep(0.3)
                first, second = waiting
                await asyncio.wait({first}, timeout=LIMIT)
                if first.exception() is None:
                    second.cancel()
                else:
                    assert (await asyncio.wait_for(second, LIMIT)).bytes == b"x"
                await receipt

    run(main())


def test_a_send_that_is_cancelled_has_not_taken_the_frame(ends):
    """Not even where there was room by then, of which the loop had not heard."""

    async def main():
        with ends.receiver() as receiver:
            sender = ends.async_sender(receiver.address, memory="2KiB")
            first = await sender.send("visible", bytes(1_500))
            second = asyncio.ensure_future(sender.send("visible", bytes(1_500)))
            await asyncio.sleep(0.05)
            assert not second.done()
            # Nobody lets the loop go on meanwhile.
            receiver.next(timeout=LIMIT)
            end = time.monotonic() + LIMIT
            while first.stored is None and time.monotonic() < end:
                time.sleep(0.01)
            time.sleep(0.2)
            second.cancel()
            with pytest.raises(asyncio.CancelledError):
                await second
            third = await asyncio.wait_for(sender.send("visible", bytes(1_500)), LIMIT)
            receiver.next(timeout=LIMIT)
            await third
            report = await sender.finish()
            assert (report.sent, report.complete) == (2, True)

    asyncio.run(main())
