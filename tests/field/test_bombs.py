"""Small files and short options that ask for gigabytes, minutes or depth: each ends in one error, cheaply."""

import json
import struct
import zlib
from dataclasses import asdict, replace

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from hc_deploy.engine.options import BuildOptions, Shape, ShapeRange
from hc_deploy.engine.sidecar import FileRecord, Layers, Sidecar, read_sidecar, sidecar_path
from hc_deploy.errors import DeployError, UsageError
from hc_deploy.export.checkpoint import CheckpointInfo, parse_info
from hc_deploy.export.memory import largest_layer_bytes, require_network_memory
from hc_deploy.runtime import open_session
from hc_deploy.runtime.image import prepare
from hc_deploy.spec import ModelSpec, parse_size
from hc_deploy.system import limits
from hc_deploy.system.strict_json import Mismatch, decode, parse, read_json
from hc_deploy.video.header import claimed_size
from hc_deploy.video.images import read_image
from hc_deploy.video.sources import open_source
from tests.bench.fakes import make_report
from tests.field.small_models import ROOT, run, save, spec_fields

SIDE = 30_000


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(height, width):
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(1_000_000), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def jpeg(height, width, *, before=b""):
    frame = struct.pack(">HBHHB", 17, 8, height, width, 3) + bytes([1, 0x11, 0, 2, 0x11, 0, 3, 0x11, 0])
    return b"\xff\xd8" + before + b"\xff\xc0" + frame + b"\xff\xda\0\x0c\x03\x01\0\x02\0\x03\0\0\x3f\0" + b"\xff\xd9"


def tiff(height, width, *, order="<", tile=None):
    entries = [(256, 4, width), (257, 4, height), (258, 3, 8), (259, 3, 8), (262, 3, 1), (277, 3, 1)]
    entries += [] if tile is None else [(322, 4, tile), (323, 4, tile)]
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "IH", 8, len(entries))
    packed = b"".join(
        struct.pack(order + "HHI", tag, kind, 1)
        + (struct.pack(order + "HH", value, 0) if kind == 3 else struct.pack(order + "I", value))
        for tag, kind, value in entries
    )  # fmt: skip
    return head + packed + bytes(4)


def webp(height, width):
    canvas = bytes(4) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    body = b"WEBPVP8X" + struct.pack("<I", 10) + canvas
    return b"RIFF" + struct.pack("<I", len(body)) + body


def lossless_webp(height, width):
    body = b"WEBPVP8L" + struct.pack("<IBI", 5, 0x2F, (width - 1) | (height - 1) << 14)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def bmp(height, width):
    return b"BM" + struct.pack("<IHHIIiiHH", 54, 0, 0, 54, 40, width, height, 1, 24) + bytes(24)


THUMBNAIL = b"\xff\xe1" + struct.pack(">H", 200) + jpeg(16, 16).ljust(198, b"\0")
BOMBS = {
    "bomb.png": (png(SIDE, SIDE), "30000x30000"),
    "bomb.jpg": (jpeg(SIDE, SIDE), "30000x30000"),
    "thumbnail.jpg": (jpeg(SIDE, 20_000, before=THUMBNAIL), "20000x30000"),
    "bomb.tif": (tiff(SIDE, SIDE), "30000x30000"),
    "motorola.tiff": (tiff(SIDE, SIDE - 1, order=">"), "29999x30000"),
    "tiles.tif": (tiff(16, 16, tile=2**15), "32768x32768"),
    "bomb.webp": (webp(16_384, 16_000), "16000x16384"),
    "lossless.webp": (lossless_webp(16_384, 16_383), "16383x16384"),
    "bomb.bmp": (bmp(-SIDE, SIDE), "30000x30000"),
    "bomb.ppm": (b"P6 # a comment\n30000 # another\n 30000\n255\n" + bytes(10), "30000x30000"),
    "digits.pgm": (b"P5\n" + b"9" * 5000 + b" 1\n255\n", "9999999999x1"),
    "bomb.gif.png": (b"GIF89a" + struct.pack("<HH", 60_000, 60_001) + bytes(10), "60000x60001"),
    "thin.png": (png(1, 2**20), "1048576x1"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_an_image_is_measured_before_it_is_decoded(tmp_path, monkeypatch, name):
    data, size = BOMBS[name]
    (tmp_path / name).write_bytes(data)
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("it was decoded"))
    for read in (read_image, lambda path: open_source(str(path))):
        with pytest.raises(DeployError, match="the limit is") as caught:
            read(tmp_path / name)
        assert size in caught.value.received and caught.value.expected and caught.value.mend


def test_a_folder_of_bombs_costs_little(tmp_path):
    for name, (data, _) in BOMBS.items():
        (tmp_path / f"of_{name.replace('.', '_')}.{name.split('.')[-1]}").write_bytes(data)
    model = save(tmp_path / "model.onnx", spec_fields())
    ended = run("-m", "hc_deploy", "infer", model, *sorted(tmp_path.glob("of_*")), "-o", "out", cwd=tmp_path)
    assert ended.code == 1 and ended.err.count("error: ") == 1
    assert ended.err.count("the limit is") == len(BOMBS) and f"{len(BOMBS)} of {len(BOMBS)} images" in ended.err


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tiff", ".webp", ".bmp", ".ppm", ".pgm", ".pbm", ".gif", ".jp2"])
def test_the_header_says_what_the_decoder_finds(suffix):
    for height, width in ((37, 53), (1, 1), (211, 7)):
        colour = suffix not in (".pgm", ".pbm")
        image = np.random.default_rng(0).integers(0, 256, (height, width, 3) if colour else (height, width), np.uint8)
        try:
            data = np.asarray(cv2.imencode(suffix, image)[1]).tobytes()
        except cv2.error:
            data = b""
        if not data:
            pytest.skip(f"this OpenCV writes no {suffix}")
        assert claimed_size(data) == (height, width) == cv2.imdecode(np.frombuffer(data, np.uint8), 1).shape[:2]
        for end in range(0, min(40, len(data))):
            claimed_size(data[:end])  # cut anywhere: an answer, or none


def test_an_image_that_does_not_fit_into_memory(tmp_path, monkeypatch):
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((100, 100, 3), np.uint8))
    monkeypatch.setattr(limits, "free_memory", lambda: 50_000)
    with pytest.raises(DeployError, match=r"a\.png, 100x100, needs at least") as caught:
        read_image(tmp_path / "a.png")
    assert not isinstance(caught.value, UsageError)


def test_a_huge_file_is_not_read(tmp_path):
    with (tmp_path / "a.png").open("wb") as file:
        file.truncate(10**12)  # sparse: it takes no room
    with pytest.raises(DeployError, match=r"a\.png has 1000\.0 GB"):
        read_image(tmp_path / "a.png")


JSON_BOMBS = {
    "deep lists": ("[" * 5000 + "]" * 5000, "nested too deeply"),
    "deep objects": ('{"a":' * 5000 + "1" + "}" * 5000, "nested too deeply"),
    "deep and cut": ("[" * 100_000, "nested too deeply"),
    "deep behind a text": ('["[", "\\"[", ' + "[" * 33 + "]" * 33 + "]", "nested too deeply"),
    "digits": ('{"a": 1' + "0" * 400 + "}", "number of 401 digits"),
    "digits after the point": ('{"a": 0.' + "1" * 400 + "}", "number of 402 digits"),
    "exponent": ('{"a": 1e999}', "holds 1e999"),
    "NaN": ('{"a": NaN}', "holds NaN"),
    "twice": ('{"schema": 1, "arch": "a", "arch": "b"}', "names arch twice"),
    "twice within": ('{"schema": 1, "options": {"x": 1, "x": 1}}', "names x twice"),
    "one of many twice": ("{" + ", ".join(f'"k{i}": 1' for i in range(200_000)) + ', "k7": 2}', "names k7 twice"),
    "entries": ("[" + "[]," * 3_000_000 + "[]]", "entries"),
    "a long name": ('{"' + "x" * 100_000 + '": 1}', "100000 letters"),
    "half a character": ('{"a": "\\ud800"}', "half a character"),
    "long": (" " * (49 << 20), "MiB"),
    "unterminated": ('{"a": "' + '\\"' * 1_000_000, "ends in the middle"),
}


def sidecar_beside(folder):
    path = folder / "model.engine"
    path.write_bytes(b"an engine")
    shape = Shape(1, 64, 64)
    Sidecar(
        spec=ModelSpec("fcn", ("road",), ((1, 2, 3),), batch=1, height=64, width=64),
        options=BuildOptions("tensorrt", "fp16", ShapeRange(shape, shape, shape)), version="10.16.1",
        engine=FileRecord.of(path), onnx=FileRecord("model.onnx", 3, "ab"), layers=Layers("network", 5),
        plugin=None, device=None, seconds=1.5, created="2026-01-01T00:00:00+00:00",
    ).write(path)  # fmt: skip
    return path


def read_as_spec(text, folder):
    ModelSpec.from_json(text, source="FILE")


def read_as_checkpoint(text, folder):
    parse_info({"hc_deploy": text}, source="FILE")


def read_as_report(text, folder):
    from hc_deploy.bench.report import read_report

    (folder / "FILE").write_text(text)
    read_report(folder / "FILE")


def read_as_sidecar(text, folder):
    path = sidecar_beside(folder)
    sidecar_path(path).write_text(text)
    read_sidecar(path)


@pytest.mark.parametrize("read", [read_as_spec, read_as_checkpoint, read_as_report, read_as_sidecar])
@pytest.mark.parametrize("case", JSON_BOMBS)
def test_one_reader_refuses_the_same_in_all_formats(tmp_path, read, case):
    text, says = JSON_BOMBS[case]
    with pytest.raises(DeployError, match=says) as caught:
        read(text, tmp_path)
    message = str(caught.value)
    assert ("FILE" in message or "model.engine.json" in message) and caught.value.expected and len(message) < 1000


def test_what_is_common_is_read():
    nested = "[" * 32 + "]" * 32
    assert json.dumps(parse(nested)) == nested
    assert parse('{"a": [1, -2.5e3, "\\ud83d\\ude00 [[[{{{", "\\\\ud800", null, true]}') == {
        "a": [1, -2500.0, "\U0001f600 [[[{{{", "\\ud800", None, True]
    }
    assert parse("9" * 40) == 10**40 - 1


def test_a_file_of_json_is_measured_before_it_is_read(tmp_path):
    with (tmp_path / "a.json").open("wb") as file:
        file.truncate(10**12)
    with pytest.raises(Mismatch, match="longer than 16 MiB"):
        read_json(tmp_path / "a.json")
    (tmp_path / "b.json").write_bytes(b'{"a": "\xff"}')
    with pytest.raises(Mismatch, match="not text"):
        read_json(tmp_path / "b.json")


def test_a_real_report_sidecar_checkpoint_and_spec_pass_the_reader():
    report = make_report({"fcn": 10.0, "hcfcn": 20.0})
    assert type(report).from_json(report.to_json(), source="x") == report
    info = CheckpointInfo(arch="a", options={"level": 1}, training={"steps": 3, "scores": {"miou": 0.5}})
    assert parse_info({"hc_deploy": json.dumps({"schema": 1, **asdict(info)})}, source="x") == info
    spec = ModelSpec("a", ("x",) * 300, ((1, 2, 3),) * 300, height=7, options={"deep": [[1.5, None]]})
    assert ModelSpec.from_json(spec.to_json(), source="x") == spec


def test_fields_with_defaults_may_be_missing_from_a_spec():
    spec = ModelSpec.from_json('{"schema": 1, "arch": "a", "classes": ["x"], "palette": [[1, 2, 3]]}', source="x")
    assert spec == ModelSpec("a", ("x",), ((1, 2, 3),))
    with pytest.raises(DeployError, match="lacks palette"):
        ModelSpec.from_json('{"schema": 1, "arch": "a", "classes": ["x"]}', source="x")


def test_long_values_are_cut_in_messages():
    for value in ("x" * 9_000, list(range(9_000)), {str(i): [i] for i in range(9_000)}, [[[1]]]):
        with pytest.raises(Mismatch) as caught:
            decode(int, value, "field")
        assert len(str(caught.value)) < 120


@pytest.mark.parametrize(
    "changed",
    [{"classes": ["x" * 100_000, "y"]}, {"classes": ["x" * 201, "y"]}, {"arch": "x" * 201},
     {"classes": ["x"] * 65_537, "palette": [[0, 0, 0]] * 65_537}, {"mean": [10**39, 0.0, 0.0], "std": [1.0, 1.0, 0]},
     {"batch": 10**30}, {"height": 40_000, "width": 40_000}, {"level": 10**39, "height": 10**39}],
    ids=lambda changed: "-".join(changed),
)  # fmt: skip
def test_metadata_beyond_the_limits(tmp_path, changed):
    path = save(tmp_path / "a.onnx", spec_fields(**changed))
    with pytest.raises(DeployError, match=r"a\.onnx") as caught:
        open_session(path)
    assert len(str(caught.value)) < 1000


def test_metadata_of_a_huge_size_on_an_open_graph(tmp_path, monkeypatch):
    """The graph takes any size, so it is no lie: the limit and the memory decide, before a frame is made."""
    anything = {"image": (2, ["b", "h", "w", 3]), "labels": (2, ["b", "h", "w"])}
    path = save(tmp_path / "a.onnx", spec_fields(height=40_000, width=40_000), **anything)
    with pytest.raises(DeployError, match="1600 million pixels"):
        open_session(path)
    path = save(tmp_path / "b.onnx", spec_fields(height=10_000, width=10_000, batch=64), **anything)
    monkeypatch.setattr(limits, "free_memory", lambda: 10**9)
    with pytest.raises(DeployError, match=r"64 images of 10000x10000 needs at least 96\.0 GB of memory; 1\.0 GB"):
        open_session(path)


def test_frames_beyond_memory_are_not_stacked(monkeypatch):
    monkeypatch.setattr(limits, "free_memory", lambda: 10**9)
    frame = np.zeros((2, 2, 3), np.uint8)
    with pytest.raises(UsageError, match="10000x10000 needs at least"):
        prepare([frame], ModelSpec("a", ("x",), ((0, 0, 0),), height=10_000, width=10_000))


@pytest.mark.parametrize(
    "text",
    ["1x1000000", "70000x1", "20000x20000", "9" * 5000 + "x1", "0x5", "5x0", "-1x5", "5x5x5", "5", "x", "", "5.0x5",
     "5x5\n", "٣x٣", "1e3x1e3", "5 x5", "0" * 3000 + "x5"],
)  # fmt: skip
def test_sizes_that_are_refused(text):
    with pytest.raises(UsageError, match="size '") as caught:
        parse_size(text)
    assert len(str(caught.value)) < 300
    with pytest.raises(UsageError):
        Shape.parse(f"1x{text}")


def test_sizes_that_are_fine():
    assert parse_size("512x1024") == (512, 1024) and parse_size("0033X65") == (33, 65)
    assert parse_size("13377x13377") == (13377, 13377)
    assert Shape.parse("4x512x1024") == Shape(4, 512, 1024)
    with pytest.raises(UsageError, match="a batch of 99999"):
        Shape.parse("99999x8x8")


HUGE = "9" * 30
EXPORT = (ROOT / "export.py", "--random-init", "--arch", "fcn32_resnet18")
BENCH = (ROOT / "bench.py", "run", "model.onnx", "-o", "r.json")
OPTIONS = {
    "size": (*EXPORT, "--size", "40000x40000"),
    "size of many digits": (*EXPORT, "--size", "9" * 5000 + "x8"),
    "batch": (*EXPORT, "--batch", HUGE),
    "batch that is no number": (*EXPORT, "--batch", "9" * 5000),
    "batch beyond memory": (*EXPORT, "--size", "13000x13000", "--batch", "4096"),
    "frame": (*BENCH, "--frame", "40000x40000"),
    "rounds": (*BENCH, "--rounds", HUGE),
    "warmup": (*BENCH, "--warmup", HUGE),
    "within": (*BENCH, "--within", "nan"),
    "seconds": (*BENCH, "--max-seconds", "inf"),
    "threads": (*BENCH, "--threads", HUGE),
    "regression": (ROOT / "bench.py", "compare", "a.json", "b.json", "--max-regression", "nan"),
    "alpha": ("-m", "hc_deploy", "infer", "model.onnx", "a.png", "-o", "out", "--alpha", "nan"),
    "hash": ("-m", "hc_deploy", "infer", "model.onnx", "a.png", "-o", "out", "--expect-sha256", "9" * 5000),
    "train": ("-m", "models.train", "fcn32_resnet18", "-o", "a.safetensors", "--batch", HUGE),
    "crop": ("-m", "models.train", "fcn32_resnet18", "-o", "a.safetensors", "--crop", "40000x40000"),
}


@pytest.mark.parametrize("case", OPTIONS)
def test_options_are_bounded_where_they_are_parsed(tmp_path, case):
    save(tmp_path / "model.onnx", spec_fields())
    ended = run(*OPTIONS[case], cwd=tmp_path)
    assert ended.code == 2 and ended.out == "", ended
    assert ended.err.lower().count("error") == 1 and len(ended.err) < 12_000


@pytest.mark.parametrize("option", ["min", "opt", "max"])
def test_shapes_of_an_engine_are_bounded(option):
    for text in ("1x40000x40000", "99999x8x8", "1x8x" + "9" * 5000):
        with pytest.raises(UsageError) as caught:
            Shape.parse(text)
        assert len(str(caught.value)) < 400
    shape = Shape(1, 64, 64)
    with pytest.raises(UsageError, match="--workspace"):
        BuildOptions("tensorrt", "fp16", ShapeRange(shape, shape, shape), workspace_mib=10**30)


def test_more_samples_than_a_report_holds_are_refused_before_they_are_taken(tmp_path):
    models = [f"m{index}=model.onnx" for index in range(7)]
    save(tmp_path / "model.onnx", spec_fields())
    ended = run(ROOT / "bench.py", "run", *models, "-o", "r.json", "--rounds", "100000", cwd=tmp_path)
    assert ended.code == 2 and "100000 rounds of 7 models" in ended.err and "--rounds 90476" in ended.err


def test_the_memory_of_a_network_is_known_before_it_runs(monkeypatch):
    """One convolution of 5 channels, stride 2: by hand; nothing of the size is allocated."""
    net = nn.Sequential(nn.Conv2d(3, 5, 3, stride=2, padding=1), nn.Conv2d(5, 2, 1))
    assert largest_layer_bytes(net, batch=7, height=33, width=65) == 4 * 7 * (3 * 33 * 65 + 5 * 17 * 33)
    assert largest_layer_bytes(net, batch=4096, height=60_000, width=60_001) == 4 * 4096 * (
        3 * 60_000 * 60_001 + 5 * 30_000 * 30_001
    )
    monkeypatch.setattr(limits, "free_memory", lambda: 10**6)
    with pytest.raises(UsageError, match=r"1x600x601, to be verified, needs at least 0\.0 GB"):
        require_network_memory(net, batch=1, height=600, width=601)


def test_a_network_that_looks_at_values_is_measured_as_far_as_it_goes():
    class Fickle(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Conv2d(3, 1, 1)

        def forward(self, image):
            first = self.first(image)
            return first if first.sum() > 0 else torch.zeros(1)

    assert largest_layer_bytes(Fickle(), batch=1, height=4, width=4) == 4 * 16 * (3 + 1)


def test_free_memory_is_the_least_of_what_limits_it(tmp_path, monkeypatch):
    (tmp_path / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable:   4000 kB\nSwapFree: 96 kB\n")
    (tmp_path / "max").write_text("1000000\n")
    (tmp_path / "current").write_text("400000\n")
    monkeypatch.setattr(limits, "MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(limits, "GROUP_LIMITS", ())
    monkeypatch.setattr(limits, "_of_process", lambda: None)
    assert limits.free_memory() == 4096 * 1024
    monkeypatch.setattr(limits, "GROUP_LIMITS", ((tmp_path / "max", tmp_path / "current"),))
    assert limits.free_memory() == 600_000
    (tmp_path / "max").write_text("max\n")
    assert limits.free_memory() == 4096 * 1024
    monkeypatch.setattr(limits, "MEMINFO", tmp_path / "none")
    assert limits.free_memory() is None
    limits.require_memory(10**18, what="it", mend="nothing")  # unknown: let it try


def test_a_report_of_the_most_rounds_is_read():
    from hc_deploy.bench.report import MOST_BYTES, MOST_ENTRIES, MOST_NS, MOST_SAMPLES

    assert MOST_SAMPLES * len(f"{MOST_NS}, ") < MOST_BYTES and MOST_SAMPLES < 0.97 * MOST_ENTRIES
    report = make_report({"fcn": 10.0, "hcfcn": 20.0})
    rounds = limits.MOST_ROUNDS
    samples = {clock: tuple(range(10**9, 10**9 + rounds)) for clock in ("engine", "transfer", "end_to_end")}
    models = tuple(replace(model, samples=replace(model.samples, **samples)) for model in report.models[:2])
    full = replace(report, models=models, workload=replace(report.workload, rounds=rounds))
    assert type(full).from_json(full.to_json(), source="x") == full
