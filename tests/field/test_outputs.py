"""Outputs that would destroy an input: refused with exit code 2 before any work, and the input is as it was."""

from __future__ import annotations

import os

import cv2
import pytest

import bench
import export
from hc_deploy.cli import app as hc_deploy
from hc_deploy.errors import UsageError
from hc_deploy.system.outputs import Output, check_outputs, files_of
from models.train import __main__ as train_command
from models.weights_from import __main__ as weights_command
from tests.video.toys import photograph, save_toy, toy_spec, write_movie

EXPORT = ("--random-init", "--arch", "fcn32_resnet18")
ENGINE = ("--engine", "tensorrt-rtx", "--plugin", "none")


@pytest.fixture
def world(tmp_path, toy):
    """What people have lying around: a model, an engine with its sidecar, weights, frames, a video, links to them."""
    for name in ("w.safetensors", "model.engine", "model.engine.json", "model.onnx.data"):
        (tmp_path / "net" / name).write_bytes(b"content of " + name.encode())
    (tmp_path / "w.safetensors").write_bytes(b"weights")
    (tmp_path / "frames").mkdir()
    for index in range(3):
        cv2.imwrite(str(tmp_path / f"frames/{index:06d}.png"), photograph(20, 30))
    cv2.imwrite(str(tmp_path / "x.png"), photograph(20, 30))
    cv2.imwrite(str(tmp_path / "x_overlay.png"), photograph(20, 30))
    write_movie(tmp_path / "in.avi", count=3)
    os.link(tmp_path / "in.avi", tmp_path / "hard.avi")
    os.link(tmp_path / "net/model.onnx", tmp_path / "hard.json")
    os.link(tmp_path / "net/model.onnx", tmp_path / "hard.mp4")
    (tmp_path / "link.json").symlink_to("net/model.onnx")
    (tmp_path / "link.avi").symlink_to("in.avi")
    (tmp_path / "again").symlink_to("frames")
    (tmp_path / "net2").symlink_to("net")
    (tmp_path / "out").mkdir()
    os.link(tmp_path / "w.safetensors", tmp_path / "out/model.onnx")
    return tmp_path


def contents(folder):
    return {path: (path.stat().st_ino, path.read_bytes()) for path in sorted(folder.rglob("*")) if path.is_file()}


CASES = [
    (bench.app, ["run", "net", "-o", "hard.json"]),
    (bench.app, ["run", "net", "-o", "link.json"]),
    (bench.app, ["run", "net/model.onnx", "-o", "net/model.onnx"]),
    (bench.app, ["run", "net", "-o", "net/model.onnx.data"]),
    (bench.app, ["run", "net/w.safetensors", "-o", "net/w.safetensors"]),
    (bench.app, ["run", "net", "-o", "report"]),
    (bench.app, ["run", "net/model.engine", "-o", "net2/model.engine.json"]),
    (bench.app, ["run", "a=net/model.engine", "-o", "net/../net/model.engine.json"]),
    (export.app, ["w.safetensors", "-o", "out"]),
    (export.app, ["w.safetensors", "-o", "new", *ENGINE, "--typed-model", "w.safetensors"]),
    (export.app, ["w.safetensors", "-o", "new", *ENGINE, "--typed-model", "./out/../w.safetensors"]),
    (export.app, ["w.safetensors", "-o", "new", "--engine", "tensorrt", "--timing-cache", "w.safetensors"]),
    (export.app, [*EXPORT, "-o", "new", *ENGINE, "--plugin-library", "in.avi", "--typed-model", "in.avi"]),
    (export.app, [*EXPORT, "-o", "new", *ENGINE, "--typed-model", "new/model.engine.json"]),
    (export.app, [*EXPORT, "-o", "new", "--engine", "tensorrt", "--timing-cache", "new/model.onnx"]),
    (hc_deploy, ["video", "net", "in.avi", "-o", "in.avi"]),
    (hc_deploy, ["video", "net", "in.avi", "-o", "hard.avi"]),
    (hc_deploy, ["video", "net", "in.avi", "-o", "./link.avi"]),
    (hc_deploy, ["video", "net", "file://{here}/in.avi", "-o", "in.avi"]),
    (hc_deploy, ["video", "net", "in.avi", "-o", "hard.mp4"]),
    (hc_deploy, ["video", "net", "frames", "-o", "frames"]),
    (hc_deploy, ["video", "net", "frames", "-o", "again/"]),
    (hc_deploy, ["video", "net", "frames", "-o", "new.mp4", "--labels", "again"]),
    (hc_deploy, ["video", "net", "frames/000001.png", "-o", "frames/"]),
    (hc_deploy, ["video", "net", "again/000001.png", "-o", "new.mp4", "--labels", "frames"]),
    (hc_deploy, ["video", "net", "in.avi", "-o", "new/", "--labels", "new"]),
    (hc_deploy, ["infer", "net", "x.png", "x_overlay.png", "-o", "."]),
    (hc_deploy, ["infer", "net", "frames", "x.png", "x_overlay.png", "-o", "net/.."]),
    (train_command.app, ["fcn32_resnet18", "--init", "w.safetensors", "-o", "w.safetensors"]),
    (train_command.app, ["fcn32_resnet18", "--init", "net/w.safetensors", "-o", "net2/w.safetensors"]),
    (weights_command.app, ["w.safetensors", "-o", "./w.safetensors"]),
]


@pytest.mark.parametrize(
    ("app", "arguments"), CASES, ids=lambda value: " ".join(value) if isinstance(value, list) else ""
)
def test_an_input_is_never_replaced(call, world, app, arguments):
    before = contents(world)
    done = call(app, *(argument.format(here=world) for argument in arguments))
    assert done.code == 2, done
    assert done.err.startswith("error: ") and "expected: " in done.err and done.out == ""
    assert contents(world) == before


def test_what_is_replaced_is_said_once(call, world):
    done = call(hc_deploy, "video", "net", "in.avi", "-o", "old.avi")
    assert (done.code, done.err) == (0, "")
    done = call(hc_deploy, "video", "net", "in.avi", "-o", "old.avi", "--labels", "labels")
    assert (done.code, done.err) == (0, "will be replaced: old.avi\n")
    done = call(hc_deploy, "video", "net", "in.avi", "-o", "old.avi", "--labels", "labels")
    assert (done.code, done.err) == (0, "will be replaced: old.avi, numbered PNGs in labels\n")
    assert call(hc_deploy, "infer", "net", "frames", "-o", "frames/out").err == ""
    done = call(hc_deploy, "infer", "net", "frames", "-o", "frames/out")
    names = "frames/out/000000_overlay.png, frames/out/000000_labels.png, 4 more files"
    assert (done.code, done.err) == (0, f"will be replaced: {names}\n")


def test_a_report_beside_its_model(call, world):
    arguments = ("run", "net", "-o", "net/report.json", "--rounds", "2", "--warmup", "0", "--size", "64x96")
    assert call(bench.app, *arguments).code in (0, 5)
    done = call(bench.app, *arguments)
    assert done.code in (0, 5) and done.err.startswith("will be replaced: net/report.json\n")


def test_what_destroys_nothing_is_let_through(world, monkeypatch):
    monkeypatch.chdir(world)
    there = [path.relative_to(world) for path in (world / "net/model.onnx", world / "in.avi", world / "frames")]
    model, movie, frames = there
    said = check_outputs(files_of(world / "w.safetensors"), [Output(model), Output(model.with_name("model.engine"))])
    assert said == "will be replaced: net/model.onnx, net/model.engine"
    assert check_outputs([model], [Output(model.with_name("new.engine"))]) is None
    assert check_outputs([movie], [Output(movie.with_name("IN2.avi"))]) is None
    assert check_outputs([movie], [Output(movie.parent, numbered=True)]) is None  # holds no numbered picture
    assert check_outputs([frames, *frames.iterdir()], [Output(frames / "sub", numbered=True)]) is None
    assert check_outputs([], [Output(frames / "000000.png", updated=True)]) is None


def test_another_case_of_the_same_name(world, monkeypatch):
    """Where the file system takes both for one file, so does the check; a link stands for such a file system here."""
    (world / "W.safetensors").symlink_to("w.safetensors")
    with pytest.raises(UsageError, match="both input and output"):
        check_outputs([world / "w.safetensors"], [Output(world / "W.safetensors")])


def test_links_in_a_circle_and_names_too_long_are_others_to_refuse(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    assert check_outputs([tmp_path / "a", tmp_path / ("x" * 300)], [Output(tmp_path / ("y" * 300))]) is None


def test_the_weights_of_a_folder_are_its_inputs(tmp_path):
    for name in ("a-00001-of-00002.safetensors", "a.safetensors.index.json", "config.json", "model.onnx"):
        (tmp_path / name).write_bytes(b"x")
    weights = {tmp_path / "a-00001-of-00002.safetensors", tmp_path / "a.safetensors.index.json"}
    assert set(files_of(tmp_path)) == weights == set(files_of(tmp_path / "a.safetensors.index.json"))
    save_toy(tmp_path / "b.onnx", toy_spec())
    (tmp_path / "b.onnx.data").write_bytes(b"x")
    assert files_of(tmp_path / "b.onnx") == [tmp_path / "b.onnx", tmp_path / "b.onnx.data"]
