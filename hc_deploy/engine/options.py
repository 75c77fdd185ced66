"""What an engine is asked to be: frozen dataclasses that travel as JSON to the builder's process and into the sidecar.

Standard library only.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal, Self, get_args

from hc_deploy.errors import UsageError
from hc_deploy.spec import Flavour, ModelSpec, Precision
from hc_deploy.system.limits import MOST_WORKSPACE_MIB, why_too_large
from hc_deploy.system.strict_json import decode

PluginRoad = Literal["library", "python", "none"]
Hardware = Literal["none", "ampere_plus", "same_compute_capability"]
SMALLEST_SIDE = 64


@dataclass(frozen=True)
class Shape:
    """Images of one run: batch x height x width, each 1 or more (UsageError)."""

    batch: int
    height: int
    width: int

    def __post_init__(self) -> None:
        if min(self.sides()) < 1:
            raise UsageError(f"shape {self}"[:80], expected="batch, height and width of 1 or more")
        reason = why_too_large(self.height, self.width, self.batch)
        if reason:
            raise UsageError(f"shape {self}: {reason}"[:200], expected="a shape within the limits, e.g. 1x512x1024")

    def __str__(self) -> str:
        return f"{self.batch}x{self.height}x{self.width}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """'1x512x1024' -> Shape(1, 512, 1024)."""
        found = re.fullmatch("[xX]".join(3 * [r"0*([1-9][0-9]{0,11})"]), text)
        if found is None:
            raise UsageError(f"shape '{text[:80]}'", expected="BATCHxHEIGHTxWIDTH, e.g. 1x512x1024")
        batch, height, width = map(int, found.groups())
        return cls(batch, height, width)

    @classmethod
    def usual(cls, spec: ModelSpec) -> Self:
        """The model's own shape; 1x512x1024 where a side is open."""
        return cls(spec.batch or 1, spec.height or 512, spec.width or 1024)

    def sides(self) -> tuple[int, int, int]:
        return (self.batch, self.height, self.width)


@dataclass(frozen=True)
class ShapeRange:
    """The profile of an engine: the smallest, the tuned and the largest shape. All alike: a static engine.

    Raises:
        UsageError: the three are not in order.
    """

    least: Shape
    tuned: Shape
    most: Shape

    def __post_init__(self) -> None:
        for low, high in ((self.least, self.tuned), (self.tuned, self.most)):
            if any(a > b for a, b in zip(low.sides(), high.sides(), strict=True)):
                raise UsageError(
                    f"profile of {self.least}, {self.tuned}, {self.most}",
                    expected="--min-shape <= --opt-shape <= --max-shape in batch, height and width",
                )

    def __str__(self) -> str:
        return str(self.tuned) if self.static else f"{self.least} to {self.most}, tuned for {self.tuned}"

    @property
    def static(self) -> bool:
        return self.least == self.tuned == self.most

    def holds(self, shape: Shape) -> bool:
        """Whether an engine of this profile can run `shape`."""
        sides = zip(self.least.sides(), shape.sides(), self.most.sides(), strict=True)
        return all(low <= side <= high for low, side, high in sides)

    @classmethod
    def of(cls, spec: ModelSpec, tuned: Shape, *, least: Shape | None = None, most: Shape | None = None) -> Self:
        """The profile for a model: a fixed side of the model stands in all three, an open one in the range asked for.

        Args:
            tuned: what the engine is tuned for. least: default 1x64x64, or `tuned` where that is smaller.
            most: default `tuned`.

        Raises:
            UsageError: a shape contradicts a side that the model has fixed.
        """
        fixed = (spec.batch, spec.height, spec.width)
        given = {"--min-shape": least, "--opt-shape": tuned, "--max-shape": most}
        for option, shape in given.items():
            if shape and any(want not in (None, got) for want, got in zip(fixed, shape.sides(), strict=True)):
                shown = "x".join("any" if side is None else str(side) for side in fixed)
                raise UsageError(
                    f"{option} {shape}", expected=f"the model's own shape {shown}", mend="export with --dynamic"
                )
        smallest = Shape(
            spec.batch or 1,
            spec.height or min(SMALLEST_SIDE, tuned.height),
            spec.width or min(SMALLEST_SIDE, tuned.width),
        )
        return cls(least or smallest, tuned, most or tuned)


@dataclass(frozen=True)
class BuildOptions:
    """How an engine is built.

    Attributes:
        flavour: `tensorrt`, or `tensorrt-rtx` (builds without a GPU, for RTX cards of compute capability 7.5 to 12.1).
        precision: fp32, tf32 (float32 multiplied with 10 bits of mantissa), fp16 or bf16.
        profile: the shapes that it runs.
        keep_fp32: operator types or node names that stay in float32 besides those of `export.precision`.
        plugin: `library` (libhc_plugins.so), `python` (TensorRT >= 10.9, kernels compiled by NVRTC) or `none`
            (the custom ops become standard operators).
        plugin_library: where the library is, with `plugin="library"`; None: the one that `make plugin` built.
        carry_plugin: put the library into the engine, so that running it needs nothing else.
        workspace_mib: most scratch memory, None: all there is. optimization_level: 0 to 5.
        timing_cache: file that is read and written; None: none.
        version_compatible, hardware: engines for other versions and GPUs than the builder's (tensorrt).
        compute_capabilities: GPUs that it is built for, as 8.6 (tensorrt-rtx), each once; empty: all that it knows.

    Raises:
        UsageError: an option outside its values, or one that the flavour does not have.
    """

    flavour: Flavour
    precision: Precision
    profile: ShapeRange
    keep_fp32: tuple[str, ...] = ()
    plugin: PluginRoad = "library"
    plugin_library: str | None = None
    carry_plugin: bool = True
    workspace_mib: int | None = None
    optimization_level: int | None = None
    timing_cache: str | None = None
    version_compatible: bool = False
    hardware: Hardware = "none"
    compute_capabilities: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, legal in (
            ("flavour", Flavour),
            ("precision", Precision),
            ("plugin", PluginRoad),
            ("hardware", Hardware),
        ):
            if getattr(self, name) not in get_args(legal):
                raise UsageError(f"{name} '{getattr(self, name)}'", expected=f"one of {', '.join(get_args(legal))}")
        if self.optimization_level is not None and not 0 <= self.optimization_level <= 5:
            raise UsageError(f"--optimization-level {self.optimization_level}"[:80], expected="0 to 5")
        if self.workspace_mib is not None and not 1 <= self.workspace_mib <= MOST_WORKSPACE_MIB:
            raise UsageError(f"--workspace {self.workspace_mib}"[:80], expected=f"MiB, 1 to {MOST_WORKSPACE_MIB}")
        wrong = [text for text in self.compute_capabilities if not re.fullmatch(r"\d{1,2}\.\d", text)]
        if wrong:
            raise UsageError(f"--compute-capability {wrong[0]}", expected="as 8.6")
        object.__setattr__(self, "compute_capabilities", tuple(dict.fromkeys(self.compute_capabilities)))
        if self.plugin_library is not None and self.plugin != "library":
            raise UsageError(
                f"--plugin-library {self.plugin_library} with --plugin {self.plugin}",
                expected="it with --plugin library",
            )
        self._check_flavour()

    def _check_flavour(self) -> None:
        rtx = self.flavour == "tensorrt-rtx"
        only = {
            "--compute-capability": (bool(self.compute_capabilities), rtx, "--hardware-compatible"),
            "--hardware-compatible": (self.hardware != "none", not rtx, "--compute-capability"),
            "--version-compatible": (self.version_compatible, not rtx, None),
            "--timing-cache": (self.timing_cache is not None, not rtx, None),
            "--plugin python": (self.plugin == "python", not rtx, "--plugin library"),
        }  # fmt: skip
        for option, (given, has, instead) in only.items():
            if given and not has:
                other = "tensorrt" if rtx else "tensorrt-rtx"
                raise UsageError(
                    f"{option} with --engine {self.flavour}", expected=f"it with --engine {other}", mend=instead
                )

    @property
    def carried_library(self) -> str | None:
        """The plugin library that an engine with our plugins is to hold; of a build, whose library has been found."""
        return self.plugin_library if self.plugin == "library" and self.carry_plugin else None

    @classmethod
    def of(cls, spec: ModelSpec, flavour: Flavour = "tensorrt", precision: Precision = "fp16", **more: Any) -> Self:
        """For a model: tuned for its own shape, 1x512x1024 where that is open. `more` are other fields."""
        return cls(flavour, precision, **{"profile": ShapeRange.of(spec, Shape.usual(spec)), **more})

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Self:
        """What `dataclasses.asdict` made of it, after a way through JSON.

        Raises:
            ValueError: a field is missing, unknown or of another type. UsageError: its value is refused.
        """
        options: Self = decode(cls, fields, "options")
        return options
