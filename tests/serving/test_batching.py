"""The queue before the models, with a model that a test can look into and hold up."""

from __future__ import annotations

import asyncio
import threading
import time

import numpy as np
import pytest

from candid.serving.batching import Batcher, Closing, Full


class Model:
    """Gives each picture's pixels back; notes its batches; waits at a gate where it is shut."""

    def __init__(self, factor: float = 1.0) -> None:
        self.batches: list[list[int]] = []
        self.factor = factor
        self.gate = threading.Event()
        self.gate.set()
        self.calls = 0

    def __call__(self, pixels):  # type: ignore[no-untyped-def]
        self.calls += 1
        assert self.gate.wait(20)
        self.batches.append([int(p[0]) for p in pixels])
        return [(p[0] * self.factor, p[1]) for p in pixels]


def pictures(*numbers: int):  # type: ignore[no-untyped-def]
    return np.array([[n, n + 1] for n in numbers], np.uint8).reshape(-1, 2)


def batcher(model, **changes):  # type: ignore[no-untyped-def]
    answers = model if isinstance(model, dict) else {"m": model}
    return Batcher(answers, **({"batch": 8, "wait": 0.01, "queue": 100} | changes))


async def until(condition, seconds: float = 5) -> None:  # type: ignore[no-untyped-def]
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came to that"
        await asyncio.sleep(0.001)


async def holding(queue: Batcher, model: Model) -> asyncio.Task:  # type: ignore[type-arg]
    """A request that keeps the worker busy until the gate opens."""
    model.gate.clear()
    task = asyncio.create_task(queue.ask("m", pictures(200)))
    await until(lambda: model.calls == 1)
    return task


def test_everyone_gets_their_own_answers_in_order():
    model = Model()
    rng = np.random.default_rng(0)
    asked = [pictures(*rng.integers(0, 200, rng.integers(1, 20))) for _ in range(30)]

    async def main():
        async with batcher(model, queue=1000, workers=2) as queue:
            return await asyncio.gather(*(queue.ask("m", p) for p in asked))

    for p, answer in zip(asked, asyncio.run(main()), strict=True):
        np.testing.assert_array_equal(answer, p)
    assert max(map(len, model.batches)) == 8
    assert sum(map(len, model.batches)) == sum(map(len, asked))


def test_what_gathers_while_the_worker_is_busy_goes_together():
    model = Model()

    async def main():
        async with batcher(model) as queue:
            first = await holding(queue, model)
            others = [asyncio.create_task(queue.ask("m", pictures(n))) for n in range(20)]
            await until(lambda: queue.waiting == 20)
            model.gate.set()
            await asyncio.gather(first, *others)

    asyncio.run(main())
    assert model.batches == [[200], list(range(8)), list(range(8, 16)), list(range(16, 20))]


def test_one_alone_waits_no_longer_than_it_must_and_a_full_batch_not_at_all():
    model = Model()

    async def main():
        async with batcher(model, wait=0.15) as queue:
            start = time.monotonic()
            await asyncio.gather(*(queue.ask("m", pictures(n)) for n in range(8)))
            full = time.monotonic() - start
            start = time.monotonic()
            await queue.ask("m", pictures(1))
            return full, time.monotonic() - start

    full, alone = asyncio.run(main())
    assert full < 0.14
    assert 0.14 < alone < 1


def test_a_full_line_refuses_whole_requests_and_says_when_to_come_back():
    model = Model()

    async def main():
        async with batcher(model, queue=10) as queue:
            first = await holding(queue, model)
            taken = asyncio.create_task(queue.ask("m", pictures(*range(9))))
            await until(lambda: queue.waiting == 9)
            with pytest.raises(Full) as refusal:
                await queue.ask("m", pictures(1, 2))
            assert refusal.value.retry_after >= 1
            last = asyncio.create_task(queue.ask("m", pictures(3)))
            await until(lambda: queue.waiting == 10)
            with pytest.raises(Full):
                await queue.ask("m", pictures(5))
            model.gate.set()
            await asyncio.gather(first, taken, last)
            assert queue.waiting == 0
            np.testing.assert_array_equal(await queue.ask("m", pictures(4)), [[4, 5]])

    asyncio.run(main())
    assert 2 not in [n for batch in model.batches for n in batch][10:]


def test_the_advice_follows_the_pace():
    async def main():
        def slow(pixels):  # type: ignore[no-untyped-def]
            time.sleep(0.05 * len(pixels))
            return pixels

        async with batcher({"m": slow}, batch=1, wait=0) as queue:
            await queue.ask("m", pictures(1))
            tasks = [asyncio.create_task(queue.ask("m", pictures(n))) for n in range(60)]
            await until(lambda: queue.waiting >= 59)
            advice = queue.retry_after
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            return advice

    assert 3 <= asyncio.run(main()) <= 6  # 59 or 60 pictures of 0.05 s


def test_who_goes_away_leaves_the_line_and_costs_nothing():
    model = Model()

    async def main():
        async with batcher(model) as queue:
            first = await holding(queue, model)
            gone = [asyncio.create_task(queue.ask("m", pictures(n, n))) for n in range(10, 15)]
            stays = asyncio.create_task(queue.ask("m", pictures(7)))
            await until(lambda: queue.waiting == 11)
            for task in gone:
                task.cancel()
            await until(lambda: queue.waiting == 1)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.02):
                    await queue.ask("m", pictures(9))
            assert queue.waiting == 1
            model.gate.set()
            await asyncio.gather(first, stays)

    asyncio.run(main())
    assert model.batches == [[200], [7]]


def test_who_goes_away_during_the_call_disturbs_nobody():
    model = Model()

    async def main():
        async with batcher(model, wait=0) as queue:
            first = await holding(queue, model)
            first.cancel()
            await asyncio.sleep(0.01)
            model.gate.set()
            return await queue.ask("m", pictures(3))

    np.testing.assert_array_equal(asyncio.run(main()), [[3, 4]])


def test_no_picture_is_no_work():
    model = Model()

    async def main():
        async with batcher(model) as queue:
            return await queue.ask("m", [])

    assert asyncio.run(main()) == []
    assert model.calls == 0


def test_models_take_turns():
    slow, other = Model(), Model(factor=2)
    order: list[str] = []

    async def main():
        async with batcher(
            {"m": slow, "n": other}, wait=0, observe=lambda name, n, s: order.append(name)
        ) as queue:
            first = await holding(queue, slow)
            flood = [asyncio.create_task(queue.ask("m", pictures(n % 100))) for n in range(60)]
            await until(lambda: queue.waiting == 60)
            lone = asyncio.create_task(queue.ask("n", pictures(5)))
            await until(lambda: queue.waiting == 61)
            slow.gate.set()
            await asyncio.gather(first, lone, *flood)
            return lone.result()

    np.testing.assert_array_equal(asyncio.run(main()), [[10, 6]])
    assert order.index("n") <= 2
    assert order.count("m") == 9


def test_a_stop_answers_what_was_taken_in_and_takes_no_more():
    model = Model()

    async def main():
        queue = batcher(model, wait=30)
        async with queue:
            first = asyncio.create_task(queue.ask("m", pictures(1)))
            await until(lambda: queue.waiting == 1)
            closing = asyncio.create_task(queue.close())
            await asyncio.sleep(0)
            with pytest.raises(Closing):
                await queue.ask("m", pictures(2))
            await closing
            return await first

    start = time.monotonic()
    np.testing.assert_array_equal(asyncio.run(main()), [[1, 2]])
    assert time.monotonic() - start < 10  # although one may wait 30 seconds for company


def test_a_stop_that_takes_too_long_says_so_to_who_waits():
    model = Model()

    async def main():
        queue = batcher(model)
        async with queue:
            held = await holding(queue, model)
            waits = asyncio.create_task(queue.ask("m", pictures(2)))
            await until(lambda: queue.waiting == 1)
            await queue.close(0.05)
            model.gate.set()
            return await asyncio.gather(held, waits, return_exceptions=True)

    assert [type(x) for x in asyncio.run(main())] == [Closing, Closing]


def test_a_model_that_fails_fails_its_batch_alone():
    calls = []

    def fragile(pixels):  # type: ignore[no-untyped-def]
        calls.append(len(pixels))
        if len(calls) == 1:
            raise ValueError("broken")
        return pixels

    async def main():
        async with batcher({"m": fragile}, batch=2) as queue:
            both = await asyncio.gather(
                queue.ask("m", pictures(1)), queue.ask("m", pictures(2)), return_exceptions=True
            )
            return both, await queue.ask("m", pictures(3))

    both, later = asyncio.run(main())
    assert [str(x) for x in both] == ["broken", "broken"]
    np.testing.assert_array_equal(later, [[3, 4]])


def test_what_is_observed_adds_up():
    seen = []

    async def main():
        async with batcher(Model(), observe=lambda *what: seen.append(what)) as queue:
            await asyncio.gather(*(queue.ask("m", pictures(n, n + 1)) for n in range(25)))

    asyncio.run(main())
    assert sum(n for _, n, _ in seen) == 50
    assert {name for name, _, _ in seen} == {"m"}
    assert all(1 <= n <= 8 and seconds >= 0 for _, n, seconds in seen)
