"""Valid files, as small as they come -> `TARGETS`: the readers by name, with how their files are spoiled."""

from __future__ import annotations

import io
import itertools
import json
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

from benchmarks.fuzz.child import Seed, Target
from benchmarks.fuzz.mutations import (
    PNG_START,
    SEEDS,
    Mutation,
    spoil_bytes,
    spoil_image,
    spoil_json,
    spoil_model,
    spoil_safetensors,
    spoil_zip,
)
from benchmarks.fuzz.readers import PICKLE_ARCH, PICKLE_OPTIONS
from benchmarks.fuzz.values import command_lines
from hc_deploy.spec import ModelSpec
from hc_deploy.system.temporary import temporary_folder

SPEC = ModelSpec(
    "fcn32_resnet18", ("road", "car"), ((1, 2, 3), (4, 5, 6)), batch=1, height=8, width=12, options={"width": 4}
)
ENGINE = b"an engine " * 20
FOURCC = {".mp4": "mp4v", ".avi": "MJPG", ".webm": "VP80", ".mkv": "MJPG", ".mov": "mp4v"}


def _checkpoint_seeds() -> Iterator[Seed]:
    import torch

    from hc_deploy.export.checkpoint import CheckpointInfo, save_checkpoint
    from models.load import new_network

    net, _ = new_network(PICKLE_ARCH, PICKLE_OPTIONS)
    info = CheckpointInfo(PICKLE_ARCH, PICKLE_OPTIONS, SPEC.classes, SPEC.palette, training={"miou": 0.5})
    with temporary_folder() as folder:
        path = Path(folder, "net.safetensors")
        save_checkpoint(path, net, info)
        yield Seed(path.suffix, path.read_bytes())
    for suffix in (".safetensors", ".pth", ".pt"):
        for legacy in (False, True) if suffix != ".safetensors" else ():
            file = io.BytesIO()
            torch.save(net.state_dict(), file, _use_new_zipfile_serialization=not legacy)
            yield Seed(suffix, file.getvalue())


def _spoil_checkpoint(data: bytes, rng: Random) -> bytes:
    return spoil_safetensors(data, rng) if data[8:9] == b"{" else spoil_zip(data, rng)


def small_model() -> bytes:
    """An ONNX file of one node that has our metadata."""
    from onnx import TensorProto, helper

    from hc_deploy.spec import METADATA_KEY

    node = helper.make_node("ReduceMax", ["image"], ["labels"], keepdims=0, axes=[3])
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, [1, 8, 12, 3])
    labels = helper.make_tensor_value_info("labels", TensorProto.UINT8, [1, 8, 12])
    graph = helper.make_graph([node], "g", [image], [labels])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    model.metadata_props.add(key=METADATA_KEY, value=SPEC.to_json())
    return bytes(model.SerializeToString())


def _model_seeds() -> Iterator[Seed]:
    """One node, and a thin network as export.py writes it."""
    from dataclasses import replace

    from hc_deploy.export.onnx import export_onnx, save_onnx
    from models.load import new_network

    yield Seed(".onnx", small_model())
    network, spec = new_network("hcfcn32_resnet18", PICKLE_OPTIONS)
    spec = replace(spec, batch=1, height=64, width=64)
    with temporary_folder() as folder:
        path = Path(folder, "model.onnx")
        save_onnx(export_onnx(network, spec), path)
        yield Seed(path.suffix, path.read_bytes())


def _sidecar_seeds() -> Iterator[Seed]:
    from hc_deploy.engine.options import BuildOptions, Shape, ShapeRange
    from hc_deploy.engine.sidecar import FileRecord, Layers, Sidecar, sidecar_path
    from hc_deploy.system.gpu import Gpu

    shape = Shape(1, 8, 12)
    with temporary_folder() as folder:
        engine = Path(folder, "model.engine")
        engine.write_bytes(ENGINE)
        Sidecar(
            spec=SPEC,
            options=BuildOptions("tensorrt", "fp16", ShapeRange(shape, shape, shape)),
            version="10.16.1",
            engine=FileRecord.of(engine),
            onnx=FileRecord("model", 3, "ab"),
            layers=Layers("network", 5, {"HCUpsample": 2}, {"fp16": 4, "fp32": 1}, {"fp16": 4}),
            plugin=FileRecord("libhc_plugins.so", 4, "cd"),
            device=Gpu("T4", "570.1", None, None, "7.5"),
            seconds=1.5,
            created="2026-01-01T00:00:00+00:00",
        ).write(engine)
        yield Seed(".engine.json", sidecar_path(engine).read_bytes())


def _report_seeds() -> Iterator[Seed]:
    from hc_deploy.bench.environment import Environment
    from hc_deploy.bench.report import ModelFile, ModelReport, Report, Samples, Stop, Workload

    machine = Environment("a CPU", 2, 2, 2000.0, "performance", 0.1, None, "Linux", "3.11.7", {"numpy": "2.4.6"})
    models = tuple(
        ModelReport(
            name, ModelFile(f"{name}.onnx", "ab", 10), "fcn32", 0, {"width": 4}, "uint8", ("labels",), 1, (8, 12),
            "cpu", None, Samples(*(tuple(factor * (n + 1000) for n in range(12)) for factor in (3, 4, 5))),
        )
        for name in ("old", "new")
    )  # fmt: skip
    workload = Workload((8, 12), 12, 2, 1, 0, Stop.ROUNDS)
    yield Seed(".json", Report(1, "2026-01-01T00:00:00Z", "old", machine, workload, models).to_json().encode())


def _picture(channels: int = 3, dtype: Any = "uint8") -> Any:
    import numpy as np

    return np.random.default_rng(0).integers(0, 256, (24, 36, channels)).astype(dtype).squeeze()


def _palette_png() -> bytes:
    """2 x 2 pixels of two colours, by index: what label maps often are, and what OpenCV does not write."""
    parts = [(b"IHDR", b"\0\0\0\2\0\0\0\2\x08\x03\0\0\0"), (b"PLTE", b"\0\0\0\xff\0\0")]
    parts += [(b"IDAT", zlib.compress(b"\0\0\1\0\1\0")), (b"IEND", b"")]
    chunks = [
        len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big") for kind, data in parts
    ]
    return PNG_START + b"".join(chunks)


def _image_seeds() -> Iterator[Seed]:
    """A picture in every format, a label map of 8 and of 16 bits, a palette, a JPEG with an orientation."""
    import cv2

    from hc_deploy.video.images import IMAGE_SUFFIXES

    for suffix in IMAGE_SUFFIXES:
        yield Seed(suffix, cv2.imencode(suffix, _picture(1 if suffix == ".pgm" else 3))[1].tobytes())
    for image in (_picture(1), _picture(1, "uint16"), _picture(4)):
        yield Seed(".png", cv2.imencode(".png", image)[1].tobytes())
    yield Seed(".png", _palette_png())
    jpeg = cv2.imencode(".jpg", _picture())[1].tobytes()
    orientation = b"\xff\xe1\x00\x22Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    yield Seed(".jpg", jpeg[:2] + orientation + jpeg[2:])


def _video_seeds() -> Iterator[Seed]:
    import cv2
    import numpy as np

    from hc_deploy.video.silence import quiet_stderr

    with temporary_folder() as folder:
        for suffix, codec in FOURCC.items():
            path = str(Path(folder, f"clip{suffix}"))
            with quiet_stderr():
                writer = cv2.VideoWriter(path, cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*codec), 25.0, (48, 32))
            for number in range(8):
                writer.write(np.full((32, 48, 3), 20 * number, np.uint8))
            writer.release()
            yield Seed(suffix, Path(path).read_bytes())


def _options_seeds() -> Iterator[Seed]:
    yield Seed(".json", json.dumps(["size", "512x1024"]).encode())


def _another_option(data: bytes, rng: Random) -> bytes:
    """None of `data`: whole new texts are as good as spoilt ones."""
    return json.dumps(rng.choice(command_lines(rng.randrange(SEEDS)))).encode()


TARGETS: dict[str, tuple[str, Callable[[], Iterator[Seed]], Mutation]] = {
    "checkpoint": ("net", _checkpoint_seeds, _spoil_checkpoint),
    "model": ("model", _model_seeds, spoil_model),
    "sidecar": ("model", _sidecar_seeds, spoil_json),
    "report": ("report", _report_seeds, spoil_json),
    "image": ("picture", _image_seeds, spoil_image),
    "video": ("clip", _video_seeds, spoil_bytes),
    "options": ("options", _options_seeds, _another_option),
}
"""By name of the reader: the stem of its file, its valid files, how they are spoiled."""


def target(name: str, *, most: int | None = None) -> Target:
    """The reader `name` with its valid files: all, or the first `most`."""
    stem, seeds, _ = TARGETS[name]
    beside = (("model.engine", ENGINE),) if name == "sidecar" else ()
    return Target(name, f"benchmarks.fuzz.readers:{name}", stem, tuple(itertools.islice(seeds(), most)), beside)
