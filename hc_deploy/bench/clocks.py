"""Sessions and a frame -> interleaved samples of three clocks.

All three clocks are read in one pass, nested: end_to_end holds transfer, transfer holds engine. In every round each
model is sampled once, in an order shuffled anew, so that a slow second hits all of them and none always follows the
same neighbour. Nothing is printed here, and nothing runs beside the models: no thread, no garbage collection.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from hc_deploy.bench.report import Clock, Samples, Stop
from hc_deploy.bench.statistics import median_interval, paired_ratio
from hc_deploy.errors import UsageError
from hc_deploy.runtime.image import prepare, restore
from hc_deploy.runtime.session import Array, Session
from hc_deploy.spec import ModelSpec

PRIMING = 1
"""Untimed runs of a model before each of its samples. Without one, ONNX Runtime sessions interleaved with a torch one
read 0.30 and 0.49 ms instead of the 0.21 and 0.33 ms they take alone (2 cores): the neighbour's threads still spin and
its weights fill the cache. With one, 0.24 and 0.36 ms."""
MAP_OUTPUTS = ("labels", "superpixels", "depth")
MIN_ROUNDS, MAX_ROUNDS = 20, 10_000
CHECK_GROWTH = 1.25
CHECK_RESAMPLES = 500


@dataclass(frozen=True)
class Sample:
    """One pass over one frame, in nanoseconds; see `report.Samples`."""

    engine_ns: int
    transfer_ns: int
    end_to_end_ns: int


@dataclass(frozen=True)
class Subject:
    """A session, the unique name it is reported under, and its spec with the size and batch that it runs on."""

    name: str
    session: Session
    spec: ModelSpec


@dataclass(frozen=True)
class Plan:
    """How long to sample.

    Attributes:
        rounds: exactly so many (fewer only if `max_seconds` is over); None: until the intervals are narrow.
        warmup: untimed rounds before.
        max_seconds: no new round starts after so many seconds of sampling; None: no limit.
        within: half-width, as a share of the ratio, below which an interval is narrow enough.
        seed: of the order within the rounds.
    """

    rounds: int | None = None
    warmup: int = 5
    max_seconds: float | None = 60.0
    within: float = 0.02
    seed: int = 0

    def __post_init__(self) -> None:
        if self.rounds is not None and self.rounds < 1:
            raise UsageError(f"{self.rounds} rounds", expected="1 or more", mend="--rounds 100")


@dataclass(frozen=True)
class Measurement:
    """Samples of each subject, in the subjects' order, and why sampling ended."""

    samples: tuple[Samples, ...]
    stop: Stop


def sample(session: Session, frame: Array, *, spec: ModelSpec | None = None) -> Sample:
    """Time one pass.

    Args:
        frame: uint8 BGR [H,W,3]; a batch is this frame repeated.
        spec: the session's, with sizes settled where the session's own leaves them open.
    """
    spec = spec or session.spec
    frames = [frame] * (spec.batch or 1)
    size = (frame.shape[0], frame.shape[1])
    start = time.perf_counter_ns()
    images = prepare(frames, spec)
    prepared = time.perf_counter_ns()
    session.load(images)
    loaded = time.perf_counter_ns()
    session.execute()
    executed = time.perf_counter_ns()
    outputs = session.fetch()
    fetched = time.perf_counter_ns()
    maps = [restore(image, size) for name in MAP_OUTPUTS if name in outputs for image in outputs[name]]
    end = time.perf_counter_ns()
    del maps, outputs
    return Sample(executed - loaded, fetched - prepared, end - start)


def measure(
    subjects: Sequence[Subject],
    frame: Array,
    plan: Plan,
    *,
    baseline: int = 0,
    on_round: Callable[[int], None] | None = None,
    taken: list[list[Sample]] | None = None,
) -> Measurement:
    """Warm up, then sample all subjects in interleaved rounds.

    Args:
        baseline: index of the subject that ratios are taken against.
        on_round: called with the number of finished rounds, between rounds.
        taken: an empty list that gets a list of samples for each subject, for who looks at them while they are taken.
    """
    orders = _orders(len(subjects), plan.seed)
    taken = taken if taken is not None else []
    taken.extend([] for _ in subjects)
    for _ in range(plan.warmup):
        _round(subjects, frame, next(orders))
    start = time.monotonic()
    rounds, stop, next_check = 0, None, MIN_ROUNDS
    while stop is None:
        for index, result in _round(subjects, frame, next(orders)):
            taken[index].append(result)
        rounds += 1
        if on_round is not None:
            on_round(rounds)
        stop = _limit(plan, rounds, time.monotonic() - start)
        if stop is None and plan.rounds is None and rounds >= next_check:
            next_check = int(rounds * CHECK_GROWTH) + 1
            stop = Stop.INTERVAL if is_narrow(gathered(taken), plan.within, baseline=baseline) else None
    return Measurement(gathered(taken), stop)


def is_narrow(samples: Sequence[Samples], within: float, *, baseline: int) -> bool:
    """Whether every ratio to the baseline, on every clock, is known to +-`within` (of a lone model: every median)."""
    for clock in Clock:
        reference = samples[baseline].of(clock)
        if len(samples) == 1:
            interval = median_interval(reference, resamples=CHECK_RESAMPLES)
            if interval.high - interval.low > 2 * within * float(np.median(reference)):
                return False
        for index, other in enumerate(samples):
            if index != baseline and paired_ratio(
                other.of(clock), reference, resamples=CHECK_RESAMPLES
            ).half_width > within:  # fmt: skip
                return False
    return True


def _round(subjects: Sequence[Subject], frame: Array, order: Sequence[int]) -> list[tuple[int, Sample]]:
    """One sample of each subject, each after its priming runs: (index, sample) in the order they were taken."""
    results = []
    with _no_garbage_collection():
        for index in order:
            subject = subjects[index]
            for _ in range(PRIMING):
                sample(subject.session, frame, spec=subject.spec)
            results.append((index, sample(subject.session, frame, spec=subject.spec)))
    return results


def _orders(count: int, seed: int) -> Iterator[list[int]]:
    rng = np.random.default_rng(seed)
    while True:
        yield rng.permutation(count).tolist()


def _limit(plan: Plan, rounds: int, seconds: float) -> Stop | None:
    if plan.rounds is not None and rounds >= plan.rounds:
        return Stop.ROUNDS
    if plan.max_seconds is not None and seconds >= plan.max_seconds:
        return Stop.TIME
    return Stop.LIMIT if plan.rounds is None and rounds >= MAX_ROUNDS else None


def gathered(taken: Sequence[Sequence[Sample]]) -> tuple[Samples, ...]:
    """The samples of whole rounds: the last one may be under way, for who looks from beside."""
    rounds = min(len(samples) for samples in taken)
    return tuple(
        Samples(
            engine=tuple(one.engine_ns for one in samples[:rounds]),
            transfer=tuple(one.transfer_ns for one in samples[:rounds]),
            end_to_end=tuple(one.end_to_end_ns for one in samples[:rounds]),
        )
        for samples in taken
    )


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
