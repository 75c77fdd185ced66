"""`hc-deploy infer`: images of any size -> overlays, class ids, and how much of the picture each class covers."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hc_deploy.commands.options import (
    Alpha,
    Connected,
    LegendOption,
    Model,
    SessionArguments,
    Superpixels,
    spread,
)
from hc_deploy.commands.progress import progress
from hc_deploy.commands.summary import rate_line, share_lines, stage_lines, what_runs
from hc_deploy.console import claim_outputs, print_line, print_note
from hc_deploy.errors import DeployError
from hc_deploy.system.outputs import files_of

if TYPE_CHECKING:
    from hc_deploy.runtime import Session
    from hc_deploy.video.overlay import OverlayOptions
    from hc_deploy.video.pipeline import Picture
    from hc_deploy.video.timing import StageTimes


@spread(running=SessionArguments)
def infer(
    model: Model,
    images: Annotated[list[Path], typer.Argument(help="Images, and folders of images.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for NAME_overlay.png and NAME_labels.png.")],
    *,
    running: SessionArguments,
    alpha: Alpha = 0.5,
    superpixels: Superpixels = False,
    connected: Connected = False,
    legend: LegendOption = True,
) -> None:
    """Run a model on images: an overlay and a map (class ids, superpixel ids or depth in millimetres) for each.

    An image that cannot be read is named and left out; the exit code is then 1.
    """
    from hc_deploy.system.files import make_folder
    from hc_deploy.video.images import images_in
    from hc_deploy.video.overlay import OverlayOptions
    from hc_deploy.video.pipeline import picture_outputs
    from hc_deploy.video.stages import check_model
    from hc_deploy.video.timing import StageTimes

    files = [file for path in images for file in (images_in(path) if path.is_dir() else [path])]
    claim_outputs([*files, *images, *files_of(model, runs=True)], picture_outputs(files, output))
    options = OverlayOptions(alpha=alpha, legend=legend, superpixels=superpixels)
    with running.open(model) as session:
        check_model(session.spec, superpixels=superpixels, connected=connected)
        created = not output.exists()
        make_folder(output)
        times, start = StageTimes(), time.perf_counter()
        pictures, failures = _segment(files, session, output, options, times, connected)
        seconds = time.perf_counter() - start
        if pictures:
            _print_summary(pictures, session, times, seconds)
    if failures:
        if created and not pictures:
            with suppress(OSError):  # not ours alone any more
                output.rmdir()
        raise _failure(failures, len(files))


def _segment(
    files: list[Path],
    session: Session,
    folder: Path,
    options: OverlayOptions,
    times: StageTimes,
    connected: bool,
) -> tuple[list[Picture], list[DeployError]]:
    from hc_deploy.video.images import read_image
    from hc_deploy.video.pipeline import segment_picture

    pictures: list[Picture] = []
    failures: list[DeployError] = []
    with progress(len(files), unit="images") as step:
        for file in files:
            start = time.perf_counter()
            try:
                image = read_image(file)
            except DeployError as error:
                failures.append(error)
                continue
            times.add("read", time.perf_counter() - start)
            pictures.append(
                segment_picture(file, image, session, folder, options=options, times=times, connected=connected)
            )
            step()
    return pictures, failures


def _print_summary(pictures: list[Picture], session: Session, times: StageTimes, seconds: float) -> None:
    for picture in pictures:
        height, width = picture.size
        words = f"; {picture.words}" if picture.words else ""
        print_line(f"{picture.source} ({width}x{height}): {picture.overlay}, {picture.labels.name}{words}")
    print_line()
    if session.spec.classes:
        for line in share_lines(session.spec.classes, [picture.shares for picture in pictures]):
            print_line(line)
        print_line()
    print_line(rate_line(times, seconds, unit="images", engine=what_runs(session)))
    print_line()
    for line in stage_lines(times, seconds):
        print_line(line)


def _failure(failures: list[DeployError], count: int) -> DeployError:
    """The only failure itself, or the last word after each has been named."""
    if count == 1:
        return failures[0]
    for failure in failures:
        print_note(f"left out: {failure.received}")
    return DeployError(f"{len(failures)} of {count} images could not be read", expected="images that OpenCV can read")
