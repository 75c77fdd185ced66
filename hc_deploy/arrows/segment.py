"""images and videos -> what a model says of them: `segment_image`, `segment_video`. No torch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from hc_deploy.runtime import Session
    from hc_deploy.video.stages import Segmented


def segment_image(image: Path | str | np.ndarray[Any, Any], model: Session | Path | str) -> Segmented:
    """What a model says of one image, at the image's own size.

    Args:
        image: a file, or uint8 BGR [H,W,3] as OpenCV has it, of any size.
        model: an open session (`open_session`), or a model.onnx or model.engine that is opened for this image alone.

    Returns:
        `labels` [H,W]: class ids, superpixel ids or metres; `superpixels` [H,W] where the model gives them beside.

    Raises:
        DeployError: no such image or model, or the model cannot be run on images one by one.
    """
    from hc_deploy.video.frame import Frame
    from hc_deploy.video.images import image_of, read_image
    from hc_deploy.video.stages import check_model, infer
    from hc_deploy.video.timing import StageTimes

    pixels = read_image(Path(image)) if isinstance(image, Path | str) else image_of(image)
    with ExitStack() as stack:
        session = _opened(model, stack)
        check_model(session.spec, superpixels=False)
        (answer,) = infer([Frame(0, 0.0, pixels)], session, StageTimes())
    return answer


def segment_video(source: Path | str, model: Session | Path | str, *, limit: int | None = None) -> Iterator[Segmented]:
    """What a model says of each frame of a video, one after the other, as the frames are asked for.

    Args:
        source: what `hc-deploy video` takes: a video file, a folder of images, a camera's number, a URL.
        model: as in `segment_image`.
        limit: most frames.

    Yields:
        As `segment_image` returns; `frame` has the picture, its number and its time.

    Raises:
        DeployError: the source cannot be opened, or ends before it should (after its last frame).
    """
    from hc_deploy.video.sources import open_source
    from hc_deploy.video.stages import check_model, infer, read
    from hc_deploy.video.timing import StageTimes

    with ExitStack() as stack:
        session = _opened(model, stack)
        check_model(session.spec, superpixels=False)
        frames, times = stack.enter_context(open_source(str(source))), StageTimes()
        yield from infer(read(frames, times, limit=limit), session, times)
        if frames.problem is not None:
            raise frames.problem


def _opened(model: Session | Path | str, stack: ExitStack) -> Session:
    from hc_deploy.runtime import open_session

    return stack.enter_context(open_session(model)) if isinstance(model, Path | str) else model
