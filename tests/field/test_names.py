"""File names that are not UTF-8: old cameras, archives from Windows, shares of other systems. They work everywhere."""

from __future__ import annotations

import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest

import bench
import export
from hc_deploy.cli import app as hc_deploy
from hc_deploy.runtime import open_session
from hc_deploy.system.names import is_utf8, openable
from tests.bench.fakes import Ended
from tests.video.toys import photograph, read_movie, save_toy, toy_labels, toy_spec, write_movie

ODD = os.fsdecode(b"caf\xe9 \xff")
"""A name in Latin-1; as Python spells it."""


def supported(folder: Path) -> bool:
    try:
        (folder / f"{ODD}.probe").touch()
    except OSError:
        return False
    return True


@pytest.fixture
def folder(tmp_path):
    """A folder of such a name, where the file system has it."""
    if not supported(tmp_path):
        pytest.skip("this file system has UTF-8 names alone")
    (tmp_path / f"{ODD}.probe").unlink()
    (tmp_path / ODD).mkdir()
    return tmp_path / ODD


def fine(done: Ended, code: int = 0) -> Ended:
    assert done.code == code, done
    assert (done.out + done.err).isprintable() or all(line.isprintable() for line in (done.out + done.err).split("\n"))
    return done


def labels_in(path):
    return cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_UNCHANGED)


@pytest.mark.parametrize("where", ["file", "folder"])
def test_images(call, folder, toy, where):
    image = photograph(31, 43)
    (folder / f"{ODD}.png").write_bytes(cv2.imencode(".png", image)[1].tobytes())
    done = fine(
        call(hc_deploy, "infer", "net", folder if where == "folder" else folder / f"{ODD}.png", "-o", folder / "out")
    )
    assert "caf\\xe9 \\xff/caf\\xe9 \\xff.png (43x31)" in done.out
    assert np.array_equal(labels_in(folder / f"out/{ODD}_labels.png"), toy_labels(image))
    (folder / f"{ODD}.png").write_bytes(b"no image")
    assert "caf\\xe9 \\xff.png is not an image" in fine(call(hc_deploy, "infer", "net", folder, "-o", "out"), 1).err


@pytest.mark.parametrize("suffix", [".avi", ".mp4"])
def test_videos(call, folder, toy, tmp_path, suffix):
    write_movie(tmp_path / f"in{suffix}", fourcc="MJPG" if suffix == ".avi" else "mp4v", count=5)
    (tmp_path / f"in{suffix}").rename(folder / f"{ODD}{suffix}")
    out, maps = folder / f"{ODD} out{suffix}", folder / f"{ODD} maps"
    done = fine(call(hc_deploy, "video", "net", folder / f"{ODD}{suffix}", "-o", out, "--labels", maps))
    assert f"caf\\xe9 \\xff out{suffix}: 5 frames" in done.out
    assert len(list(maps.iterdir())) == 5
    out.rename(tmp_path / f"plain{suffix}")
    assert len(read_movie(tmp_path / f"plain{suffix}").frames) == 5
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]
    fine(call(hc_deploy, "video", "net", folder / f"{ODD}{suffix}"))
    named = tmp_path / (f"{ODD}_segmented.mp4")
    assert named.stat().st_size > 0
    (folder / f"{ODD}.mkv").write_bytes(b"no video")
    assert "\\xff.mkv is not a video" in fine(call(hc_deploy, "video", "net", folder / f"{ODD}.mkv"), 1).err
    assert "\\xff.gif" in fine(call(hc_deploy, "video", "net", folder / f"{ODD}{suffix}", "-o", f"{ODD}.gif"), 2).err


def test_frames_of_a_folder(call, folder, toy):
    for index in range(3):
        (folder / f"{ODD}{index}.png").write_bytes(cv2.imencode(".png", photograph(20, 30))[1].tobytes())
    fine(call(hc_deploy, "video", "net", folder, "-o", f"{ODD} out/"))
    assert len(list((folder.parent / f"{ODD} out").iterdir())) == 3


def test_models_and_reports(call, folder, toy):
    model = save_toy(folder / "plain.onnx", toy_spec()).rename(folder / f"{ODD}.onnx")
    assert "model exported by hc_deploy" in fine(call(hc_deploy, "inspect", model)).out
    report = folder / f"{ODD}.json"
    plan = ("--rounds", 8, "--warmup", 0, "--size", "64x96", "--baseline", ODD)
    done = call(bench.app, "run", model, folder / ".." / "net", "-o", report, *plan)
    assert done.code in (0, 5) and "caf\\xe9" in done.out
    fields = json.loads(report.read_text(encoding="utf-8"))
    assert [model["name"] for model in fields["models"]] == ["caf\\xe9 \\xff", "net"]
    assert call(bench.app, "compare", report, report, "--allow-different").code in (0, 5)
    fine(call(hc_deploy, "inspect", report))
    model.write_bytes(b"no model")
    done = fine(call(hc_deploy, "infer", model, "x.png", "-o", "o"), 1)
    assert "\\xff.onnx cannot be opened by ONNX Runtime" in done.err
    fine(call(hc_deploy, "inspect", model), 1)


def test_a_session_on_such_a_model(folder):
    for name in ("plain.onnx", f"{ODD}.onnx"):
        save_toy(folder / "plain.onnx", toy_spec()).rename(folder / name)
        with open_session(folder / name) as session:
            image = photograph(16, 16)
            labels = session.run(np.ascontiguousarray(image[None, ..., ::-1]))["labels"]
            assert np.array_equal(labels[0], toy_labels(image))


def test_an_export(call, folder):
    torch = pytest.importorskip("torch")
    import models

    torch.save(models.build("fcn32_resnet18", width=4).state_dict(), folder / f"{ODD}.pth")
    assert "tensors" in fine(call(hc_deploy, "inspect", folder / f"{ODD}.pth")).out
    plan = ("--arch", "fcn32_resnet18", "--width", 4, "--size", "64x64")
    done = fine(call(export.app, folder / f"{ODD}.pth", "-o", folder / ODD, *plan))
    assert "next: hc-deploy video $'" in done.out and "caf\\351 \\377" in done.out
    with open_session(folder / ODD / "model.onnx") as session:
        assert session.run(np.zeros((1, 64, 64, 3), np.uint8))["labels"].shape == (1, 64, 64)


def test_openable_is_the_file_and_leaves_nothing(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path / "scratch"))
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr("tempfile.tempdir", None)
    for path in (folder / "a.bin", folder / f"{ODD}.bin", tmp_path / f"{ODD}.bin", tmp_path / "é.bin"):
        path.write_bytes(path.name.encode(errors="surrogateescape"))
        with openable(path) as name:
            assert is_utf8(name) and Path(name).read_bytes() == path.read_bytes() and Path(name).samefile(path)
        assert not list((tmp_path / "scratch").iterdir()) and path.exists()
    assert not is_utf8(str(folder)) and is_utf8("é")


def test_a_narrow_system(shell, folder, toy):
    """Where the system's own encoding is ASCII, every name with an accent is such a name."""
    write_movie(folder.parent / "é.avi", count=3)
    narrow = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    code, out, error = shell('"$PY" -m hc_deploy video net é.avi -o ü.avi', **narrow)
    assert (code, error) == (0, b"") and b"\\xc3\\xbc.avi: 3 frames" in out
    assert len(read_movie(folder.parent / "ü.avi").frames) == 3


LONG = "x" * 300


@pytest.mark.parametrize(
    ("app", "arguments"),
    [
        (hc_deploy, ["infer", "net", "street.png", "-o", LONG]),
        (hc_deploy, ["infer", "net", "street.png", "-o", "/".join(["d" * 200] * 25)]),
        (hc_deploy, ["infer", LONG, "street.png", "-o", "o"]),
        (hc_deploy, ["infer", "net", LONG, "-o", "o"]),
        (hc_deploy, ["video", "net", "street.png", "-o", f"{LONG}.mp4"]),
        (hc_deploy, ["video", "net", LONG, "-o", "o.mp4"]),
        (hc_deploy, ["inspect", LONG]),
        (hc_deploy, ["build", "net", "--engine", "tensorrt-rtx", "--plugin", "none", "-o", LONG]),
        (hc_deploy, ["bench", "run", LONG, "-o", "r.json"]),
        (bench.app, ["run", "net", "-o", f"{LONG}.json"]),
        (bench.app, ["compare", LONG, LONG]),
        (export.app, ["--random-init", "--arch", "fcn32_resnet18", "--width", "4", "--size", "64x64", "-o", LONG]),
        (export.app, [LONG, "-o", "o"]),
    ],
)
def test_names_that_no_file_can_have(call, toy, tmp_path, app, arguments):
    cv2.imwrite(str(tmp_path / "street.png"), np.zeros((16, 16, 3), np.uint8))
    done = call(app, *arguments)
    assert done.code in (1, 2), done
    lines = [line for line in done.err.splitlines() if not line.startswith("  ")]
    assert [line.partition(":")[0] for line in lines] == ["error", "expected", "try"], done.err
    assert len(done.err) < 1500 and not list(tmp_path.glob(f"{LONG[:50]}*"))
