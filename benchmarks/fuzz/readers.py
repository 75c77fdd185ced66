"""One function a reader: a file enters; it is read and told as the commands do, or a DeployError says why not.

Imports are heavy and happen in the functions: each runs in a process of its own (`worker`).
"""

from __future__ import annotations

import io
import itertools
import json
from collections.abc import Callable, Iterable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

MOST_FRAMES = 50
MOST_PIXELS = 1 << 20
"""A model is run on an image of its own size up to this many pixels."""
PICKLE_ARCH, PICKLE_OPTIONS = "fcn32_resnet18", {"width": 4, "classes": 2}
"""What a `.pth`, which does not say, is loaded as."""


def printed(print_it: Callable[[str], None], lines: Iterable[str]) -> None:
    """`print_it` each, to streams that take UTF-8 and keep nothing."""
    with io.TextIOWrapper(io.BytesIO(), "utf-8") as stream, redirect_stdout(stream), redirect_stderr(stream):
        for line in lines:
            print_it(line)


def _inspected(path: Path) -> None:
    from hc_deploy.console import print_line
    from hc_deploy.describe import describe

    printed(print_line, (f"{title} {text}" for title, text in describe(path)))


def checkpoint(path: Path) -> None:
    """Described, and loaded into its network."""
    from models.load import load_network

    _inspected(path)
    if path.suffix == ".safetensors":
        load_network(path)
    else:
        load_network(path, arch=PICKLE_ARCH, options=PICKLE_OPTIONS)


def model(path: Path) -> None:
    """Described, opened by ONNX Runtime, and run on one black image."""
    import numpy as np

    from hc_deploy.runtime import open_session

    _inspected(path)
    with open_session(path, threads=1) as session:
        spec = session.spec
        batch, height, width = spec.batch or 1, spec.height or 32, spec.width or 32
        if batch * height * width <= MOST_PIXELS:
            dtype = np.uint8 if spec.input == "uint8" else np.float32
            session.run(np.zeros(spec.input_shape(batch=batch, height=height, width=width), dtype))


def sidecar(path: Path) -> None:
    """`model.engine.json`, beside the engine that it is to vouch for."""
    from hc_deploy.engine.sidecar import verify_engine

    verified = verify_engine(path.with_suffix(""))
    verified.layers.shares(), verified.layers.plugin_counts(), verified.rebuild()


def report(path: Path) -> None:
    """Read, described, tabulated, and compared with itself."""
    from rich.console import Console

    from hc_deploy.bench import compare as comparing
    from hc_deploy.bench.compare_table import compare_table
    from hc_deploy.bench.conditions import require_comparable
    from hc_deploy.bench.report import Clock, read_report
    from hc_deploy.bench.table import run_table

    _inspected(path)
    read = read_report(path)
    comparison = comparing.compare([read], [read])
    with io.TextIOWrapper(io.BytesIO(), "utf-8") as stream:
        console = Console(file=stream, width=100)
        console.print(run_table(read))
        console.print(compare_table(comparison, clocks=(Clock.END_TO_END,), max_percent=5.0))
    require_comparable(comparison.differences)
    comparing.require_judgeable([read], [read], (Clock.END_TO_END,))


def image(path: Path) -> None:
    """Decoded, and prepared for a model of a fixed size."""
    from hc_deploy.runtime.image import prepare
    from hc_deploy.spec import ModelSpec
    from hc_deploy.video.images import read_image

    prepare([read_image(path)], ModelSpec("fcn32", ("road",), ((0, 0, 0),), batch=1, height=32, width=48))


def video(path: Path) -> None:
    """Opened, and its first frames decoded; what breaks off half-way tells a problem and is no failure."""
    from hc_deploy.video.sources import open_source

    with open_source(str(path)) as source:
        for _ in itertools.islice(source, MOST_FRAMES):
            pass


def options(path: Path) -> None:
    """A JSON list [kind, text]: one text of the command line, parsed as its command parses it."""
    from hc_deploy.commands.bench_models import name_models
    from hc_deploy.console import option_pairs
    from hc_deploy.engine.options import Shape
    from hc_deploy.spec import parse_size
    from hc_deploy.video.sinks import parse_target
    from models.registry import build

    kind, text = json.loads(path.read_text(encoding="utf-8"))
    parsers = {
        "size": parse_size,
        "shape": Shape.parse,
        "option": lambda given: option_pairs([given]),
        "output": parse_target,
        "arch": build,
        "models": lambda given: name_models(given.split()),
    }
    parsers[kind](text)
