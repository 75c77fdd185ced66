"""`hc-deploy video`: a video, a folder of images, a webcam or a stream -> a video with the segmentation drawn on it."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
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
from hc_deploy.commands.summary import counted, rate_line, stage_lines, what_runs
from hc_deploy.console import claim_outputs, print_line
from hc_deploy.system.interrupts import deferred, last_words, leave, reason
from hc_deploy.system.outputs import Output, files_of

if TYPE_CHECKING:
    from hc_deploy.runtime import Session
    from hc_deploy.video.overlay import OverlayOptions
    from hc_deploy.video.sinks import Sink, Target
    from hc_deploy.video.sources import Source
    from hc_deploy.video.timing import StageTimes


@spread(running=SessionArguments)
def video(
    model: Model,
    source: Annotated[
        str, typer.Argument(help="Video file, folder of images, image, webcam index (0) or URL (rtsp://...).")
    ],
    output: Annotated[
        str | None,
        typer.Option("-o", "--output", help=".mp4, .mov, .mkv, .avi, .webm, or DIR/ for PNGs [NAME_segmented.mp4]."),
    ] = None,
    *,
    running: SessionArguments,
    alpha: Alpha = 0.5,
    superpixels: Superpixels = False,
    connected: Connected = False,
    labels: Annotated[Path | None, typer.Option(help="Also write the maps as DIR/000000.png, ...")] = None,
    max_frames: Annotated[int | None, typer.Option(min=1, help="Stop after so many frames.")] = None,
    legend: LegendOption = True,
) -> None:
    """Draw the segmentation over a video.

    Ctrl-C, SIGTERM and SIGHUP end the output early: what was written so far plays. A webcam or stream runs until then.
    """
    from hc_deploy.video.overlay import OverlayOptions
    from hc_deploy.video.sinks import parse_target
    from hc_deploy.video.sources import open_source
    from hc_deploy.video.stages import check_model

    named = parse_target(output) if output is not None else None
    options = OverlayOptions(alpha=alpha, legend=legend, superpixels=superpixels)
    with open_source(source) as opened:
        target = named or parse_target(f"{opened.info.name}_segmented.mp4")
        outputs = [Output(target.path, numbered=target.folder)]
        if labels is not None:
            outputs.append(Output(labels, "--labels", numbered=True))
        claim_outputs([*opened.reads, *files_of(model, runs=True)], outputs)
        with running.open(model) as session:
            check_model(session.spec, superpixels=superpixels, connected=connected)
            run = _Run(opened, session, target, options, labels, max_frames, connected)
            run.go()
    if opened.problem is not None:
        raise opened.problem


@dataclass
class _Run:
    """One run with what its summary needs, which a signal must not lose."""

    source: Source
    session: Session
    target: Target
    options: OverlayOptions
    labels: Path | None
    limit: int | None
    connected: bool

    def go(self) -> None:
        """Segment the video with a progress bar, and print the summary; a signal ends it after a frame.

        A frame that never ends is left behind: what was written is the output all the same.
        """
        from hc_deploy.video.pipeline import write_video
        from hc_deploy.video.sinks import FolderSink, open_sink
        from hc_deploy.video.task_outputs import Clipped
        from hc_deploy.video.timing import StageTimes

        labels = FolderSink(self.labels) if self.labels is not None else None
        clipped = Clipped()
        times, start, interrupted = StageTimes(), time.perf_counter(), False
        with deferred() as asked_to_stop:
            try:
                with (
                    open_sink(self.target, self.source.info) as sink,
                    last_words(lambda: self._last_words(sink, kept=sink.kept)),
                    progress(self._total(), unit="frames") as step,
                ):

                    def on_frame() -> None:
                        step()
                        if asked_to_stop():
                            raise KeyboardInterrupt

                    write_video(
                        self.source, self.session, sink, options=self.options, times=times, labels=labels,
                        clipped=clipped, limit=self.limit, connected=self.connected, on_frame=on_frame,
                    )  # fmt: skip
                    if asked_to_stop():  # while it waited for a frame that did not come
                        raise KeyboardInterrupt
            except KeyboardInterrupt:
                interrupted = True
            if not interrupted:
                self._print_summary(sink, times, time.perf_counter() - start, clipped.in_words())
                return
            if sink.written:
                with suppress(OSError):  # the terminal is closed, say
                    self._print_summary(sink, times, time.perf_counter() - start, clipped.in_words())
            leave(self._last_words(sink, kept=sink.written > 0))

    def _last_words(self, sink: Sink, *, kept: bool) -> str:
        return f"{reason()}: {sink.path} holds the frames so far" if kept else reason()

    def _total(self) -> int | None:
        known = [count for count in (self.source.info.frames, self.limit) if count is not None]
        return min(known) if known else None

    def _print_summary(self, sink: Sink, times: StageTimes, seconds: float, clipped: str) -> None:
        info, played = self.source.info, sink.written / self.source.info.fps
        print_line(rate_line(times, seconds, unit="frames", engine=what_runs(self.session)))
        print_line()
        for line in stage_lines(times, seconds):
            print_line(line)
        print_line()
        shape = f"{counted(sink.written, 'frames')}, {info.width}x{info.height}"
        if self.target.folder:
            print_line(f"{sink.path}/: {shape}, {sink.format}")
        else:
            print_line(f"{sink.path}: {shape}, {sink.format}, {played:.1f} s at {info.fps:.4g} frames/s")
        if self.labels is not None:
            print_line(f"{self.labels}/: map of each frame, PNG" + (f"; {clipped}" if clipped else ""))
