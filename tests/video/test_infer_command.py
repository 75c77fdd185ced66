"""`python -m hc_deploy infer` as a user runs it, on photographs."""

from __future__ import annotations

import re

import cv2
import numpy as np
import pytest
import skimage.data
from skimage import io

from hc_deploy.classes import CITYSCAPES
from tests.video.toys import photograph, toy_labels

PALETTE = np.asarray(CITYSCAPES.palette)[:, ::-1]


def labels_in(path):
    labels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert labels.ndim == 2 and labels.dtype == np.uint8
    return labels


def test_photographs_of_every_kind(cli, models, tmp_path):
    astronaut, coffee = skimage.data.astronaut()[:201, :303], skimage.data.coffee()
    rgba = np.dstack([astronaut, np.full(astronaut.shape[:2], 77, np.uint8)])
    truths = {
        "color.png": astronaut,
        "rgba.png": astronaut,
        "deep.png": astronaut,
        "gray.png": np.dstack([skimage.data.camera()[:101, :99]] * 3),
        "gray16.png": np.dstack([skimage.data.camera()[:101, :99]] * 3),
        "coffee.jpg": None,
        "dot.png": astronaut[100:101, 100:101],
        "scan.tif": coffee,
    }
    io.imsave(tmp_path / "color.png", astronaut, check_contrast=False)
    io.imsave(tmp_path / "rgba.png", rgba, check_contrast=False)
    cv2.imwrite(str(tmp_path / "deep.png"), astronaut[..., ::-1].astype(np.uint16) * 257)
    io.imsave(tmp_path / "gray.png", skimage.data.camera()[:101, :99], check_contrast=False)
    io.imsave(tmp_path / "gray16.png", skimage.data.camera()[:101, :99].astype(np.uint16) * 257, check_contrast=False)
    io.imsave(tmp_path / "coffee.jpg", coffee, check_contrast=False)
    io.imsave(tmp_path / "dot.png", astronaut[100:101, 100:101], check_contrast=False)
    io.imsave(tmp_path / "scan.tif", coffee, check_contrast=False)
    done = cli("infer", models["any"], *truths, "-o", "out", "--no-legend", "--alpha", "1", code=0)
    for name, image in truths.items():
        image = io.imread(tmp_path / name) if image is None else image
        stem = name.partition(".")[0]
        truth, labels = toy_labels(image[..., ::-1]), labels_in(tmp_path / f"out/{stem}_labels.png")
        assert labels.shape == truth.shape
        assert (labels == truth).mean() > 0.97, name  # two JPEG decoders differ by a level here and there
        assert name == "coffee.jpg" or np.array_equal(labels, truth), name
        assert np.array_equal(cv2.imread(str(tmp_path / f"out/{stem}_overlay.png")), PALETTE[labels])
    assert len(list((tmp_path / "out").iterdir())) == 2 * len(truths)
    assert f"{len(truths)} images in " in done.stdout


def test_palette_images_and_exif_rotation(cli, models, tmp_path):
    pillow = pytest.importorskip("PIL.Image")
    image = pillow.fromarray(skimage.data.coffee()[:50, :90])
    image.quantize(64).save(tmp_path / "palette.png")
    exif = pillow.Exif()
    exif[0x0112] = 6  # turn clockwise to show
    image.save(tmp_path / "turned.jpg", exif=exif, quality=95)
    cli("infer", models["any"], "palette.png", "turned.jpg", "-o", "out", code=0)
    colours = np.asarray(pillow.open(tmp_path / "palette.png").convert("RGB"))
    assert np.array_equal(labels_in(tmp_path / "out/palette_labels.png"), toy_labels(colours[..., ::-1]))
    upright = toy_labels(np.rot90(skimage.data.coffee()[:50, :90], -1)[..., ::-1])
    turned = labels_in(tmp_path / "out/turned_labels.png")
    assert turned.shape == (90, 50) and (turned == upright).mean() > 0.5


def test_shares_are_the_pixels_shares(cli, models, tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), photograph(61, 83))
    done = cli("infer", models["any"], "a.png", "-o", "out", code=0)
    labels = toy_labels(photograph(61, 83))
    rows = dict(re.findall(r"^([a-z ]+?) +([\d.]+) %$", done.stdout.partition("images/s")[0], re.MULTILINE))
    for label in np.unique(labels):
        share = 100 * (labels == label).mean()
        assert float(rows.pop(CITYSCAPES.names[label])) == pytest.approx(share, abs=0.051)
    assert not rows, "classes that are absent"


def test_a_fixed_size_model_answers_at_the_images_size(cli, models, tmp_path):
    for name, size in (("wide.png", (33, 301)), ("dot.png", (1, 1)), ("exact.png", (64, 96))):
        cv2.imwrite(str(tmp_path / name), photograph(*size))
    cli("infer", models["fixed"], "wide.png", "dot.png", "exact.png", "-o", "out", "--superpixels", code=0)
    assert labels_in(tmp_path / "out/wide_labels.png").shape == (33, 301)
    assert labels_in(tmp_path / "out/dot_labels.png").shape == (1, 1)
    assert np.array_equal(labels_in(tmp_path / "out/exact_labels.png"), toy_labels(photograph(64, 96)))


def test_a_folder_with_a_bad_image_does_the_others(cli, models, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("a1.png", "a2.png"):
        cv2.imwrite(str(folder / name), photograph(20, 30))
    (folder / "a3.png").write_text("not an image")
    done = cli("infer", models["any"], "in", "-o", "out", code=1)
    assert "a3.png" in done.stderr and "1 of 3 images" in done.stderr
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["a1_labels.png", "a1_overlay.png", "a2_labels.png", "a2_overlay.png"]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["nothing.png", "-o", "out"], 1, "nothing.png does not exist"),
        (["text.png", "-o", "out"], 1, "text.png is not an image"),
        (["empty", "-o", "out"], 1, "no image in empty"),
        (["a.png", "sub/a.png", "-o", "out"], 2, "both be written"),
        (["a.png", "-o", "text.png/out"], 1, "cannot write"),
        (["x_overlay.png", "x.png", "-o", "."], 2, "both input and output"),
    ],
)
def test_bad_input(cli, models, tmp_path, arguments, code, words):
    (tmp_path / "sub").mkdir()
    (tmp_path / "empty").mkdir()
    for name in ("a.png", "sub/a.png", "x.png", "x_overlay.png"):
        cv2.imwrite(str(tmp_path / name), photograph(20, 30))
    (tmp_path / "text.png").write_text("not an image")
    assert words in cli("infer", models["any"], *arguments, code=code).stderr
    assert not list(tmp_path.rglob("a_labels.png")) and not (tmp_path / "out").exists()


def test_an_exported_network(cli, tmp_path):
    """The road from a module to pictures: the toys above have no clustering in them."""
    torch = pytest.importorskip("torch")
    import models as networks
    from hc_deploy.export.onnx import export_onnx, save_onnx
    from tests.video.toys import toy_spec

    torch.manual_seed(0)
    net = networks.build("hcfcn32_resnet18", width=8).eval()
    spec = toy_spec(level=2, batch=1, height=64, width=96)
    save_onnx(export_onnx(net, spec), tmp_path / "model.onnx")
    cv2.imwrite(str(tmp_path / "a.png"), photograph(101, 150))
    cli("infer", "model.onnx", "a.png", "-o", "out", "--superpixels", "--no-legend", "--alpha", "0", code=0)
    drawn = cv2.imread(str(tmp_path / "out/a_overlay.png"))
    lines = (drawn == (0, 255, 255)).all(axis=2)
    assert 0.01 < lines.mean() < 0.9
    assert np.array_equal(drawn[~lines], photograph(101, 150)[~lines])
