from __future__ import annotations

import time

import numpy as np
import pytest

from hc_deploy.errors import DeployError, UsageError
from hc_deploy.video.frame import Frame
from hc_deploy.video.overlay import Overlay, OverlayOptions
from hc_deploy.video.stages import check_model, draw, infer, read
from hc_deploy.video.timing import StageTimes
from tests.video.toys import ToySession, frames_of, toy_labels, toy_spec, toy_superpixels


def as_frames(images):
    return [Frame(index, index / 25, image) for index, image in enumerate(images)]


def test_maps_are_at_the_frames_size():
    images = frames_of(2, 51, 77)
    exact = list(infer(as_frames(images), ToySession(toy_spec()), StageTimes()))
    for result, image in zip(exact, images, strict=True):
        assert np.array_equal(result.labels, toy_labels(image))
        assert np.array_equal(result.superpixels, toy_superpixels(image))
    (resized, _) = infer(as_frames(images), ToySession(toy_spec(batch=1, height=16, width=24)), StageTimes())
    assert resized.labels.shape == resized.superpixels.shape == (51, 77)
    assert resized.labels.dtype == np.uint8 and resized.superpixels.dtype == np.int32
    assert (resized.labels == exact[0].labels).mean() > 0.3, "resized the wrong way round"
    (plain, _) = infer(as_frames(images), ToySession(toy_spec(("labels",))), StageTimes())
    assert plain.superpixels is None


def test_stages_are_lazy_and_pull_one_frame_at_a_time():
    pulled = []

    def source():
        for frame in as_frames(frames_of(5, 8, 8)):
            pulled.append(frame.index)
            yield frame

    times, session = StageTimes(), ToySession(toy_spec())
    results = draw(infer(read(source(), times), session, times), Overlay(toy_spec(), OverlayOptions()), times)
    assert pulled == []
    assert next(results).frame.index == 0 and pulled == [0]
    assert next(results).frame.index == 1 and pulled == [0, 1]


def test_a_limit_reads_no_frame_too_many():
    pulled = iter(as_frames(frames_of(5, 8, 8)))
    assert [frame.index for frame in read(pulled, StageTimes(), limit=2)] == [0, 1]
    assert next(pulled).index == 2


def test_times_sum_to_the_wall_time():
    class Slow(ToySession):
        def load(self, images):
            time.sleep(0.002)
            super().load(images)

        def execute(self):
            time.sleep(0.010)
            super().execute()

    def source():
        for frame in as_frames(frames_of(10, 32, 32)):
            time.sleep(0.005)
            yield frame

    times, start = StageTimes(), time.perf_counter()
    overlay = Overlay(toy_spec(), OverlayOptions())
    count = sum(1 for _ in draw(infer(read(source(), times), Slow(toy_spec()), times), overlay, times))
    wall = time.perf_counter() - start
    assert count == 10
    stages = ("read", "prepare", "load", "engine", "fetch", "draw")
    assert all(times.count(stage) == 10 for stage in stages) and times.count("write") == 0
    assert 0.8 * wall < sum(times.total(stage) for stage in stages) <= wall
    assert 0.005 <= times.median("read") < 0.010 <= times.median("engine") < 0.020
    assert 0.002 <= times.median("load") < 0.005


def test_models_that_cannot_be_shown():
    check_model(toy_spec(), superpixels=True)
    check_model(toy_spec(("labels",), batch=1), superpixels=False)
    with pytest.raises(UsageError, match=r"python export\.py CHECKPOINT -o DIR --outputs labels,superpixels"):
        check_model(toy_spec(("labels",)), superpixels=True)
    with pytest.raises(DeployError, match="batch of 2"):
        check_model(toy_spec(batch=2), superpixels=False)
    with pytest.raises(DeployError, match="labels"):
        check_model(toy_spec(("superpixels",)), superpixels=False)
