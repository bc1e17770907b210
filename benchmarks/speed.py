"""How fast headcount counts and how much memory it takes, compared with the field's networks and with this machine.

    python benchmarks/speed.py                          # about ten minutes on two cores
    HEADCOUNT_MODEL=my.onnx python benchmarks/speed.py  # another model than the default
    python benchmarks/speed.py --only networks          # or: start, folder, tiles, video, loader
    python benchmarks/speed.py --only memory            # not run by default: it takes an hour on two cores

What is compared is timed in turns in one run, so that a busy machine is equally busy for all. The medians and the
ratios are printed. The published networks run in torch, eager, fp32, as their authors run them; their weights do not
affect the time. The folder holds rendered crowds, or your own photos with --images.
"""

import argparse
import json
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import median

import cv2
import numpy as np
import torch

import headcount
from headcount.inference import tiling
from headcount.inference.engines import open_engine, usable_cores
from headcount.inference.pretrained import WEIGHTS, find_model
from headcount.io.images import IMAGE_SUFFIXES, read_image, write_image
from headcount.models.complexity import multiply_adds
from headcount.models.counting_model import CountingModel, ModelConfig
from headcount.synthetic.scenes import render
from headcount.training.config import load_recipe

SIZES = {"576x768": (576, 768), "1080p": (1080, 1920), "4K": (2160, 3840)}
MODEL = os.environ.get("HEADCOUNT_MODEL")  # another than the default
LEAST_AGAINST_CSRNET = 20.0
LEAST_OF_FOLDER = 1.5
LEAST_OF_VIDEO = 0.6
MOST_OF_TILES = 1.05
MOST_OF_START = 1.2  # seconds
MOST_MEMORY = 1.5  # GB, for images of any size
PARTS = ["networks", "start", "folder", "tiles", "video", "loader"]
HUGE_SIZES = {"48 megapixels": (6000, 8000), "100 megapixels": (8700, 11500)}  # height, width

# Without torch, as `headcount count` runs.
COUNT_HUGE = """
import sys, headcount
result = headcount.load(sys.argv[2]).count(sys.argv[1])
peak = open("/proc/self/status").read().split("VmHWM:")[1].split()[0]
print(result.seconds, int(peak) * 1024 / 1e9)
"""


def in_turns(candidates: dict[str, Callable[[], object]], rounds: dict[str, int]) -> dict[str, float]:
    """Median seconds of each, one after another, `rounds` times; each has run once before."""
    for run in candidates.values():
        run()
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for turn in range(max(rounds.values())):
        for name, run in candidates.items():
            if turn < rounds[name]:
                began = time.perf_counter()
                run()
                seconds[name].append(time.perf_counter() - began)
    return {name: median(values) for name, values in seconds.items()}


def torch_network(kind: str) -> CountingModel:
    """A network in torch, its weights random: csrnet, mcnn, or headcount-small's."""
    torch.manual_seed(0)
    if kind in ("csrnet", "mcnn"):
        return CountingModel(ModelConfig(name=kind, backbone=kind)).eval()
    return CountingModel(load_recipe("headcount-small").model).eval()


def peaks() -> dict[str, float]:
    """Multiply-adds a second of a large matrix product, in fp32 and bf16: what the machine can do."""
    found = {}
    for name, kind in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        a, b = (torch.randn(2048, 2048).to(kind) for _ in range(2))
        times = []
        for _ in range(30):
            began = time.perf_counter()
            a @ b
            times.append(time.perf_counter() - began)
        found[name] = 2048**3 / min(times)
    return found


def memory(kind: str, size: str) -> float:
    """Peak resident MB of a process that counts one image of this size."""
    command = [sys.executable, __file__, "--memory", kind, size]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def peak_memory() -> float:
    """Peak resident MB of this process. The figure of getrusage would start at the parent's."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def memory_here(kind: str, size: str) -> None:
    runner(kind)(np.zeros((*SIZES[size], 3), np.uint8))
    print(peak_memory())


def runner(kind: str) -> Callable[[np.ndarray], object]:
    """What counts an image uint8 (H,W,3), by its name in the table below."""
    if kind == "headcount":
        counter = headcount.load(MODEL)
        return counter.count
    if kind in ("openvino fp32", "onnxruntime fp32"):
        engine = open_engine(find_model(MODEL), kind.split()[0], "fp32")
        return lambda image: tiling.run(engine, [image])
    network = torch_network(kind.removeprefix("torch "))

    def count(image: np.ndarray) -> float:
        with torch.inference_mode():
            return float(network(torch.from_numpy(image).permute(2, 0, 1)[None]).density.sum())

    return count


def networks(sizes: list[str]) -> None:
    """headcount's default against CSRNet, MCNN and its own network in torch, and the same model in fp32 engines."""
    kinds = ["headcount", "openvino fp32", "onnxruntime fp32", "torch lite", "torch mcnn", "torch csrnet"]
    peak = peaks()
    print(f"{usable_cores()} cores; measured peak {', '.join(f'{k} {v / 1e9:,.0f} GMAC/s' for k, v in peak.items())}")
    runners = {kind: runner(kind) for kind in kinds}
    precision = headcount.load(MODEL).engine.precision
    for size in sizes:
        height, width = SIZES[size]
        image = render(1, people=200, width=width, height=height).image
        rounds = dict.fromkeys(kinds, 3)
        if size == "576x768":
            rounds = dict.fromkeys(kinds, 15) | {"torch csrnet": 5}
        if size == "4K":
            rounds["torch csrnet"] = 1
        seconds = in_turns({kind: partial(runners[kind], image) for kind in kinds}, rounds)
        print(f"\n{size:22}{'ms':>9}{'images/s':>10}{'speed':>8}{'GMAC':>8}{'GMAC/s':>8}{'of peak':>9}{'MB':>7}")
        for kind in kinds:
            network = "lite" if not kind.startswith("torch") else kind.removeprefix("torch ")
            work = multiply_adds(torch_network(network), height, width)
            limit = peak["bf16" if kind == "headcount" and precision != "fp32" else "fp32"]
            name = f"headcount {precision}" if kind == "headcount" else kind
            print(
                f"{name:22}{seconds[kind] * 1e3:9.1f}{1 / seconds[kind]:10.2f}"
                f"{seconds['torch csrnet'] / seconds[kind]:7.1f}x{work / 1e9:8.1f}{work / seconds[kind] / 1e9:8.0f}"
                f"{work / seconds[kind] / limit:9.0%}{memory(kind, size):7.0f}"
            )
        if size == "576x768":
            promise("times CSRNet's speed", seconds["torch csrnet"] / seconds["headcount"], LEAST_AGAINST_CSRNET)
            promise("times ONNX Runtime's", seconds["onnxruntime fp32"] / seconds["headcount"], 1.0)


def start(folder: Path) -> None:
    """A cold `headcount count one.jpg`, in seconds of process time beyond the interpreter's own."""
    write_image(folder / "one.jpg", render(1, people=100, width=768, height=576).image)

    def cpu_seconds(*command: str) -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, *command], check=True, stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    command = ("-m", "headcount", "count", str(folder / "one.jpg"), *(["--model", MODEL] if MODEL else []))
    wall = in_turns({"count": lambda: cpu_seconds(*command)}, {"count": 7})["count"]
    spent = median(cpu_seconds(*command) for _ in range(7)) - median(cpu_seconds("-c", "pass") for _ in range(7))
    print(f"\ncold start: {wall:.2f} s of wall time")
    promise("s of process time beyond the interpreter's", spent, MOST_OF_START, most=True)


def some_images(folder: Path, images: Path | None, count: int) -> list[Path]:
    """`count` images of mixed sizes: yours, or rendered ones as JPEG files."""
    if images:
        return sorted(p for p in images.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES)[:count]
    random = np.random.default_rng(0)
    made = []
    for i in range(count):
        width, height = (int(n) for n in random.integers((600, 440), (1024, 768)))
        made.append(folder / f"{i}.jpg")
        write_image(made[-1], render(i % 20, people=150, width=width, height=height).image)
    return made


def folder_of_photos(folder: Path, images: Path | None) -> None:
    """A folder through `count_many`, against one `Counter.count` after another, with and without padded sizes.

    Without padding every image has its own size, as an engine is usually called. In turns of fifty images.
    """
    paths = some_images(folder, images, 300)
    one_by_one, many, unpadded = (headcount.load(MODEL) for _ in range(3))
    unpadded.engine.meta = replace(unpadded.engine.meta, padding_color=())
    rates: dict[str, float] = {"own size": 0.0, "one by one": 0.0, "folder": 0.0}
    for first in range(0, len(paths), 50):
        part = paths[first : first + 50]
        times = [time.perf_counter()]
        for path in part:
            unpadded.count(path)
        times.append(time.perf_counter())
        separate = [one_by_one.count(path).count for path in part]
        times.append(time.perf_counter())
        together = [result.count for result in many.count_many(part)]
        times.append(time.perf_counter())
        assert separate == together, "a folder counts what its images count"
        for name, (began, ended) in zip(rates, pairwise(times), strict=True):
            rates[name] += ended - began
    rates = {name: len(paths) / seconds for name, seconds in rates.items()}
    sizes = {tiling.padded_size(read_image(path).shape, many.engine.meta) for path in paths}
    print(f"\n{len(paths)} photos, {len(sizes)} padded sizes, a second:", end=" ")
    print(", ".join(f"{name} {rate:.1f}" for name, rate in rates.items()))
    promise("times one-at-a-time calls", rates["folder"] / rates["one by one"], LEAST_OF_FOLDER)
    promise("times one-at-a-time calls at the images' own sizes", rates["folder"] / rates["own size"], LEAST_OF_FOLDER)


def tiles() -> None:
    """An image in windows against the same image whole."""
    engine = headcount.load(MODEL).engine
    image = np.tile(render(1, people=300, width=1000, height=750).image, (4, 4, 1))  # 12 megapixels
    maps = {}
    for name, most in (("whole", 10**9), ("windows", None)):
        maps[name] = lambda most=most: tiling.run(engine, [image], most)[0][0].sum(dtype=np.float64)
    seconds = in_turns(maps, {"whole": 3, "windows": 3})
    whole, cut = maps["whole"](), maps["windows"]()
    print(f"\n12 megapixels: whole {seconds['whole']:.2f} s, in windows {seconds['windows']:.2f} s;", end="")
    print(f" counts {whole:.1f} and {cut:.1f}: {abs(cut - whole) / whole:.3%} apart")
    promise("times the whole image's time", seconds["windows"] / seconds["whole"], MOST_OF_TILES, most=True)


def huge_images(folder: Path) -> None:
    """Peak memory of counting very large images with each bundled model, in a process each."""
    crowd = render(1, people=300, width=1000, height=750).image
    models = [MODEL] if MODEL else sorted(path.stem for path in WEIGHTS.glob("*.onnx"))
    for size, (height, width) in HUGE_SIZES.items():
        path = folder / "huge.jpg"
        write_image(path, np.tile(crowd, (math.ceil(height / 750), math.ceil(width / 1000), 1))[:height, :width])
        for model in models:
            command = [sys.executable, "-c", COUNT_HUGE, str(path), model]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            seconds, gigabytes = (float(number) for number in done.stdout.split())
            print(f"\n{model}, {size}: {seconds:.0f} s")
            promise("GB resident", gigabytes, MOST_MEMORY, most=True)


def video(folder: Path) -> None:
    """1080p frames, every one of them, against the same number of frames that are in memory already."""
    from headcount.io.video_writer import write_video

    frames = [render(seed, people=200, width=1920, height=1080).image for seed in range(3)]
    shifted = [np.roll(frames[i % 3], 4 * i, axis=1) for i in range(40)]
    path = folder / "clip.mp4"
    write_video(path, shifted, 25)
    counter = headcount.load(MODEL)
    counter.count(frames[0])
    began = time.perf_counter()
    for frame in shifted:
        counter.count(frame)
    alone = time.perf_counter() - began
    began = time.perf_counter()
    counted = sum(1 for _ in counter.count_video(path, every="1f"))
    whole = time.perf_counter() - began
    print(f"\n1080p video: {counted / whole:.2f} frames a second, inference alone {len(shifted) / alone:.2f}")
    promise("of what inference alone gives", counted / whole / (len(shifted) / alone), LEAST_OF_VIDEO)


def loader() -> None:
    """Training crops with their targets a second, on one core, and the share of a training step that they take."""
    from headcount.training.dataset import Crops
    from headcount.training.images import rendered_images

    config = replace(load_recipe("headcount-small").data, rendered_scenes=8)
    crops = Crops([(1.0, rendered_images(config, 1))], config, stride=8, seed=1)
    torch.set_num_threads(1)
    began = time.perf_counter()
    for index in range(60):
        crops[index]
    rate = 60 / (time.perf_counter() - began)
    torch.set_num_threads(usable_cores())
    print(f"\nloader: {rate:.0f} crops of {config.crop[0]}x{config.crop[1]} a second on one core, targets included")


def promise(what: str, value: float, limit: float, most: bool = False) -> None:
    kept = value <= limit if most else value >= limit
    print(f"  {value:.2f} {what}; {'at most' if most else 'at least'} {limit:g} {'is kept' if kept else 'IS MISSED'}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=[*PARTS, "memory"], action="append")
    parser.add_argument("--size", choices=list(SIZES), action="append", help="of the networks' images; all by default")
    parser.add_argument("--images", type=Path, help="a folder of your own photos, instead of rendered ones")
    parser.add_argument("--memory", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    torch.set_num_threads(usable_cores())
    cv2.setNumThreads(usable_cores())
    if given.memory:
        memory_here(*given.memory)
        return
    chosen = given.only or PARTS
    with tempfile.TemporaryDirectory() as folder:
        if "networks" in chosen:
            networks(given.size or list(SIZES))
        if "start" in chosen:
            start(Path(folder))
        if "folder" in chosen:
            folder_of_photos(Path(folder), given.images)
        if "tiles" in chosen:
            tiles()
        if "memory" in chosen:
            huge_images(Path(folder))
        if "video" in chosen:
            video(Path(folder))
        if "loader" in chosen:
            loader()


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", str(usable_cores()))
    main()
