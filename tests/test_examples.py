"""The examples run as a user runs them, and the names of the package are what they say."""

import os
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

import hc_deploy
from hc_deploy.classes import numbered_classes
from tests.video.toys import save_toy, toy_spec, write_movie

ROOT = Path(hc_deploy.__file__).parents[1]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


def run(name, *arguments):
    """What an example prints."""
    command = [sys.executable, str(ROOT / "examples" / f"{name}.py"), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=ENVIRONMENT)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """What the first example writes, and what it prints."""
    folder = tmp_path_factory.mktemp("own")
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 16, 3, stride=4, padding=1), torch.nn.ReLU(), torch.nn.Conv2d(16, 5, 1)
    )
    torch.save({"state_dict": network.state_dict()}, folder / "weights.pth")
    said = run("own_network", folder / "weights.pth", folder / "model.onnx")
    return network.eval(), folder / "model.onnx", said


def test_own_network(exported):
    network, model, said = exported
    assert said.startswith(f"{model}: 100.0000% of pixels as torch")
    image = np.random.default_rng(0).integers(0, 256, (256, 512, 3), np.uint8)
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    x = torch.from_numpy(((image[..., ::-1] / 255 - mean) / std).transpose(2, 0, 1)[None].astype(np.float32).copy())
    with torch.no_grad():
        truth = torch.nn.functional.interpolate(network(x), size=(256, 512), mode="bilinear").argmax(1)[0].numpy()
    assert (hc_deploy.segment_image(image, model).labels == truth).mean() > 0.999


def test_photo(exported, tmp_path):
    cv2.imwrite(str(tmp_path / "photo.png"), np.random.default_rng(1).integers(0, 256, (97, 131, 3), np.uint8))
    lines = run("photo", exported[1], tmp_path / "photo.png").splitlines()
    assert all(re.fullmatch(r"class \d +\d+\.\d%", line) for line in lines)
    assert sum(float(line.split()[-1].rstrip("%")) for line in lines) == pytest.approx(100, abs=0.3)


def test_video(tmp_path):
    model = save_toy(tmp_path / "model.onnx", toy_spec())
    movie = write_movie(tmp_path / "in.mp4", count=7)
    lines = run("video", model, movie).splitlines()
    assert len(lines) == 7 and lines[3].startswith("frame 3 at ")


def test_the_readme(tmp_path):
    """Its lines of Python, on another model and video."""
    (block,) = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE)
    (tmp_path / "demo" / "hcpspnet").mkdir(parents=True)
    save_toy(tmp_path / "demo" / "hcpspnet" / "model.onnx", toy_spec())
    (tmp_path / "demo" / "clip").mkdir()
    write_movie(tmp_path / "demo" / "clip" / "street.mp4", count=3)
    done = subprocess.run([sys.executable, "-c", block], capture_output=True, text=True, cwd=tmp_path, env=ENVIRONMENT)
    assert done.stdout.splitlines() == ["0.0 (64, 96)", "0.04 (64, 96)", "0.08 (64, 96)"], done.stderr


def test_two_models(exported):
    said = run("two_models", exported[1], exported[1])
    assert re.search(r"baseline: \d+\.\d\d ms", said)
    assert re.search(r"its time over the baseline's: \d\.\d{3} \[", said)


def test_engine(exported, tmp_path):
    said = run("engine", exported[1], tmp_path / "model.engine")
    assert re.match(r".*model\.engine: \d+ layers; .* of pixels as fp32.*; engine not run|.*ONNX Runtime", said)
    assert (tmp_path / "model.engine.json").exists()


def test_names_of_the_package():
    assert sorted(hc_deploy.__all__) == [name for name in sorted(hc_deploy.__all__) if getattr(hc_deploy, name)]
    assert set(hc_deploy.__all__) <= set(dir(hc_deploy))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        hc_deploy.nothing  # noqa: B018


@pytest.mark.parametrize("image", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8), 7])
def test_no_image_is_refused(exported, image):
    with pytest.raises(hc_deploy.DeployError, match="an image of"):
        hc_deploy.segment_image(image, exported[1])


def test_weights_of_another_network_are_refused(exported, tmp_path):
    torch.save(torch.nn.Conv2d(3, 4, 1).state_dict(), tmp_path / "other.pth")
    with pytest.raises(hc_deploy.DeployError, match="Sequential"):
        hc_deploy.load_checkpoint(tmp_path / "other.pth", exported[0])


def test_compare_takes_files_and_reports(exported, tmp_path):
    from hc_deploy.bench.clocks import Plan
    from hc_deploy.bench.report import write_report

    report = hc_deploy.benchmark({"a": exported[1]}, plan=Plan(rounds=8, warmup=0))
    write_report(tmp_path / "r.json", report)
    comparison = hc_deploy.compare(tmp_path / "r.json", report)
    assert {change.ratio.value for change in comparison.changes} == {1.0}


def test_spec_of_numbered_classes():
    assert numbered_classes(3).names == ("class 0", "class 1", "class 2")
