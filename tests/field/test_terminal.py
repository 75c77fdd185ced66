"""Files whose texts and names write to the terminal: titles, colours, carriage returns, directions, zero width."""

from __future__ import annotations

import dataclasses
import json
import shlex

import cv2
import numpy as np
import onnx
import pytest

import bench
import export
from hc_deploy.cli import app as hc_deploy
from hc_deploy.commands.engine import shown
from hc_deploy.engine.build import Progress
from hc_deploy.shown import quoted, visible
from hc_deploy.spec import METADATA_KEY
from hc_deploy.video.legend import Legend
from tests.video.toys import photograph, save_toy, toy_spec, write_movie

HOSTILE = "\x1b]0;owned\x07\x1b[31m\r\u202e\u200b\x9b2J[/red]"
NAME = "\x1b]0;owned\x07\u202e\u200bx"


def assert_harmless(done):
    for line in (done.out + done.err).split("\n"):
        assert visible(line) == line
    return "".join((done.out + done.err).split())


def hostile_model(path):
    """Every text of an ONNX file that can be hostile and still be a model of ours."""
    spec = dataclasses.asdict(toy_spec()) | {"arch": HOSTILE, "options": {HOSTILE: HOSTILE}}
    spec["classes"] = [f"{name}{HOSTILE}" for name in spec["classes"]]
    save_toy(path, toy_spec())
    model = onnx.load(path)
    del model.metadata_props[:]
    model.metadata_props.add(key=METADATA_KEY, value=json.dumps({"schema": 1, **spec}))
    model.graph.node.add(op_type=HOSTILE, domain=HOSTILE, input=["image"], output=[HOSTILE])
    model.functions.add(name=HOSTILE, domain=HOSTILE)
    model.opset_import.add(domain=HOSTILE, version=1)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = HOSTILE
    model.graph.output.add(name=HOSTILE).type.tensor_type.elem_type = 1
    onnx.save(model, path)
    return path


def test_inspecting_a_hostile_model(call, tmp_path):
    hostile_model(tmp_path / "a.onnx")
    text = assert_harmless(call(hc_deploy, "inspect", "a.onnx"))
    assert "\\x1b]0;owned\\x07\\x1b[31m\\r\\u202e\\u200b\\x9b2J[/red]" in text


def test_running_a_hostile_model(call, tmp_path):
    hostile_model(tmp_path / "a.onnx")
    cv2.imwrite(str(tmp_path / "x.png"), photograph(20, 30))
    for command in (("infer", "a.onnx", "x.png", "-o", "out"), ("video", "a.onnx", "x.png", "-o", "out.avi")):
        done = call(hc_deploy, *command)
        assert done.code == 1 and "a.onnx" in assert_harmless(done)


def test_class_names_in_tables(call, tmp_path):
    spec = toy_spec()
    try:
        spec = dataclasses.replace(spec, classes=tuple(f"{name}{HOSTILE}" for name in spec.classes))
    except Exception as error:  # refused is as good
        assert "class" in str(error)
        return
    save_toy(tmp_path / "a.onnx", spec)
    cv2.imwrite(str(tmp_path / "x.png"), photograph(20, 30))
    done = call(hc_deploy, "infer", "a.onnx", "x.png", "-o", "out")
    assert_harmless(done)
    assert done.code == 1 or "road\\x1b]0;owned" in done.out


def test_a_legend_of_names_that_are_no_text_is_drawn():
    """OpenCV ends the process on half of a surrogate pair."""
    image = np.zeros((200, 2000, 3), np.uint8)
    Legend(("a\ud800\x1b", "b"), ((255, 0, 0), (0, 255, 0))).draw(image, np.zeros((200, 2000), np.uint8), time_s=0.0)
    assert image.any()


def test_inspecting_a_hostile_checkpoint(call, tmp_path):
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file

    info = {"schema": 1, "arch": HOSTILE, "options": {HOSTILE: HOSTILE}, "training": {HOSTILE: HOSTILE}}
    classes = {"classes": [HOSTILE], "palette": [[0, 0, 0]], "mean": [0, 0, 0], "std": [1, 1, 1]}
    state = {f"{HOSTILE}.weight": torch.zeros(2)}
    save_file(state, tmp_path / "a.safetensors", metadata={METADATA_KEY: json.dumps({**info, **classes})})
    torch.save(state, tmp_path / "a.pth")
    for name in ("a.safetensors", "a.pth"):
        done = call(hc_deploy, "inspect", name)
        assert_harmless(done)
        for command in ((export.app, name), (export.app, name, "--arch", "fcn32_resnet18")):
            done = call(*command, "-o", "out")
            assert done.code in (1, 2)
            assert_harmless(done)
            said = [line for line in done.err.split("\n") if line.startswith("try: ")]
            assert "owned" not in "".join(said), "a suggested command holds what the file says"


def test_a_hostile_report(call, tmp_path, toy):
    call(bench.app, "run", "net", "-o", "r.json", "--rounds", "8", "--warmup", "0", "--size", "64x96")
    fields = json.loads((tmp_path / "r.json").read_text())
    fields["created"] = fields["environment"]["cpu"] = fields["environment"]["os"] = HOSTILE
    fields["models"][0] |= {"name": HOSTILE, "arch": HOSTILE, "provider": f"{HOSTILE}cpu"}
    fields["baseline"] = HOSTILE
    fields["environment"]["packages"][HOSTILE] = HOSTILE
    (tmp_path / "h.json").write_text(json.dumps(fields))
    fields["workload"]["frame"][0] += 1
    fields["environment"]["cpu"] += "2"
    (tmp_path / "other.json").write_text(json.dumps(fields))
    for command in (
        (hc_deploy, "inspect", "h.json"),
        (bench.app, "compare", "h.json", "h.json"),
        (bench.app, "compare", "h.json", "r.json"),
        (bench.app, "compare", "h.json", "other.json"),
        (bench.app, "compare", "h.json", "other.json", "--allow-different"),
    ):
        done = call(*command)
        assert done.code in (0, 1, 5)
        assert_harmless(done)


@pytest.mark.parametrize("name", [NAME, "new\nerror: line", "it's $(rm) `x`"])
def test_hostile_file_names(call, tmp_path, toy, name):
    """Shown harmlessly by every command; what is suggested names the file, as one word."""
    for ending in (".png", ".mp4", ".onnx", ".safetensors", ".json", ".engine", ".pth"):
        (tmp_path / f"{name}{ending}").write_bytes(b"not what it says")
    folder = tmp_path / f"{name} folder"
    folder.mkdir()
    cv2.imwrite(str(folder / "a.png"), photograph(20, 30))
    (folder / f"{name}.png").write_bytes(b"not an image")
    for arguments in (
        (hc_deploy, "infer", "net", f"{name}.png", "-o", "out"),
        (hc_deploy, "infer", "net", folder, "-o", f"{name} out"),
        (hc_deploy, "video", "net", f"{name}.mp4"),
        (hc_deploy, "video", "net", folder, "-o", f"{name}.gif"),
        (hc_deploy, "video", f"{name}.onnx", "x.mp4"),
        (hc_deploy, "video", f"{name}.pth", folder),
        *((hc_deploy, "inspect", f"{name}{end}") for end in (".onnx", ".pth", ".safetensors", ".json", ".engine")),
        (hc_deploy, "inspect", f"{name} none/none.onnx"),
        (bench.app, "run", f"{name}.onnx", "-o", "r.json"),
        (bench.app, "run", f"{name}.onnx", f"./{name}.onnx", "-o", "r.json"),
        (bench.app, "run", "net", "-o", folder),
        (bench.app, "compare", f"{name}.json", f"{name}.json"),
        (export.app, f"{name}.pth", "-o", f"{name} out"),
    ):
        done = call(*arguments)
        assert done.code in (1, 2), (arguments, done)
        assert_harmless(done)
        assert not any(line.startswith("error: line") for line in done.err.split("\n"))
        for line in done.err.split("\n"):
            if line.startswith("try: ") and "rm" in line:
                assert f"{name}" in "".join(shlex.split(line)), "the shell would run a part of the name"


def test_quoted_suggestions(call, tmp_path, toy):
    (tmp_path / "a b").mkdir()
    (tmp_path / "a b" / "model.engine.json").write_text("{}")
    done = call(hc_deploy, "inspect", "a b/model.engine.json")
    assert "try: hc-deploy inspect 'a b/model.engine'\n" in done.err
    write_movie(tmp_path / "in.avi", count=2)
    assert (
        "try: -o 'out $(x).mp4', or -o 'out $(x)'/\n"
        in call(hc_deploy, "video", "net", "in.avi", "-o", "out $(x).gif").err
    )
    done = call(hc_deploy, "inspect", f"{NAME}/none.onnx")
    assert f"try: ls {quoted(NAME)}\n" in done.err and "$'\\033]0;owned\\007" in done.err


def test_phases_of_the_builder_are_no_markup(monkeypatch, capsys):
    """They hold names of layers; in a terminal they stand before the bar."""
    import sys

    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    with shown("tensorrt") as show:
        show(Progress("build", f"[/nothing]{HOSTILE}", 1, 2))
    assert "owned\x07" not in capsys.readouterr().err
