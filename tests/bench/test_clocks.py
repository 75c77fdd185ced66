from __future__ import annotations

import gc
import itertools
from collections import Counter

import numpy as np
import pytest

from hc_deploy.bench import clocks
from hc_deploy.bench.clocks import PRIMING, Plan, Sample, Subject, is_narrow, measure, sample
from hc_deploy.bench.report import Samples, Stop
from hc_deploy.bench.workload import benchmark_frame, with_sizes
from hc_deploy.errors import UsageError
from tests.bench.fakes import FakeSession, spec_of

FRAME = benchmark_frame((64, 96))


def subjects(*sessions: FakeSession) -> list[Subject]:
    return [Subject(session.name, session, session.spec) for session in sessions]


def test_three_clocks_hold_what_they_say(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that each step moves by a power of ten: the digits of each reading name the steps it holds."""
    now = [0]

    def step(nanoseconds: int) -> None:
        now[0] += nanoseconds

    def stepping(function, nanoseconds: int):
        def call(*arguments):
            step(nanoseconds)
            return function(*arguments)

        return call

    monkeypatch.setattr(clocks.time, "perf_counter_ns", lambda: now[0])
    monkeypatch.setattr(clocks, "prepare", stepping(clocks.prepare, 1_000))
    monkeypatch.setattr(clocks, "restore", stepping(clocks.restore, 10_000))
    session = FakeSession("a", load=lambda: step(10), execute=lambda: step(1), fetch=lambda: step(100))
    assert sample(session, FRAME) == Sample(engine_ns=1, transfer_ns=111, end_to_end_ns=11_111)


def test_the_whole_batch_at_the_settled_size() -> None:
    session = FakeSession("a")
    session.spec = spec_of("a", batch=None, height=None, width=None)
    sample(session, FRAME, spec=spec_of("a", batch=3, height=33, width=47))
    assert session._shape == (3, 33, 47)


def test_labels_and_superpixels_come_back_at_the_size_of_the_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    restored = []

    def recording(image, size):
        restored.append((image.dtype, result := original(image, size)))
        return result

    original = clocks.restore
    monkeypatch.setattr(clocks, "restore", recording)
    session = FakeSession("a")
    maps = {"labels": np.zeros((1, 64, 96), np.uint8), "superpixels": np.zeros((1, 64, 96), np.int32)}
    session.fetch = lambda: {**maps, "logits": np.zeros((1, 19, 2, 3), np.float32)}
    sample(session, benchmark_frame((37, 53)))
    assert [(str(dtype), image.shape) for dtype, image in restored] == [("uint8", (37, 53)), ("int32", (37, 53))]


def test_rounds_interleave() -> None:
    """Every round holds each model once, in an order that varies, so that every model follows every other."""
    log: list[tuple[str, str]] = []
    names, rounds, warmup = "abc", 60, 4
    measured = measure(subjects(*(FakeSession(name, log) for name in names)), FRAME, Plan(rounds, warmup))
    runs = [name for name, call in log if call == "execute"]
    assert len(runs) == (rounds + warmup) * len(names) * (1 + PRIMING)
    turns = runs[:: 1 + PRIMING]
    assert [name for name in turns for _ in range(1 + PRIMING)] == runs
    per_round = [tuple(turns[start : start + 3]) for start in range(0, len(turns), 3)]
    assert all(sorted(order) == list(names) for order in per_round)
    assert set(per_round) == set(itertools.permutations(names))
    followers = Counter(pair for pair in itertools.pairwise(turns) if pair[0] != pair[1])
    assert len(followers) == 6 and min(followers.values()) > rounds / 6
    assert [len(samples.engine) for samples in measured.samples] == [rounds] * 3
    assert measured.stop is Stop.ROUNDS


def test_the_order_is_seeded() -> None:
    def order(seed: int) -> list[str]:
        log: list[tuple[str, str]] = []
        measure(subjects(FakeSession("a", log), FakeSession("b", log)), FRAME, Plan(20, 0, None, seed=seed))
        return [name for name, call in log if call == "execute"]

    assert order(1) == order(1)
    assert order(1) != order(2)


def test_samples_stay_with_their_model(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0]
    monkeypatch.setattr(clocks.time, "perf_counter_ns", lambda: now[0])
    slow = {"a": 1, "b": 20, "c": 300}

    def session(name: str) -> FakeSession:
        return FakeSession(name, execute=lambda: now.__setitem__(0, now[0] + slow[name]))

    measured = measure(subjects(*map(session, slow)), FRAME, Plan(10, 1))
    assert [set(samples.engine) for samples in measured.samples] == [{1}, {20}, {300}]


def test_stops_when_the_ratios_are_known_and_not_before(monkeypatch: pytest.MonkeyPatch) -> None:
    now, rng = [0], np.random.default_rng(0)
    monkeypatch.setattr(clocks.time, "perf_counter_ns", lambda: now[0])

    def run(noise: float, within: float) -> tuple[int, Stop]:
        def spend() -> None:
            now[0] += int(1e6 * rng.lognormal(0, noise))

        sessions = subjects(FakeSession("a", execute=spend), FakeSession("b", execute=spend))
        measured = measure(sessions, FRAME, Plan(None, 0, None, within))
        assert is_narrow(measured.samples, within, baseline=0)
        return len(measured.samples[0].engine), measured.stop

    quiet, noisy = run(0.001, 0.02), run(0.1, 0.02)
    assert quiet == (clocks.MIN_ROUNDS, Stop.INTERVAL)
    assert noisy[0] > 100 and noisy[1] is Stop.INTERVAL


def test_narrow_looks_at_every_clock_and_every_model() -> None:
    rng = np.random.default_rng(0)
    calm = tuple(int(1e6 * x) for x in rng.lognormal(0, 0.001, 40))
    wild = tuple(int(1e7 * x) for x in rng.lognormal(0, 0.5, 40))
    quiet = Samples(calm, calm, calm)
    assert is_narrow([quiet, quiet], 0.02, baseline=0) and is_narrow([quiet], 0.02, baseline=0)
    assert not is_narrow([quiet, quiet, Samples(calm, calm, wild)], 0.02, baseline=0)
    assert not is_narrow([Samples(wild, wild, wild), quiet], 0.02, baseline=1)
    assert not is_narrow([Samples(calm, wild, wild)], 0.02, baseline=0)


def test_stops_at_the_time_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = itertools.count()
    monkeypatch.setattr(clocks.time, "monotonic", lambda: float(next(seconds)))
    measured = measure(subjects(FakeSession("a")), FRAME, Plan(1000, 0, 7.0))
    assert (len(measured.samples[0].engine), measured.stop) == (7, Stop.TIME)


def test_no_garbage_is_collected_while_a_sample_is_taken() -> None:
    seen: list[bool] = []
    measure(subjects(FakeSession("a", execute=lambda: seen.append(gc.isenabled()))), FRAME, Plan(2, 1))
    assert seen and not any(seen)
    assert gc.isenabled()


def test_settle_gives_dynamic_models_the_size_and_batch_of_the_fixed_ones() -> None:
    fixed, free = spec_of("a", batch=2), spec_of("b", batch=None, height=None, width=None)
    specs, frame = with_sizes({"a": fixed, "b": free}, size=None, frame=None)
    assert [(spec.batch, spec.size) for spec in specs] == [(2, (64, 96))] * 2 and frame == (64, 96)
    (spec,), frame = with_sizes({"b": free}, size=(33, 47), frame=(37, 53))
    assert (spec.batch, spec.size, frame) == (1, (33, 47), (37, 53))
    (spec,), frame = with_sizes({"b": free}, size=None, frame=(37, 53))
    assert (spec.size, frame) == ((37, 53), (37, 53))


@pytest.mark.parametrize(
    ("specs", "size", "says"),
    [
        ({"b": {"height": None, "width": None}}, None, "--size 512x1024"),
        ({"a": {}}, (32, 48), "--size 32x48, but a was exported for 64x96"),
        ({"a": {}, "b": {"height": 32}}, None, "a 64x96, b 32x96"),
        ({"a": {"batch": 2}, "b": {}}, None, "a 2, b 1"),
    ],
)
def test_settle_refuses_what_does_not_go_together(specs: dict, size: tuple[int, int] | None, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        with_sizes({name: spec_of(name, **fields) for name, fields in specs.items()}, size=size, frame=None)


def test_sizes_may_differ_when_the_frame_is_given() -> None:
    specs, frame = with_sizes({"a": spec_of("a"), "b": spec_of("b", height=32)}, size=None, frame=(37, 53))
    assert [spec.size for spec in specs] == [(64, 96), (32, 96)] and frame == (37, 53)


@pytest.mark.parametrize("size", [(1, 1), (7, 113), (64, 96)])
def test_frame_is_seeded_and_not_flat(size: tuple[int, int]) -> None:
    frame = benchmark_frame(size, seed=3)
    assert frame.shape == (*size, 3) and frame.dtype == np.uint8
    assert np.array_equal(frame, benchmark_frame(size, seed=3))
    assert size == (1, 1) or not np.array_equal(frame, benchmark_frame(size, seed=4))
    assert size == (1, 1) or np.abs(np.diff(frame.astype(int), axis=1)).mean() > 5


def test_zero_rounds_are_refused() -> None:
    with pytest.raises(UsageError):
        Plan(0)
