import json
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from helpers import tiny_onnx

import headcount
from headcount.inference import engines
from headcount.inference.engines import (
    CALIBRATION,
    EngineError,
    ModelMeta,
    OpenVINOEngine,
    TorchEngine,
    base,
    open_engine,
)
from headcount.inference.engines.openvino_engine import choose_precision
from headcount.io.images import read_image
from headcount.models import counting_model as models
from headcount.models import serialization

SIZES = ((213, 331), (333, 222), (187, 251))  # height, width: odd
EXPORTED_FILE = Path("model.onnx")
ONNX_ENGINES = [name for name, engine in engines.ENGINES.items() if engine.reads(EXPORTED_FILE)]


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A random network with a mask, a positive density and uncertainty, as a checkpoint folder and an .onnx file."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("exported")
    model = models.CountingModel(models.ModelConfig(name="random", backbone="multiscale", fusion="feature_zip"))
    serialization.save(model, folder / "best")
    weights = torch.randn(model.backbone.channels).mul(0.1).tolist()
    (folder / "best" / CALIBRATION).write_text(json.dumps({"uncertainty": {"weights": weights, "bias": -0.2}}))
    headcount.export(folder / "best", folder / "random.onnx")
    return folder


@pytest.fixture(scope="module")
def published(shared, tmp_path_factory):
    """The published MCNN, trained on Part A: its .h5 file, an .onnx file of its weights as they are (so that what
    differs is the engine), and three photos at odd sizes."""
    pytest.importorskip("h5py", reason="reading the published MCNN needs h5py")
    path = tmp_path_factory.mktemp("published") / "mcnn.onnx"
    weights = shared / "weights" / "mcnn_shtechA_660.h5"
    headcount.export(weights, path, precision="fp32")
    photos = sorted((shared / "data" / "shanghaitech" / "part_A" / "train_data" / "images").glob("*.jpg"))[:3]
    sized = zip(photos, SIZES, strict=True)
    images = [cv2.resize(read_image(p), (w, h), interpolation=cv2.INTER_AREA)[None] for p, (h, w) in sized]
    return weights, path, images


def noise(height, width, seed=0, n=1):
    return np.random.default_rng(seed).integers(0, 256, (n, height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("engine", ONNX_ENGINES)
def test_engines_agree_with_torch(exported, engine):
    reference = open_engine(exported / "best")
    tested = open_engine(exported / "random.onnx", engine, "fp32")
    assert reference.name.startswith("torch") and tested.name.startswith(engine)
    assert (tested.precision, tested.meta) == ("fp32", reference.meta)
    for height, width in SIZES:
        image = noise(height, width)
        expected, found = reference.run(image), tested.run(image)
        for one, other in zip(expected, found, strict=True):
            assert one.shape == other.shape == (1, -(-height // 4), -(-width // 4))
            assert one.dtype == other.dtype == np.float32
            np.testing.assert_allclose(other, one, atol=0.02)  # cells; the weights are stored in half precision
        assert found[0].sum() == pytest.approx(expected[0].sum(), rel=1e-3)


@pytest.mark.parametrize("engine", ONNX_ENGINES)
def test_engines_agree_with_torch_on_photos(published, engine):
    weights, path, images = published
    reference, tested = open_engine(weights), open_engine(path, engine, "fp32")
    for image in images:
        expected = reference.run(image)[0].sum()
        assert expected > 20
        assert tested.run(image)[0].sum() == pytest.approx(expected, rel=1e-3)


def test_half_precision_agrees_to_one_percent_on_photos(published):
    weights, path, images = published
    reference, tested = open_engine(weights), open_engine(path)
    if tested.precision == "fp32":
        pytest.skip("this CPU computes in fp32 only")
    for image in images:
        assert tested.run(image)[0].sum() == pytest.approx(reference.run(image)[0].sum(), rel=1e-2)


def test_a_batch_is_its_images_one_by_one(exported):
    for engine in (open_engine(exported / "random.onnx", "openvino", "fp32"), open_engine(exported / "best")):
        batch = noise(45, 61, n=3)
        density, mask, _ = engine.run(batch)
        assert density.shape == mask.shape == (3, 12, 16)
        for i in range(3):
            np.testing.assert_allclose(density[i], engine.run(batch[i : i + 1])[0][0], rtol=1e-3, atol=1e-5)


def test_threads_may_share_an_engine_and_results_are_kept(tmp_path):
    """The next run must not write over the last one's result."""
    engine = open_engine(tiny_onnx.white_pixels(tmp_path / "white.onnx"), "openvino", "fp32")
    results = {}

    def count(people):
        results[people] = [engine.run(tiny_onnx.dots(people)[None])[0] for _ in range(20)]

    threads = [threading.Thread(target=count, args=(people,)) for people in (1, 5, 9)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    for people, densities in results.items():
        assert [d.sum() for d in densities] == pytest.approx([people] * 20, rel=1e-5)


def test_a_signal_after_models_were_opened_and_closed_does_not_kill(exported):
    """OpenVINO installs a stack for signals and restores the previous one; see openvino_engine.shared_core."""
    script = f"""
import os, signal
from headcount.inference.engines import OpenVINOEngine
signal.signal(signal.SIGUSR1, lambda *_: print("alive"))
first, second = (OpenVINOEngine({str(exported / "random.onnx")!r}) for _ in range(2))
del first
del second
os.kill(os.getpid(), signal.SIGUSR1)
"""
    done = subprocess.run([sys.executable, "-X", "faulthandler", "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "alive\n"), done.stderr


def test_auto_takes_the_engine_that_fits_and_its_own_precision(exported):
    import openvino

    own = openvino.Core().get_property("CPU", "INFERENCE_PRECISION_HINT").to_string()
    best = {"f32": "fp32", "f16": "fp16", "bf16": "bf16"}[own]
    opened = open_engine(exported / "random.onnx")
    assert (opened.name, opened.precision) == ("openvino", best)
    assert open_engine(exported / "best").name.startswith("torch")
    assert opened.compiled.get_property("INFERENCE_PRECISION_HINT").to_string() == own


class Processor:
    """OpenVINO's core on a processor that is fastest in one precision and computes in some."""

    def __init__(self, own, *able):
        self.properties = {"OPTIMIZATION_CAPABILITIES": ["FP32", *able], "INFERENCE_PRECISION_HINT": SimpleNamespace()}
        self.properties["INFERENCE_PRECISION_HINT"].to_string = lambda: own

    def get_property(self, device, name):
        return self.properties[name]


@pytest.mark.parametrize(
    ("processor", "changes", "chosen"),
    [
        (Processor("bf16", "BF16", "FP16"), {}, "bf16"),
        (Processor("bf16", "BF16", "FP16"), {"bf16": 0.004, "fp16": 0.02}, "bf16"),
        (Processor("bf16", "BF16", "FP16"), {"bf16": 0.02, "fp16": 0.001}, "fp32"),
        (Processor("f16", "FP16"), {}, "fp16"),
        (Processor("f32", "FP16"), {}, "fp32"),  # computes in fp16, but is faster in fp32
    ],
)
def test_auto_follows_openvino_unless_counts_move(processor, changes, chosen):
    assert choose_precision(processor, "auto", changes) == chosen
    assert choose_precision(processor, "fp32", changes) == "fp32"


def test_every_mistake_is_one_line_that_says_what_to_do(exported, tmp_path):
    model = exported / "random.onnx"
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(model.read_bytes()[:5000])
    (tmp_path / "folder").mkdir()
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    (damaged / "config.json").write_text("{")
    cases = [
        ((model, "abacus"), "openvino, onnxruntime or torch"),
        ((model, "openvino", "fp8"), "auto, fp32, fp16, bf16 or int8"),
        ((model, "openvino", "int8"), "is not quantized; make an int8 file with: headcount export"),
        ((model, "onnxruntime", "int8"), "is not quantized"),
        ((exported / "best", "torch", "int8"), "--precision int8"),
        ((model, "onnxruntime", "bf16"), "auto or fp32"),
        ((model, "torch"), "openvino or onnxruntime"),
        ((exported / "best", "openvino"), "export"),
        ((tmp_path / "none.onnx",), "no such model"),
        ((tmp_path / "folder",), "config.json"),
        ((damaged,), "damaged"),
        ((broken, "openvino"), "broken.onnx"),
        ((broken, "onnxruntime"), "broken.onnx"),
    ]
    for arguments, says in cases:
        with pytest.raises(EngineError) as caught:
            open_engine(*arguments)
        assert says in str(caught.value) and "\n" not in str(caught.value)


def test_someone_elses_onnx_file_is_refused(tmp_path):
    import onnx

    path = tiny_onnx.white_pixels(tmp_path / "other.onnx")
    model = onnx.load(path)
    del model.metadata_props[:]
    onnx.save(model, path)
    for engine in ONNX_ENGINES:
        with pytest.raises(EngineError, match="other.onnx: its metadata"):
            open_engine(path, engine)


def test_an_exported_file_that_changed_is_refused_before_a_runtime_sees_it(exported, tmp_path):
    """One bit of one weight: no runtime would notice, and the counts would be others."""
    import onnx

    content = bytearray((exported / "random.onnx").read_bytes())
    onnx.checker.check_model(onnx.load(exported / "random.onnx"))  # the checksum is a field as any other
    file = tmp_path / "model.onnx"
    for place in (len(content) // 2, len(content) - 1):
        changed = content.copy()
        changed[place] ^= 1
        file.write_bytes(changed)
        with pytest.raises(EngineError, match="model.onnx: is damaged, or was changed"):
            open_engine(file)
    file.write_bytes(content[: len(content) // 2])
    with pytest.raises(EngineError, match="model.onnx"):
        open_engine(file)


def test_metadata_survives_as_text(tmp_path):
    meta = ModelMeta("a name", 8, 32, 160, min_side=448, data="Part A, 300 photos", metrics={"mae": 61.8, "n": 182})
    assert ModelMeta.from_strings(meta.to_strings(), tmp_path) == meta
    assert set(meta.to_strings()) == ModelMeta.stored_keys() and "blank" in ModelMeta.stored_keys()


def test_a_network_without_a_mask_gives_ones(tmp_path):
    model = models.CountingModel(models.ModelConfig(backbone="mcnn", fusion="plain"))
    density, mask, _ = TorchEngine(model).run(noise(33, 47))
    assert density.shape == mask.shape == (1, 9, 12) and (mask == 1).all()
    assert not TorchEngine(model).meta.mask


def test_an_unsupported_half_precision_is_not_silently_another(exported):
    import openvino

    if "FP16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        pytest.skip("this CPU computes in fp16")
    with pytest.raises(EngineError, match="no fp16"):
        OpenVINOEngine(exported / "random.onnx", "fp16")


def test_what_a_model_pads_with(exported, tmp_path):
    """The zero of its normalization, so that padded sizes count what the image's own size does."""
    assert open_engine(exported / "random.onnx").meta.padding_color == (
        128,
        128,
        128,
    )  # the light backbone's grey 127.5
    lite = models.CountingModel(models.ModelConfig(backbone="lite0", fusion="feature_zip", width=16))
    assert TorchEngine(lite).meta.padding_color == (127, 127, 127)
    shrinking = models.CountingModel(models.ModelConfig(backbone="mcnn", shrink=True))
    assert TorchEngine(shrinking).meta.padding_color == ()
    with pytest.raises(EngineError, match="metadata"):
        ModelMeta.from_strings({**ModelMeta("m", 8, 32, 160).to_strings(), "blank": "[1, 2]"}, tmp_path)


def test_no_more_threads_than_cores_that_may_be_used(monkeypatch, tmp_path):
    monkeypatch.setattr(base.os, "sched_getaffinity", lambda _: {0, 1, 2, 3}, raising=False)
    for quota, cores in (("max 100000", 4), ("150000 100000", 2), ("20000 100000", 1), ("900000 100000", 4), ("", 4)):
        (tmp_path / "cpu.max").write_text(quota)
        monkeypatch.setattr(base, "QUOTA", tmp_path / "cpu.max")
        assert engines.usable_cores() == cores
    monkeypatch.setattr(base, "QUOTA", tmp_path / "none")
    assert engines.usable_cores() == 4


def test_compiled_models_are_kept_where_that_is_asked_for(exported, tmp_path, monkeypatch):
    before = open_engine(exported / "random.onnx", "openvino", "fp32").run(noise(40, 40))[0]
    monkeypatch.setenv("HEADCOUNT_CACHE", str(tmp_path / "kept"))
    for _ in range(2):
        after = open_engine(exported / "random.onnx", "openvino", "fp32").run(noise(40, 40))[0]
        np.testing.assert_allclose(after, before, rtol=1e-4)
    assert len(list((tmp_path / "kept").glob("*.blob"))) == 1


def test_every_engine_reads_one_kind_of_file_and_its_name_is_a_package():
    exported_file, checkpoint = Path("model.onnx"), Path("run/best")
    for name, engine in engines.ENGINES.items():
        assert engine.reads(exported_file) != engine.reads(checkpoint), name
        assert engines.installed(name)
    assert engines.choose(exported_file) == "openvino" and engines.choose(checkpoint) == "torch"


@pytest.mark.parametrize(
    ("missing", "chosen"), [("openvino", "onnxruntime"), ("onnxruntime", "openvino"), ("", "openvino")]
)
def test_auto_takes_the_first_installed_engine(monkeypatch, missing, chosen):
    monkeypatch.setattr(engines, "installed", lambda name: name != missing)
    assert engines.choose(Path("model.onnx")) == chosen


def test_without_any_runtime_auto_names_the_first(monkeypatch):
    monkeypatch.setattr(engines, "installed", lambda name: False)
    assert (engines.choose(Path("m.onnx")), engines.choose(Path("run"))) == ("openvino", "torch")


def test_a_new_engine_is_a_class_and_a_line_in_the_registry(exported, monkeypatch):
    class Doubled(OpenVINOEngine):
        def run(self, images):
            maps = super().run(images)
            return maps._replace(density=2 * maps.density)

    monkeypatch.setitem(engines.ENGINES, "doubled", Doubled)
    path, image = exported / "random.onnx", noise(45, 61)
    plain, doubled = (open_engine(path, name, "fp32").run(image)[0].sum() for name in ("openvino", "doubled"))
    assert doubled == pytest.approx(2 * plain, rel=1e-5)
    with pytest.raises(EngineError, match="auto, openvino, onnxruntime, torch or doubled"):
        open_engine(path, "abacus")


def test_one_torch_engine_follows_a_network_that_is_being_trained():
    """The engine is built once; later runs count with the weights of that moment, in eval mode."""
    torch.manual_seed(0)
    model = models.CountingModel(models.ModelConfig(backbone="multiscale", fusion="feature_gt", width=8)).train()
    engine, image = TorchEngine(model, "fp32"), noise(33, 47)
    before = engine.run(image)[0]
    assert model.training and all(module.training for module in model.modules()), "its mode is as it was"
    with torch.no_grad():
        model.head.regressor[-1].bias += 1.0
    after = engine.run(image)[0]
    np.testing.assert_allclose(after, before + 1.0, rtol=1e-4)
    model.eval()
    np.testing.assert_array_equal(engine.run(image)[0], after)
    assert not model.training


def test_describing_a_network_computes_nothing(exported):
    model = serialization.load(exported / "best")
    model.forward = None  # any use of it would fail
    meta = engines.describe(model, exported / "best")
    assert (meta.name, meta.stride, meta.mask) == ("random", 4, True)
    assert meta == open_engine(exported / "random.onnx").meta


def test_importing_openvino_does_not_report_the_start():
    code = "import sys\nfrom headcount.inference.engines.base import import_runtime\n"
    code += "import_runtime('openvino', 'openvino', 'm'); assert sys.modules['openvino_telemetry'] is None"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_a_runtime_that_is_missing_is_named_with_its_installation():
    with pytest.raises(EngineError, match=r"m\.onnx: running it needs no_such_runtime; .*pip install '\.\[train\]'"):
        base.import_runtime("no_such_runtime", "train", "m.onnx")
