"""Options that several commands share, as annotations for Typer."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer
from typer.models import OptionInfo

if TYPE_CHECKING:
    from hc_deploy.runtime import Session


def number(value: float | None) -> float | None:
    """An option's value, which `nan` is not: it passes every limit."""
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"{value} is no number")
    return value


class KernelsChoice(StrEnum):
    """`Kernels` of hc_deploy.runtime.native_ops, whose import would be slow here."""

    AUTO = "auto"
    NATIVE = "native"
    BODIES = "bodies"


Model = Annotated[
    Path, typer.Argument(help="model.onnx or model.engine made by export.py, or the folder that holds a model.onnx.")
]
KernelsOption = Annotated[
    KernelsChoice,
    typer.Option(
        help="What computes our ops on a CPU: native (make native), bodies (in the file), auto: native if built."
    ),
]


@dataclass(frozen=True)
class SessionArguments:
    """What runs a model, as typed; named as the arguments of `open_session`."""

    provider: Annotated[
        str | None,
        typer.Option(
            help="What runs a model.onnx: cpu (the default), cuda, tensorrt or openvino; an engine runs itself."
        ),
    ] = None
    precision: Annotated[str | None, typer.Option(help="With --provider openvino: fp32 (the default) or bf16.")] = None
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads of the model; all cores unless told.")] = None
    kernels: KernelsOption = KernelsChoice.AUTO
    expect_sha256: Annotated[
        str | None,
        typer.Option(metavar="HEX", help="Open the model only if its file has this hash (hc-deploy inspect shows it)."),
    ] = None

    def open(self, model: Path) -> Session:
        """The model so; see `open_session`."""
        from hc_deploy.runtime import open_session

        return open_session(model, **{**vars(self), "kernels": self.kernels.value})


Alpha = Annotated[
    float,
    typer.Option(min=0.0, max=1.0, callback=number, help="Strength of the class colours: 0 the frame, 1 colours."),
]
Superpixels = Annotated[bool, typer.Option("--superpixels", help="Draw superpixel boundaries in yellow.")]
LegendOption = Annotated[bool, typer.Option("--legend/--no-legend", help="List the classes in sight.")]
Connected = Annotated[bool, typer.Option("--connected", help="Superpixel models: make each id one region.")]


def spread(**kinds: type[Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """`@spread(engine=EngineArguments)`: the command's parameter `engine` is typed as the options in that dataclass."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        hints, signature = get_type_hints(command, include_extras=True), inspect.signature(command)
        parameters: list[inspect.Parameter] = []
        for name, parameter in signature.parameters.items():
            parameters += _options(kinds[name]) if name in kinds else [parameter.replace(annotation=hints[name])]

        @functools.wraps(command)
        def taken(**given: Any) -> None:
            made = {n: kind(**{f.name: given.pop(f.name) for f in fields(kind)}) for n, kind in kinds.items()}
            command(**given, **made)

        taken.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        taken.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return taken

    return decorate


def _options(kind: type[Any]) -> list[inspect.Parameter]:
    hints = get_type_hints(kind, include_extras=True)
    return [
        inspect.Parameter(
            field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=hints[field.name]
        )
        for field in fields(kind)
    ]


def option_names(kind: type[Any]) -> dict[str, str]:
    """Field of a dataclass that is `spread` -> its option, as it is typed."""
    names = {}
    for name, hint in get_type_hints(kind, include_extras=True).items():
        (info,) = (entry for entry in hint.__metadata__ if isinstance(entry, OptionInfo))
        names[name] = next(iter(info.param_decls or ()), "--" + name.replace("_", "-")).partition("/")[0]
    return names
