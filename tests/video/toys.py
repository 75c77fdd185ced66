"""Models whose answer is known without running them, and videos made of a real photograph."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import onnx
import skimage.data
from onnx import TensorProto, helper

from hc_deploy.classes import CITYSCAPES
from hc_deploy.spec import METADATA_KEY, ModelSpec

LABEL_STEP, SUPERPIXEL_STEP = 14, 64


def toy_spec(outputs=("labels", "superpixels"), **fixed) -> ModelSpec:
    return ModelSpec(arch="toy", classes=CITYSCAPES.names, palette=CITYSCAPES.palette, outputs=outputs, **fixed)


def toy_labels(image):
    """What the toy model says of a BGR image: red // 14, so 0 to 18."""
    return (image[..., 2] // LABEL_STEP).astype(np.uint8)


def toy_superpixels(image):
    """green // 64."""
    return (image[..., 1] // SUPERPIXEL_STEP).astype(np.int32)


def save_toy(path: Path, spec: ModelSpec, *, metadata: bool = True) -> Path:
    """An ONNX model for uint8 RGB [B,H,W,3] that divides channels and nothing else."""
    shape = [spec.batch or "b", spec.height or "h", spec.width or "w"]
    nodes, outputs, constants = [], [], []
    for name, channel, step, dtype in (
        ("labels", 0, LABEL_STEP, TensorProto.UINT8),
        ("superpixels", 1, SUPERPIXEL_STEP, TensorProto.INT32),
    ):
        if name not in spec.outputs:
            continue
        constants += [
            helper.make_tensor(f"{name}_channel", TensorProto.INT64, [], [channel]),
            helper.make_tensor(f"{name}_step", TensorProto.INT32, [], [step]),
        ]
        nodes += [
            helper.make_node("Gather", ["image", f"{name}_channel"], [f"{name}_plane"], axis=3),
            helper.make_node("Cast", [f"{name}_plane"], [f"{name}_wide"], to=TensorProto.INT32),
            helper.make_node("Div", [f"{name}_wide", f"{name}_step"], [f"{name}_divided"]),
            helper.make_node("Cast", [f"{name}_divided"], [name], to=dtype),
        ]
        outputs.append(helper.make_tensor_value_info(name, dtype, shape))
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, [*shape, 3])
    graph = helper.make_graph(nodes, "toy", [image], outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    if metadata:
        model.metadata_props.add(key=METADATA_KEY, value=spec.to_json())
    onnx.save(model, path)
    return path


class ToySession:
    """The toy model without a runtime."""

    def __init__(self, spec: ModelSpec) -> None:
        self.spec, self.name, self.provider = spec, "toy", "none"

    def load(self, images):
        self.images = images

    def execute(self):
        self.bgr = self.images[..., ::-1]

    def fetch(self):
        answers = {"labels": toy_labels(self.bgr), "superpixels": toy_superpixels(self.bgr)}
        return {name: answers[name] for name in self.spec.outputs}


def photograph(height: int, width: int):
    """A real photograph (BGR) at this size."""
    image = cv2.cvtColor(skimage.data.astronaut(), cv2.COLOR_RGB2BGR)
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)


def frames_of(count: int, height: int, width: int):
    """A slow pan over the photograph: BGR frames."""
    image = photograph(height + count, width + count)
    return [np.ascontiguousarray(image[i : i + height, i : i + width]) for i in range(count)]


@dataclass(frozen=True)
class Movie:
    """What a video file turned out to hold."""

    frames: list
    fps: float


def write_movie(path: Path, *, fourcc="MJPG", count=12, size=(64, 96), fps=25.0) -> Path:
    """An encoded file of real frames; size is (height, width), even."""
    height, width = size
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*fourcc), fps, (width, height))
    assert writer.isOpened(), (path, fourcc)
    for frame in frames_of(count, height, width):
        writer.write(frame)
    writer.release()
    return path


def read_movie(path: Path) -> Movie:
    """Every frame of a video, by a reader that is not the toolkit's."""
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    assert capture.isOpened(), f"{path} does not play"
    fps, frames = capture.get(cv2.CAP_PROP_FPS), []
    while True:
        done, frame = capture.read()
        if not done:
            return Movie(frames, fps)
        frames.append(frame)


def cut(path: Path, share: float = 0.5) -> Path:
    """Keep the first part of a file, as a broken download does."""
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


def boxes(data: bytes) -> dict[bytes, tuple[int, int]]:
    """Top-level boxes of an .mp4: type -> (start, end)."""
    found, at = {}, 0
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        found[data[at + 4 : at + 8]] = (at, at + size)
        at += size
    return found


def faststart(path: Path) -> Path:
    """Move an .mp4's index before its frames, as files made for the web have it."""
    data = path.read_bytes()
    where = boxes(data)
    moov, mdat = data[slice(*where[b"moov"])], where[b"mdat"][0]
    assert where[b"moov"][1] == len(data)
    at = moov.index(b"stco") + 8
    count = int.from_bytes(moov[at : at + 4], "big")
    shifted = bytearray(moov)
    for entry in range(at + 4, at + 4 + 4 * count, 4):
        shifted[entry : entry + 4] = (int.from_bytes(moov[entry : entry + 4], "big") + len(moov)).to_bytes(4, "big")
    path.write_bytes(data[:mdat] + bytes(shifted) + data[mdat : where[b"moov"][0]])
    return path


def turned(path: Path) -> Path:
    """Ask in an .mp4's track header for a quarter turn, as telephones held upright do."""
    fixed = 0x00010000
    plain = [fixed, 0, 0, 0, fixed, 0, 0, 0, 0x40000000]
    quarter = [0, fixed, 0, 0xFFFF0000, 0, 0, 0, 0, 0x40000000]
    data = path.read_bytes()
    old, new = (b"".join(value.to_bytes(4, "big") for value in matrix) for matrix in (plain, quarter))
    track = data.index(b"tkhd")
    at = data.index(old, track)
    path.write_bytes(data[:at] + new + data[at + len(old) :])
    return path
