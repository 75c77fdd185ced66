"""What a model eats and gives, as frozen dataclasses that travel as JSON in `model.onnx` (metadata entry `hc_deploy`).

Standard library only: every part of the toolkit may import this module.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
from dataclasses import dataclass, field
from typing import Any, Literal

from hc_deploy.errors import DeployError, UsageError
from hc_deploy.system.limits import LONGEST_NAME, MOST_CLASSES, why_too_large
from hc_deploy.system.strict_json import Mismatch, decode, parse

METADATA_KEY = "hc_deploy"
SPEC_SCHEMA = 1
OUTPUT_STRIDE = 32
"""Of the coarsest map; each hierarchical level halves the stride of the finest one."""
DEPLOYED = (".onnx", ".engine")
"""Suffixes of what runs without torch. A checkpoint has any other: its content decides."""

Task = Literal["segmentation", "superpixels", "depth"]
InputKind = Literal["uint8", "float"]
Channels = Literal["rgb", "bgr", "gray"]
Source = Literal["stated", "assumed"]
Output = Literal["labels", "logits", "superpixels", "depth"]
Precision = Literal["fp32", "tf32", "fp16", "bf16"]
Flavour = Literal["tensorrt", "tensorrt-rtx"]

INPUT_KINDS: tuple[InputKind, ...] = ("uint8", "float")
OUTPUTS: dict[Task, tuple[Output, ...]] = {
    "segmentation": ("labels", "logits", "superpixels"),
    "superpixels": ("superpixels",),
    "depth": ("depth",),
}
"""What a model of each task can give; the first is what it gives unless told otherwise."""
CHANNELS: dict[Channels, int] = {"rgb": 3, "bgr": 3, "gray": 1}
"""What the network is fed, and how many channels that has."""
SCALES = (255.0, 1.0)
"""What an image is divided by before mean and deviation are taken."""
BYTE_CLASSES = 256
"""Up to so many classes labels are uint8, with more int32 (TensorRT has no uint16)."""
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class ModelSpec:
    """One deployed model: enough for every later command to need the model file and nothing else.

    Attributes:
        arch: the architecture's name (`hcpspnet_resnet101`) or the factory it came from (`package.module:build`).
        task: what the network is for; a segmentation has classes, the others have none.
        input: `uint8` takes RGB [B,H,W,3] and normalises inside the graph; `float` takes normalised [B,3,H,W].
        outputs: graph outputs in order: `labels` uint8 [B,H,W], `logits` float32 [B,C,h,w] at the decoder's own
            resolution, `superpixels` int32 [B,H,W] ids, `depth` float32 [B,H,W] in metres.
        classes: one name a class. palette: one RGB triple a class.
        mean, std: one number a channel, in the order of `channels`: the network is fed (image / scale - mean) / std.
        channels: order of the channels that the network is fed; `gray` is made of RGB by ITU-R 601.
        scale: 255 or 1.
        normalisation: whether mean, std, channels and scale were `stated`, or are ImageNet's and `assumed`.
        threshold: of a segmentation whose network gives one channel, the probability (of its sigmoid) above which a
            pixel is of the second class; None where the network gives a channel a class.
        batch, height, width: the fixed size, or None where the model takes any.
        level: hierarchical level (0: a plain network).
        options: the architecture's build options, as given.
    """

    arch: str
    classes: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    task: Task = "segmentation"
    input: InputKind = "uint8"
    outputs: tuple[Output, ...] = ("labels",)
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    channels: Channels = "rgb"
    scale: float = 255.0
    normalisation: Source = "assumed"
    threshold: float | None = None
    batch: int | None = None
    height: int | None = None
    width: int | None = None
    level: int = 0
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_classes(self.classes, self.palette)
        check_normalisation(self.mean, self.std, self.channels, self.scale)
        binary = self.task == "segmentation" and len(self.classes) == 2
        sides = (self.batch, self.height, self.width)
        for name, fine, expected in (
            ("arch", isinstance(self.arch, str) and len(self.arch) <= LONGEST_NAME, f"{LONGEST_NAME} letters at most"),
            ("normalisation", self.normalisation in ("stated", "assumed"), "stated or assumed"),
            (
                "threshold",
                self.threshold is None or (binary and _between(self.threshold)),
                "None, or 0 to 1 of 2 classes",
            ),
            ("task", self.task in OUTPUTS, f"one of {', '.join(OUTPUTS)}"),
            ("input", self.input in INPUT_KINDS, f"one of {', '.join(INPUT_KINDS)}"),
            ("outputs", bool(self.outputs) and set(self.outputs) <= set(OUTPUTS.get(self.task, ())), "the task's"),
            ("batch, height or width", all(side is None or _whole(side, 1) for side in sides), "None or 1 and more"),
            ("level", _whole(self.level, 0), "a whole number from 0"),
            ("options", isinstance(self.options, dict), "names and values"),
        ):
            if not fine:
                raise DeployError(f"a model spec whose {name} cannot be used: {self}"[:300], expected=expected)

    @property
    def size(self) -> tuple[int, int] | None:
        """(height, width) where both are fixed, else None."""
        return (self.height, self.width) if self.height is not None and self.width is not None else None

    def input_shape(self, *, batch: int, height: int, width: int) -> tuple[int, ...]:
        """The shape of the `image` input for frames of height x width."""
        return (batch, height, width, 3) if self.input == "uint8" else (batch, len(self.mean), height, width)

    @property
    def label_type(self) -> str:
        """Element type of the output `labels`, as numpy names it."""
        return "uint8" if len(self.classes) <= BYTE_CLASSES else "int32"

    @property
    def threshold_logit(self) -> float:
        """The logit above which a network with one channel says class 1; 0 where no probability is set."""
        return 0.0 if self.threshold is None else math.log(self.threshold / (1 - self.threshold))

    def normalisation_text(self) -> str:
        """For people: what the network is fed."""
        numbers = [", ".join(f"{value:.6g}" for value in values) for values in (self.mean, self.std)]
        image = f"{self.channels.upper()} / {self.scale:g}" if self.scale != 1 else self.channels.upper()
        said = (
            ""
            if self.normalisation == "stated"
            else " (assumed: ImageNet's; --mean, --std, --channels, --scale say otherwise)"
        )
        return f"({image} - [{numbers[0]}]) / [{numbers[1]}]{said}"

    def to_json(self) -> str:
        return json.dumps({"schema": SPEC_SCHEMA, **dataclasses.asdict(self)})

    @classmethod
    def from_json(cls, text: str, *, source: str) -> ModelSpec:
        """Read what `to_json` wrote; fields that have a default may be missing. `source` names the file in errors."""
        try:
            return cls.from_fields(parse(text), source=source)
        except Mismatch as error:
            raise _unreadable(source, error) from None

    @classmethod
    def from_fields(cls, fields: Any, *, source: str) -> ModelSpec:
        """`from_json` after the parsing (`strict_json.parse`)."""
        if not isinstance(fields, dict) or "schema" not in fields:
            raise DeployError(
                f"{source}: its '{METADATA_KEY}' metadata is not a model spec", expected="a ModelSpec", mend=EXPORT
            )
        schema = fields["schema"]
        if type(schema) is not int or schema != SPEC_SCHEMA:
            raise DeployError(
                f"{source}: model spec of schema {schema}"[:300], expected=f"schema {SPEC_SCHEMA}", mend=EXPORT
            )
        try:
            rest = {name: value for name, value in fields.items() if name != "schema"}
            spec: ModelSpec = decode(cls, rest, "model spec", defaults=True)
        except Mismatch as error:
            raise _unreadable(source, error) from None
        except DeployError as error:
            raise DeployError(f"{source}: {error.received}", expected=error.expected, mend=EXPORT) from None
        return spec


EXPORT = "export the model again: python export.py CHECKPOINT -o DIR"


def _unreadable(source: str, error: Mismatch) -> DeployError:
    return DeployError(
        f"{source}: its '{METADATA_KEY}' metadata: {error.received}", expected=error.expected, mend=EXPORT
    )


def check_classes(names: tuple[str, ...], palette: tuple[tuple[int, int, int], ...]) -> None:
    """DeployError unless there is one string and one RGB triple of 0..255 a class, within the limits."""
    triples = all(len(colour) == 3 and all(_whole(part, 0) and part < 256 for part in colour) for colour in palette)
    if len(palette) != len(names) or not triples or not all(isinstance(name, str) for name in names):
        raise DeployError(
            f"{len(names)} class names with {len(palette)} colours, or names and colours of a wrong kind",
            expected="a name and three whole numbers from 0 to 255 for each class",
        )
    longest = max(map(len, names), default=0)
    if len(names) > MOST_CLASSES or longest > LONGEST_NAME:
        raise DeployError(
            f"{len(names)} classes, the longest name of {longest} letters",
            expected=f"at most {MOST_CLASSES} classes with names of at most {LONGEST_NAME} letters",
        )


def check_normalisation(mean: tuple[float, ...], std: tuple[float, ...], channels: str, scale: float) -> None:
    """DeployError unless there is a finite number a channel in both, those of `std` positive, and a legal scale."""
    count = CHANNELS.get(channels)  # type: ignore[call-overload]
    if count is None or scale not in SCALES:
        raise DeployError(
            f"channels {channels!r} and scale {scale!r}"[:200],
            expected=f"one of {', '.join(CHANNELS)}, and {' or '.join(f'{one:g}' for one in SCALES)}",
        )
    numbers = all(isinstance(value, int | float) and _finite(value) for value in (*mean, *std))
    if len(mean) != count or len(std) != count or not numbers or min(std) <= 0:
        raise DeployError(
            f"mean {mean} and std {std}"[:300], expected=f"{count} finite numbers each for {channels}, std above 0"
        )


def _between(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 1


def _whole(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond the largest float
        return False


def parse_size(text: str) -> tuple[int, int]:
    """'512x1024' -> (512, 1024): height first, then width, both positive and together within the limits.

    Raises:
        UsageError: it is no size, or one beyond `limits.MOST_SIDE` or `limits.MOST_PIXELS`.
    """
    found = re.fullmatch(r"0*([1-9][0-9]*)[xX]0*([1-9][0-9]*)", text)
    if found is None:
        raise UsageError(f"size '{text[:80]}'", expected="HEIGHTxWIDTH in pixels, e.g. 512x1024")
    height, width = (int(side[:12]) for side in found.groups())  # 12 digits are too many already
    if reason := why_too_large(height, width):
        raise UsageError(f"size '{text[:80]}': {reason}", expected="a size that an image can have, e.g. 512x1024")
    return height, width


def network_text(arch: str, options: dict[str, Any]) -> str:
    """For people: 'hcpspnet_resnet101, level 4, width 32'."""
    return ", ".join([arch, *(f"{name} {value}" for name, value in options.items())])
