"""Tables in plain text."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hc_deploy.shown import quoted

if TYPE_CHECKING:
    from hc_deploy.runtime.session import Array, Session
    from hc_deploy.video.timing import StageTimes


def stage_lines(times: StageTimes, seconds: float) -> list[str]:
    """A table of the stages: median milliseconds, and the share of the `seconds` that the whole run took."""
    from hc_deploy.video.timing import STAGES

    lines = [f"{'stage':<8}  {'median ms':>9}  {'share':>6}"]
    counted = [(stage, times.total(stage)) for stage in STAGES if times.count(stage)]
    for stage, total in counted:
        lines.append(f"{stage:<8}  {1000 * times.median(stage):>9.2f}  {_percent(total / seconds):>6}")
    rest = max(0.0, seconds - sum(total for _, total in counted))
    lines.append(f"{'other':<8}  {'':>9}  {_percent(rest / seconds):>6}")
    return lines


def rate_line(times: StageTimes, seconds: float, *, unit: str, engine: str) -> str:
    """'300 frames in 12.5 s: 24.0 frames/s; the model alone (cpu) would reach 30.1'."""
    count, median = times.count("write"), times.median("engine")
    digits = 1 if seconds >= 10 else 2
    line = f"{counted(count, unit)} in {seconds:.{digits}f} s: {count / seconds:.1f} {unit}/s"
    return f"{line}; the model alone ({engine}) would reach {1 / median:.1f}" if median > 0 else line


def what_runs(session: Session) -> str:
    """'cpu', or with what computes our ops 'cpu, native (avx512)'."""
    return session.provider if session.kernels is None else f"{session.provider}, {session.kernels}"


def share_lines(classes: tuple[str, ...], shares: list[Array]) -> list[str]:
    """A table of the classes in sight: mean share of an image's pixels, and in how many images each was seen.

    Args:
        shares: one [classes] array an image.
    """
    mean = [sum(float(share[label]) for share in shares) / len(shares) for label in range(len(classes))]
    seen = [sum(bool(share[label] > 0) for share in shares) for label in range(len(classes))]
    order = sorted((label for label in range(len(classes)) if seen[label]), key=lambda label: -mean[label])
    wide = max((len(classes[label]) for label in order), default=5)
    several = len(shares) > 1
    lines = [f"{'class':<{wide}}  {'share':>7}" + (f"  {'images':>6}" if several else "")]
    for label in order:
        lines.append(
            f"{classes[label]:<{wide}}  {_percent(mean[label]):>7}" + (f"  {seen[label]:>6}" if several else "")
        )
    return lines


def counted(count: int, unit: str) -> str:
    """'1 frame', '2 frames'."""
    return f"{count} {unit.removesuffix('s') if count == 1 else unit}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def next_line(model: Path) -> str:
    """What to do with a model that was made."""
    return f"next: hc-deploy video {quoted(model)} VIDEO -o out.mp4, or hc-deploy infer {quoted(model)} IMAGES -o DIR"
