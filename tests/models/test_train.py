"""Training: the command end to end, and that it learns."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

import models
from hc_deploy.errors import DeployError
from hc_deploy.export.checkpoint import read_checkpoint
from hc_deploy.spec import IMAGENET_MEAN, IMAGENET_STD
from models.load import load_network
from models.train.dataset import Frames, augment, normalised, rendered_streets
from models.train.initialise import initialise_backbone
from models.train.loop import AUXILIARY_WEIGHT, Recipe, objective, train, validate

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
    assert "base.safetensors: 100 of 100 tensors of the backbone taken" in result.stdout
    _, spec = load_network(tmp_path / "hc.safetensors")
    assert spec.arch == "hcpspnet_resnet18" and spec.options == {"width": 4}
    training = read_checkpoint(tmp_path / "hc.safetensors").info.training
    assert (training["init"], training["init_tensors"]) == ("base.safetensors", 100)
    assert 0 <= training["miou"] <= 1 and training["steps"] == 2


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
        (["fcn32_resnet18", "-o", "a.safetensors", "--scenes", "1000001"], 2, "1000000 at most"),
        (["fcn32_resnet18", "-o", "a.safetensors", "--init-partial"], 2, "--init CHECKPOINT with it"),
        (["fcn32_resnet18", "-o", "a.safetensors", "--init", "absent.safetensors"], 1, "absent.safetensors"),
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
    seen: set[str] = set()
    while not (
        found := seen & set(children.read_text().split())
    ):  # not what lives for a moment (hc_deploy.system.last_resort)
        seen = set(children.read_text().split())
        time.sleep(0.2)
    os.kill(int(found.pop()), signal.SIGKILL)
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


def saved(path, state):
    safetensors.torch.save_file({name: tensor.clone().contiguous() for name, tensor in state.items()}, path)
    return path


def backbone_of(seed):
    torch.manual_seed(seed)
    state = models.build("fcn32_resnet18", width=4).state_dict()
    return {name: tensor for name, tensor in state.items() if name.startswith("backbone.")}


def without(state, names):
    return {name: tensor for name, tensor in state.items() if name not in names}


FIRST = next(name for name in backbone_of(0) if name.endswith("weight"))
UNFIT = {
    "no tensor of that name": (
        lambda state: {f"encoder.{name}": tensor for name, tensor in state.items()},
        "0 of the 100 tensors of the backbone match; nothing was taken\n  not in the checkpoint (100): backbone.",
    ),
    "one is missing": (lambda state: without(state, [FIRST]), f"99 of the 100 .* not in the checkpoint (1): {FIRST}"),
    "one of another shape": (
        lambda state: {**state, FIRST: torch.zeros(7, 3, 5, 5)},
        f"99 of the 100 .* of another shape (1): {FIRST} (7, 3, 5, 5), expected (",
    ),
    "one too many": (
        lambda state: {**state, "backbone.extra": torch.zeros(3)},
        "100 of the 100 .* not in the network (1): backbone.extra",
    ),
}


@pytest.mark.parametrize("case", UNFIT)
def test_a_checkpoint_that_does_not_fit_is_refused_by_name(case, tmp_path):
    change, message = UNFIT[case]
    net = models.build("hcpspnet_resnet18", width=4)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    path = saved(tmp_path / "base.safetensors", change(backbone_of(1)))
    with pytest.raises(DeployError) as refused:
        initialise_backbone(net, path)
    said = refused.value.received
    assert all(part in said for part in message.split(" .* ")) and str(path) in said
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    if case == "no tensor of that name":
        with pytest.raises(DeployError, match="nothing was taken"):
            initialise_backbone(net, path, partial=True)
        return
    taken = initialise_backbone(net, path, partial=True)
    assert taken.of == 100 and taken.tensors == 99 + (case == "one too many") and len(taken.left) == 1
    source = change(backbone_of(1))
    for name, tensor in net.state_dict().items():
        fits = name in source and source[name].shape == tensor.shape
        assert torch.equal(tensor, source[name] if fits else before[name]), name


def test_all_of_a_backbone_is_taken_and_nothing_else(tmp_path):
    """Counters of batches may be absent, as in checkpoints of old torch versions."""
    source = backbone_of(1)
    plain = without(source, [name for name in source if name.endswith("num_batches_tracked")])
    net = models.build("hcpspnet_resnet18", width=4)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    taken = initialise_backbone(net, saved(tmp_path / "base.safetensors", {**plain, "decoder.x": torch.ones(1)}))
    assert (taken.tensors, taken.of, taken.left) == (100, 100, ())
    for name, tensor in net.state_dict().items():
        assert torch.equal(tensor, plain.get(name, before[name]))


def test_a_loss_that_is_no_number_ends_the_training():
    frames = Frames(np.zeros((2, 64, 64, 3), np.uint8), np.zeros((2, 64, 64), np.uint8))
    net = models.build("fcn32_resnet18", width=4, classes=2)
    with torch.no_grad():
        next(net.parameters()).fill_(float("nan"))
    with pytest.raises(DeployError, match="the loss of step 1 is nan"):
        train(net, frames, Recipe(3, 2, (64, 64), 1e-3, 0.0, 2, (64, 64), 0))


def test_validation_counts_each_labelled_pixel_and_has_no_nan():
    """A net whose logits say the red channel's class: the truth is known, most classes are in no frame."""

    class Reads(torch.nn.Module):
        def forward(self, x):
            red = (x[:, :1] * IMAGENET_STD[0] + IMAGENET_MEAN[0]) * 255
            return -(torch.arange(19.0).reshape(1, 19, 1, 1) * 10 - red).abs()

    labels = np.random.default_rng(0).integers(0, 3, (2, 31, 47)).astype(np.uint8)
    images = np.dstack([labels.reshape(62, 47) * 10] * 3).reshape(2, 31, 47, 3).astype(np.uint8)
    labels[0, :5] = 255
    images[1, :, 0] = 20  # column 0 of the second frame is read as class 2
    scores = validate(Reads(), Frames(images, labels), 19)
    right = sum(((labels[i] == images[i, ..., 0] // 10) & (labels[i] < 255)).sum() for i in (0, 1))
    assert scores["pixel_accuracy"] == round(right / (labels < 255).sum(), 4)
    assert [value is None for value in scores["iou"].values()] == [False] * 3 + [True] * 16
    json.dumps(scores, allow_nan=False)


def test_a_damaged_cache_is_an_error_not_another_truth(tmp_path):
    frames = rendered_streets(tmp_path, first_seed=0, count=1, size=(64, 96))
    again = rendered_streets(tmp_path, first_seed=0, count=1, size=(64, 96))
    assert np.array_equal(again.labels, frames.labels)
    (path,) = tmp_path.glob("*_labels.npy")
    for damage in (b"", path.read_bytes()[:500]):
        path.write_bytes(damage)
        with pytest.raises(DeployError, match="cannot be read"):
            rendered_streets(tmp_path, first_seed=0, count=1, size=(64, 96))
    np.save(path, np.zeros((1, 64, 96), np.int64))
    with pytest.raises(DeployError, match="holds int64"):
        rendered_streets(tmp_path, first_seed=0, count=1, size=(64, 96))


@pytest.mark.parametrize("seed", range(6))
def test_augmented_labels_lie_where_their_pixels_do(seed):
    """A wedge of four columns a class, its grey level the class's mean: both stay together to a fifth of a column."""
    columns = np.arange(512) // 4
    labels = np.tile(columns.astype(np.uint8), (256, 1))
    image = np.dstack([np.tile((np.arange(512) / 4 - 0.375).clip(0, 255), (256, 1))] * 3)
    picture, classes = augment(np.rint(image * 1.9).astype(np.uint8), labels, (128, 256), np.random.default_rng(seed))
    known = classes[40] < 128
    difference = picture[40, known, 0] / 1.9 - classes[40, known]
    assert known.sum() > 60 and abs(difference.mean()) < 0.045


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
