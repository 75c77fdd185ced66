"""What an engine may be asked for, and what is refused before anything is built."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from hc_deploy.commands.engine import EngineArguments, build_options
from hc_deploy.engine.options import BuildOptions, Shape, ShapeRange
from hc_deploy.errors import UsageError
from hc_deploy.spec import ModelSpec

TUNED = Shape(1, 512, 1024)
STATIC = ShapeRange(TUNED, TUNED, TUNED)


def spec(**sides):
    return ModelSpec("fcn", ("a",), ((0, 0, 0),), **sides)


def options(**changed):
    return BuildOptions(**{"flavour": "tensorrt", "precision": "fp16", "profile": STATIC, **changed})


@pytest.mark.parametrize("text", ["512x1024", "1x0x4", "1x-2x4", "axbxc", "", "1x2x3x4", "1 x2x3"])
def test_shape_that_is_none(text):
    with pytest.raises(UsageError, match="BATCHxHEIGHTxWIDTH"):
        Shape.parse(text)


def test_profile_of_a_fixed_model():
    profile = ShapeRange.of(spec(batch=1, height=512, width=1024), TUNED)
    assert profile == STATIC and profile.static and str(profile) == "1x512x1024"
    assert profile.holds(TUNED) and not profile.holds(Shape(2, 512, 1024))


def test_profile_of_a_dynamic_model():
    profile = ShapeRange.of(spec(), TUNED, most=Shape(4, 1024, 2048))
    assert profile.least == Shape(1, 64, 64) and profile.most == Shape(4, 1024, 2048) and not profile.static
    assert profile.holds(Shape(2, 65, 2048)) and not profile.holds(Shape(1, 63, 100))
    assert ShapeRange.of(spec(), Shape(1, 33, 65)).least == Shape(1, 33, 64)


def test_profile_of_a_partly_fixed_model():
    profile = ShapeRange.of(spec(height=512, width=1024), TUNED, most=Shape(8, 512, 1024))
    assert profile.least == TUNED and profile.most.batch == 8


def test_profile_that_contradicts():
    with pytest.raises(UsageError, match="--max-shape 1x512x2048"):
        ShapeRange.of(spec(height=512, width=1024), TUNED, most=Shape(1, 512, 2048))
    with pytest.raises(UsageError, match="--min-shape <= --opt-shape"):
        ShapeRange.of(spec(), TUNED, least=Shape(2, 64, 64))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"flavour": "tensorflow"}, "flavour"),
        ({"precision": "int8"}, "fp32, tf32, fp16, bf16"),
        ({"plugin": "both"}, "library, python, none"),
        ({"hardware": "any"}, "ampere_plus"),
        ({"optimization_level": 6}, "0 to 5"),
        ({"workspace_mib": 0}, "MiB"),
        ({"flavour": "tensorrt-rtx", "compute_capabilities": ("86",)}, "as 8.6"),
        ({"compute_capabilities": ("8.6",)}, "--engine tensorrt-rtx"),
        ({"flavour": "tensorrt-rtx", "hardware": "ampere_plus"}, "--compute-capability"),
        ({"flavour": "tensorrt-rtx", "version_compatible": True}, "--version-compatible"),
        ({"flavour": "tensorrt-rtx", "timing_cache": "a"}, "--timing-cache"),
        ({"flavour": "tensorrt-rtx", "plugin": "python"}, "--plugin library"),
        ({"plugin": "none", "plugin_library": "libhc_plugins.so"}, "libhc_plugins.so with --plugin none"),
        ({"plugin": "python", "plugin_library": "a.so"}, "it with --plugin library"),
    ],
)
def test_refused(changed, message):
    with pytest.raises(UsageError, match=message):
        options(**changed)


@pytest.mark.parametrize("plugin", ["none", "python"])
@pytest.mark.parametrize(("carry", "option"), [(True, "--carry-plugin"), (False, "--no-carry-plugin")])
def test_carrying_what_is_not_there(plugin, carry, option):
    typed = EngineArguments(plugin=plugin, carry_plugin=carry)
    with pytest.raises(UsageError, match=f"^{option} with --plugin {plugin}"):
        build_options("tensorrt", typed, spec(), TUNED)
    with_library = EngineArguments(plugin="library", carry_plugin=carry, plugin_library=Path("a.so"))
    built = build_options("tensorrt", with_library, spec(), TUNED)
    assert built.carry_plugin is carry and built.plugin_library == "a.so"
    assert build_options("tensorrt", EngineArguments(plugin=plugin), spec(), TUNED).plugin == plugin


def test_a_capability_named_twice_counts_once():
    named = options(flavour="tensorrt-rtx", compute_capabilities=("12.0", "8.6", "12.0"))
    assert named.compute_capabilities == ("12.0", "8.6")


@pytest.mark.parametrize("sides", [(0, 64, 64), (1, -64, 64), (1, 64, 0)])
def test_a_shape_without_pixels(sides):
    with pytest.raises(UsageError, match="1 or more"):
        Shape(*sides)


def test_travels_as_json():
    full = options(
        flavour="tensorrt-rtx", keep_fp32=("Softmax",), compute_capabilities=("8.6", "12.0"), workspace_mib=64
    )
    assert BuildOptions.from_json(json.loads(json.dumps(asdict(full)))) == full
