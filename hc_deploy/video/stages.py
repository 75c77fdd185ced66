"""The stages between a source and a sink, as passive generators: each pulls from the one before it.

    read(source) -> Frame -> infer(frames, session) -> Segmented -> draw(segmented, overlay) -> Drawn

None of them owns a thread or a queue: a realtime pipeline puts a queue between two of them.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from hc_deploy.errors import DeployError, UsageError
from hc_deploy.evaluate.superpixels import enforce_connectivity
from hc_deploy.runtime.image import prepare, restore
from hc_deploy.runtime.session import Array, Session
from hc_deploy.spec import ModelSpec
from hc_deploy.video.frame import Frame
from hc_deploy.video.task_outputs import ANSWERS, Drawer, checked
from hc_deploy.video.timing import StageTimes

EXPORT = "python export.py CHECKPOINT -o DIR"


@dataclass(frozen=True)
class Segmented:
    """A frame and what the model says of it, at the frame's size.

    labels: the answer of the model's task, [H,W] (`hc_deploy.video.task_outputs`): class ids uint8, uint16 or int32,
        superpixel ids int32 or metres float32.
    superpixels: int32 [H,W], or None where the model gives none.
    """

    frame: Frame
    labels: Array
    superpixels: Array | None


@dataclass(frozen=True)
class Drawn:
    """A frame's answer ([H,W], as in `Segmented`) and the picture to show (uint8 BGR [H,W,3])."""

    frame: Frame
    labels: Array
    image: Array


def check_model(spec: ModelSpec, *, superpixels: bool, connected: bool = False) -> None:
    """Refuse a model that cannot be shown frame by frame, before any work is done.

    Raises:
        UsageError: superpixel boundaries are asked of a model that does not give them.
        DeployError: it does not give its task's answer, or its batch is fixed to more than one frame.
    """
    if ANSWERS[spec.task] not in spec.outputs:
        raise DeployError(
            f"a model with the outputs {', '.join(spec.outputs)}",
            expected=ANSWERS[spec.task],
            mend=f"{EXPORT} --outputs {ANSWERS[spec.task]}",
        )
    if connected and spec.task != "superpixels":
        raise UsageError(f"--connected with a model for {spec.task}", expected="a superpixel model (ssn, hcssn)")
    if superpixels and "superpixels" not in spec.outputs:
        raise UsageError(
            f"--superpixels with a model whose outputs are {', '.join(spec.outputs)}",
            expected="a model with the output superpixels",
            mend=f"{EXPORT} --outputs labels,superpixels",
        )
    if spec.batch not in (None, 1):
        raise DeployError(
            f"a model with a fixed batch of {spec.batch} frames",
            expected="a batch of 1: frames come one by one",
            mend=f"{EXPORT} --batch 1",
        )


def read(frames: Iterable[Frame], times: StageTimes, *, limit: int | None = None) -> Iterator[Frame]:
    """The frames themselves, at most `limit` of them, with the time each took to arrive as `read`."""
    iterator = iter(frames)
    count = 0
    while limit is None or count < limit:
        start = time.perf_counter()
        frame = next(iterator, None)
        if frame is None:
            return
        times.add("read", time.perf_counter() - start)
        yield frame
        count += 1


def infer(
    frames: Iterable[Frame], session: Session, times: StageTimes, *, connected: bool = False
) -> Iterator[Segmented]:
    """Run the model on each frame. `fetch` includes bringing the maps to the frame's size.

    connected: relabel the ids of a superpixel model so that each is one region.
    """
    answer = ANSWERS[session.spec.task]
    for frame in frames:
        with times.measure("prepare"):
            images = prepare([frame.image], session.spec)
        with times.measure("load"):
            session.load(images)
        with times.measure("engine"):
            session.execute()
        with times.measure("fetch"):
            outputs = session.fetch()
            size = (frame.image.shape[0], frame.image.shape[1])
            _require_classes(outputs[answer], session)
            labels = restore(checked(outputs[answer][0], session.spec.task), size)
            ids = restore(checked(outputs["superpixels"][0], "superpixels"), size) if "superpixels" in outputs else None
            if connected:
                labels = enforce_connectivity(labels)
        yield Segmented(frame, labels, ids)


def _require_classes(labels: Array, session: Session) -> None:
    """DeployError where a segmentation gives an id that is no class: its metadata names fewer than it has.

    0.01 ms for 512x1024.
    """
    classes = len(session.spec.classes)
    if session.spec.task == "segmentation" and labels.size and (found := int(labels.max())) >= classes:
        raise DeployError(
            f"{session.name} gives the class {found}, and its metadata names {classes}",
            expected=f"ids from 0 to {classes - 1}",
            mend="export the model again: python export.py CHECKPOINT -o DIR",
        )


def draw(results: Iterable[Segmented], overlay: Drawer, times: StageTimes) -> Iterator[Drawn]:
    """Draw the overlay of each frame."""
    for result in results:
        with times.measure("draw"):
            frame = result.frame
            image = overlay.draw(frame.image, result.labels, result.superpixels, time_s=frame.time_s)
        yield Drawn(result.frame, result.labels, image)
