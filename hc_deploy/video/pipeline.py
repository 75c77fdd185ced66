"""Whole jobs: a source through a session into sinks, and a picture into its two files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hc_deploy.errors import UsageError
from hc_deploy.runtime.session import Array, Session
from hc_deploy.system.outputs import Output
from hc_deploy.video.frame import Frame
from hc_deploy.video.images import write_png
from hc_deploy.video.legend import class_shares
from hc_deploy.video.overlay import OverlayOptions
from hc_deploy.video.sinks import FolderSink, Sink
from hc_deploy.video.sources import Source
from hc_deploy.video.stages import draw, infer, read
from hc_deploy.video.task_outputs import Clipped, drawer_for, in_words, stored
from hc_deploy.video.timing import StageTimes


def write_video(
    source: Source,
    session: Session,
    sink: Sink,
    *,
    options: OverlayOptions,
    times: StageTimes,
    labels: FolderSink | None = None,
    clipped: Clipped | None = None,
    limit: int | None = None,
    connected: bool = False,
    on_frame: Callable[[], None] = lambda: None,
) -> None:
    """Read, segment, draw and write at most `limit` frames; `on_frame` is called after each.

    clipped: counts the pixels of depth that the maps written to `labels` could not hold.
    """
    clipped = Clipped() if clipped is None else clipped
    frames = read(source, times, limit=limit)
    answers = infer(frames, session, times, connected=connected)
    for drawn in draw(answers, drawer_for(session.spec, options), times):
        with times.measure("write"):
            sink.write(drawn.image)
            if labels is not None:
                labels.write(stored(drawn.labels, session.spec, clipped))
        on_frame()


@dataclass(frozen=True)
class Picture:
    """One image's outputs.

    shares: float64 [classes], the share of the pixels of each class. size: (height, width). words: what an answer
    without classes comes to, and what of it its PNG could not hold.
    """

    source: Path
    overlay: Path
    labels: Path
    size: tuple[int, int]
    shares: Array
    words: str


def output_names(image: Path, folder: Path) -> tuple[Path, Path]:
    """(overlay, labels) of an image: FOLDER/NAME_overlay.png and FOLDER/NAME_labels.png."""
    return folder / f"{image.stem}_overlay.png", folder / f"{image.stem}_labels.png"


def picture_outputs(images: list[Path], folder: Path) -> list[Output]:
    """What is written for `images`; UsageError for two whose names would be the same."""
    taken: dict[Path, Path] = {}
    for image in {image.resolve(): image for image in images}.values():
        for output in output_names(image, folder):
            if (other := taken.setdefault(output, image)) != image:
                raise UsageError(
                    f"{other} and {image} would both be written to {output}",
                    expected="images with different names",
                    mend="run them apart, each with its own -o",
                )
    return [Output(path) for path in taken]


def segment_picture(
    source: Path,
    image: Array,
    session: Session,
    folder: Path,
    *,
    options: OverlayOptions,
    times: StageTimes,
    connected: bool = False,
) -> Picture:
    """Segment one image (uint8 BGR [H,W,3], any size) and write its overlay and its answer (PNG of one channel)."""
    overlay_path, labels_path = output_names(source, folder)
    answers = infer([Frame(0, 0.0, image)], session, times, connected=connected)
    (drawn,) = draw(answers, drawer_for(session.spec, options), times)
    classes, clipped = len(session.spec.classes), Clipped()
    with times.measure("write"):
        write_png(overlay_path, drawn.image)
        write_png(labels_path, stored(drawn.labels, session.spec, clipped))
    height, width = drawn.labels.shape
    shares = class_shares(drawn.labels, classes) if classes else np.zeros(0)
    words = "; ".join(filter(None, (in_words(drawn.labels, session.spec.task), clipped.in_words())))
    return Picture(source, overlay_path, labels_path, (height, width), shares, words)
