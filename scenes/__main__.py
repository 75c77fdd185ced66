"""`python -m scenes clip|sheet`: write a demo clip with its labels, or a sheet of scenes to look at."""

import argparse
import sys
from pathlib import Path

from hc_deploy.console import claim_outputs, open_streams, print_error, print_line
from hc_deploy.errors import DeployError
from hc_deploy.system import interrupts
from hc_deploy.system.outputs import Output


def main(arguments: list[str] | None = None) -> int:
    """Parse, run, print what was written."""
    parser = argparse.ArgumentParser(prog="python -m scenes", description="Drawn streets with exact labels.")
    commands = parser.add_subparsers(dest="command", required=True)
    clip = commands.add_parser("clip", help="an MP4 and a folder of labels")
    clip.add_argument(
        "-o", "--output", type=Path, required=True, metavar="DIR", help="folder for street.mp4 and labels/"
    )
    clip.add_argument("--seed", type=int, default=0)
    clip.add_argument("--size", type=_size, default=(512, 1024), metavar="HxW")
    clip.add_argument("--frames", type=int, default=125)
    clip.add_argument("--fps", type=float, default=25.0)
    sheet = commands.add_parser("sheet", help="a PNG of several scenes, each over its labels")
    sheet.add_argument("-o", "--output", type=Path, required=True, metavar="PNG")
    sheet.add_argument("--seed", type=int, default=0, help="the first seed")
    sheet.add_argument("--scenes", type=int, default=12)
    sheet.add_argument("--size", type=_size, default=(256, 512), metavar="HxW")
    chosen = parser.parse_args(arguments)
    try:
        (_clip if chosen.command == "clip" else _sheet)(chosen)
    except (ValueError, OSError, DeployError) as error:
        print_error(f"error: {error}")
        return 1
    return 0


def _size(text: str) -> tuple[int, int]:
    try:
        height, width = (int(part) for part in text.lower().split("x"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}, expected HxW such as 512x1024") from None
    return height, width


def _clip(chosen: argparse.Namespace) -> None:
    from .clip import write_clip

    movie, labels = chosen.output / "street.mp4", chosen.output / "labels"
    claim_outputs([], [Output(movie)])
    chosen.output.mkdir(parents=True, exist_ok=True)
    write_clip(movie, labels, seed=chosen.seed, size=chosen.size, frames=chosen.frames, fps=chosen.fps)
    print_line(f"{movie} and {labels}: {chosen.frames} frames of {chosen.size[0]}x{chosen.size[1]}")


def _sheet(chosen: argparse.Namespace) -> None:
    import cv2
    import numpy as np

    from hc_deploy.classes import CITYSCAPES
    from hc_deploy.video.images import write_png

    from .scene import Scene

    if chosen.scenes < 1:
        raise ValueError(f"--scenes is {chosen.scenes}, expected 1 or more")
    claim_outputs([], [Output(chosen.output)])
    colours = np.zeros((256, 3), np.uint8)
    colours[: len(CITYSCAPES.palette)] = CITYSCAPES.palette
    tiles = []
    for seed in range(chosen.seed, chosen.seed + chosen.scenes):
        frame = Scene(seed, chosen.size).render(0.0)
        tiles.append(np.vstack([frame.image, colours[frame.labels]]))
    across = min(4, len(tiles))
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % across)
    rows = [np.hstack(tiles[k : k + across]) for k in range(0, len(tiles), across)]
    write_png(chosen.output, cv2.cvtColor(np.vstack(rows), cv2.COLOR_RGB2BGR))
    print_line(f"{chosen.output}: seeds {chosen.seed} to {chosen.seed + chosen.scenes - 1}")


if __name__ == "__main__":
    interrupts.install()
    open_streams()
    sys.exit(main())
