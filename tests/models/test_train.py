"""Training: the command end to end, and that it learns."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

import models
from hc_deploy.export.checkpoint import read_checkpoint
from models.dataset import Frames, augment, normalised
from models.load import load_network
from models.training import AUXILIARY_WEIGHT, Recipe, objective, train

TINY = [
    "--steps",
    "2",
    "--batch",
    "2",
    "--crop",
    "64x96",
    "--scenes",
    "3",
    "--validation-scenes",
    "2",
    "--size",
    "96x160",
]


def run(*arguments):
    result = subprocess.run(
        [sys.executable, "-m", "models.train", *map(str, arguments)], capture_output=True, text=True
    )
    assert "Traceback" not in result.stderr, result.stderr
    return result


def test_command_trains_and_its_checkpoint_loads(tmp_path):
    first = tmp_path / "base.safetensors"
    given = [*TINY, "--cache", tmp_path / "cache", "--option", "width=4"]
    assert run("fcn32_resnet18", "-o", first, *given).returncode == 0
    result = run("hcpspnet_resnet18", "-o", tmp_path / "hc.safetensors", "--init", first, *given)
    assert result.returncode == 0 and "mIoU" in result.stdout
    _, spec = load_network(tmp_path / "hc.safetensors")
    assert spec.arch == "hcpspnet_resnet18" and spec.options == {"width": 4}
    training = read_checkpoint(tmp_path / "hc.safetensors").info.training
    assert training["init"] == "base.safetensors" and 0 <= training["miou"] <= 1 and training["steps"] == 2


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["ssn", "-o", "a.safetensors"], 2, "is for superpixels"),
        (["fcn32_resnet18", "-o", "a.pth"], 2, "a name ending in .safetensors"),
        (["fcn32_resnet18", "-o", "/dev/null/a.safetensors"], 1, "is no folder"),
        (["fcn32_resnet18", "-o", "a.safetensors", "--option", "classes=5"], 2, "19, those of the rendered scenes"),
        (["hcfcn32_resnet18", "-o", "a.safetensors", "--option", "assignment=hard"], 2, "no gradient"),
        (["fcn32_resnet18", "-o", "a.safetensors", "--size", "8x8"], 2, "64 pixels and more"),
        (["fcn32_resnet18", "-o", "a.safetensors", "--seed", "-1"], 2, "seed"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_any_work(arguments, code, message, tmp_path):
    cache = tmp_path / "cache"
    result = run(*arguments, "--cache", cache)
    assert result.returncode == code and message in result.stderr and not cache.exists()


def test_misspelt_names_are_refused_before_anything_is_rendered(tmp_path):
    result = run("hcpsp_resnet18", "-o", tmp_path / "a.safetensors", "--cache", tmp_path / "cache")
    assert result.returncode == 2 and "hcpspnet_resnet18" in result.stderr
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    ("name", "code", "says"),
    [("SIGINT", 130, "interrupted"), ("SIGTERM", 143, "ended by SIGTERM"), ("SIGHUP", 129, "ended by SIGHUP")],
)
@pytest.mark.parametrize("whom", ["the process", "its group"])
def test_a_signal_while_scenes_are_rendered(tmp_path, whom, name, code, says):
    """A terminal, Slurm and systemd send it to the workers too."""
    cache = tmp_path / "cache"
    running = subprocess.Popen(
        [sys.executable, "-m", "models.train", "fcn32_resnet18", "-o", tmp_path / "a.safetensors", "--cache", cache],
        stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    while not any(cache.glob(".*.npy")):
        assert running.poll() is None
        time.sleep(0.001)
    (os.kill if whom == "the process" else os.killpg)(running.pid, getattr(signal, name))
    assert running.communicate(timeout=30)[1] == f"{says}\n" and running.returncode == code
    assert list(tmp_path.iterdir()) == [cache] and list(cache.iterdir()) == []
    with pytest.raises(ProcessLookupError):  # nobody of its group is left
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            os.killpg(running.pid, 0)
            time.sleep(0.1)


def test_a_killed_renderer_is_an_error(tmp_path):
    """As the system does when memory runs out."""
    running = subprocess.Popen(
        [sys.executable, "-m", "models.train", "fcn32_resnet18", "-o", tmp_path / "a.safetensors", "--cache", tmp_path],
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    children = Path(f"/proc/{running.pid}/task/{running.pid}/children")
    while not (found := children.read_text().split()):
        time.sleep(0.01)
    os.kill(int(found[0]), signal.SIGKILL)
    assert running.communicate(timeout=30)[1].startswith("error: a process that draws scenes was killed")
    assert running.returncode == 1 and list(tmp_path.iterdir()) == []


def test_renderers_die_with_a_killed_parent(tmp_path):
    running = subprocess.Popen(
        [sys.executable, "-m", "models.train", "fcn32_resnet18", "-o", tmp_path / "a.safetensors", "--cache", tmp_path],
        start_new_session=True,
    )
    children = Path(f"/proc/{running.pid}/task/{running.pid}/children")
    while not children.read_text().split():
        time.sleep(0.01)
    running.kill()
    running.wait()
    with pytest.raises(ProcessLookupError):
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            os.killpg(running.pid, 0)
            time.sleep(0.1)


@pytest.mark.parametrize("name", ["fcn32_resnet18", "hcpspnet_resnet18"])
def test_it_learns(name):
    """Two colours, two classes: the loss falls to less than half within 60 steps."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, (8, 2, 3)).repeat(32, 1).repeat(32, 2).astype(np.uint8)
    images = np.where(labels[..., None] == 1, np.uint8([200, 40, 40]), np.uint8([40, 40, 200])).astype(np.uint8)
    torch.manual_seed(0)
    net = models.build(name, width=8, classes=2)
    frames = Frames(images, labels)
    batch = normalised(images[:4]), torch.from_numpy(labels[:4].astype(int))
    before = objective(net, *batch).item()
    train(net, frames, Recipe(60, 4, (64, 96), 3e-3, 0.0, 8, (64, 96), 0))
    assert objective(net, *batch).item() < before / 2


def test_auxiliary_loss_is_added():
    torch.manual_seed(0)
    net = models.build("fcn32_resnet18", width=8, classes=3, aux=True).eval()
    image, labels = torch.randn(2, 3, 64, 64), torch.randint(0, 3, (2, 64, 64))
    with_aux = objective(net, image, labels)
    main, auxiliary = net.forward_with_aux(image)
    alone = [
        torch.nn.functional.cross_entropy(torch.nn.functional.interpolate(x, size=(64, 64), mode="bilinear"), labels)
        for x in (main, auxiliary)
    ]
    torch.testing.assert_close(with_aux, alone[0] + AUXILIARY_WEIGHT * alone[1])


@pytest.mark.parametrize("seed", range(8))
def test_augmentation_keeps_image_and_labels_together(seed):
    """Label = a colour; after resize, crop and flip every labelled pixel still has its colour (edges aside)."""
    labels = np.random.default_rng(1).integers(0, 3, (6, 9)).repeat(16, 0).repeat(16, 1).astype(np.uint8)
    image = np.stack([labels * 100] * 3, axis=-1)
    picture, classes = augment(image, labels, (64, 80), np.random.default_rng(seed))
    assert picture.shape == (64, 80, 3) and classes.shape == (64, 80)
    known = classes != 255
    agree = np.abs(picture[..., 0].astype(int) - classes.astype(int) * 100)[known] < 40
    assert known.any() and agree.mean() > 0.85
