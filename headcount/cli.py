"""The `headcount` command: thin doors to the rooms.

What is unusual: everything but cyclopts is imported inside the command that needs it, so a count from a cold
start pays for counting alone. Results go to stdout, everything else to stderr. Exit codes: 0 all well, 1 an
input failed (the others' results stand), 2 wrong usage, 130 stopped by Ctrl-C (what was counted until then
stands), 141 nobody reads stdout.
"""

from __future__ import annotations

import io
import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import cyclopts

from . import __version__
from .output import UsageError, check_target, draw, opened, progress, say, usage_errors
from .scale import RayOptions, count_on_ray
from .tally import CountOptions, EngineName, Precision, tally

# The extra that brings a package that is missing; train brings the others.
EXTRAS = dict.fromkeys(
    ("fastapi", "uvicorn", "prometheus_client", "multipart", "python_multipart", "starlette"), "serve"
) | dict.fromkeys(("ray", "pyarrow", "pandas"), "ray")

app = cyclopts.App(
    name="headcount",
    help="Count people in photos and video; train, evaluate, export and serve the models that do it.",
    version=__version__,
    suppress_keyboard_interrupt=False,
)


@app.command
def count(
    *inputs: Annotated[str, cyclopts.Parameter(json_list=False)],  # a name may begin with a bracket
    options: CountOptions = CountOptions(),  # noqa: B008  never changed
    scale: RayOptions = RayOptions(),  # noqa: B008
) -> int:
    """Count the people in photos, videos and cameras.

    Parameters
    ----------
    inputs
        Pictures, folders of them (which are searched through), videos, addresses (rtsp://...) and cameras' numbers.
    """
    if scale.ray:
        return count_on_ray(inputs, options, scale)
    if scale != RayOptions():
        raise UsageError("--paths, --retry, --part, --workers and --readers are options of --ray")
    return tally(inputs, options)


@app.command
def evaluate(
    data: Path,
    /,
    *,
    format: str = "auto",
    split: str = "test",
    model: Path | None = None,
    engine: EngineName = "auto",
    precision: Precision = "auto",
    radius: Annotated[list[float], cyclopts.Parameter(negative="", show_default=False)] = [],  # noqa: B006  never changed
    json: Path | None = None,
    csv: Path | None = None,
) -> int:
    """Measure a model on annotated pictures: MAE, RMSE (the papers' "MSE"), bias, by level and scene.

    Parameters
    ----------
    data
        Folder of the data set, or an annotation file.
    format
        As --from of headcount convert.
    split
        train, val, trainval, test; in ucf_cc_50 fold1-test and so on; all in most formats.
    model, engine, precision
        As in headcount count.
    radius
        Also match estimated dots with heads within so many pixels: precision, recall, F1; may be given again.
    json
        Write the whole report to this file.
    csv
        Write a line per picture to this file.
    """
    from .counter import load
    from .evaluate import evaluate as measure
    from .points import read

    check_target("--json", json)
    check_target("--csv", csv)
    with usage_errors():
        samples = read(data, format, split)
        counter = load(model, engine, precision)
    with progress(len(samples)) as step:
        report = measure(
            samples, counter, lambda done, total: step(), data=data, format=format, split=split, radii=radius
        )
    print(report.table())
    if json:
        report.to_json(json)
    if csv:
        report.to_csv(csv)
    return 1 if report.errors else 0


@app.command
def convert(
    source: Path,
    /,
    *,
    source_format: Annotated[str, cyclopts.Parameter(name="--from")] = "auto",
    to: Literal["csv", "json", "coco"] = "csv",
    out: Path,
    split: str | None = None,
    boxes: Literal["head", "centre"] | None = None,
    classes: str = "",
) -> int:
    """Write the annotations of a data set as one file that headcount trains on; pictures stay where they are.

    Parameters
    ----------
    source
        Folder of the data set, or an annotation file.
    source_format
        shanghaitech, ucf_cc_50, worldexpo, ucf_qnrf, nwpu, jhu, mall, ucsd, carpk, trancos, visdrone, p2pnet, yolo,
        voc, cvat, labelme, labelstudio, coco, json or csv; auto finds out.
    to
        The format to write. Where a data set says in which region to count, it must be json or coco.
    out
        The file to write. It moves together with the pictures below its folder.
    split
        One split; by default all, and the file marks the split of each picture.
    boxes
        Where in a box its person is counted: half a head below the top edge, or in the centre. By default what suits
        the class: head for people, centre for heads and all else.
    classes
        The classes to count, as person,rider; by default heads, else people, else the only one there is.
    """
    from .formats import convert as write

    check_target("--out", out)
    named = [name for name in classes.split(",") if name.strip()]
    print(write(source, out, to=to, format=source_format, split=split, boxes=boxes, classes=named))
    return 0


@app.command
def check(
    *data: Path,
    format: str = "auto",
    split: Annotated[list[str], cyclopts.Parameter(negative="", show_default=False)] = [],  # noqa: B006  never changed
    sheet: Path | None = None,
    json: Path | None = None,
) -> int:
    """Look for what is wrong with a data set: pictures, points, and photos that occur twice, above all across splits.

    The exit code is 1 where there are errors, which make training or testing on the set wrong.

    Parameters
    ----------
    data
        Folder of a data set, or an annotation file. Of several, photos that two of them share are found too.
    format
        As --from of headcount convert.
    split
        Look at this one alone; may be given again.
    sheet
        Write the pictures with findings as thumbnails with dots, .png or .jpg.
    json
        Write the whole report to this file; what is printed names ten findings of a kind.
    """
    from json import dump

    from .check import check as look

    if not data:
        raise UsageError("check: name the folder of a data set")
    check_target("--sheet", sheet)
    check_target("--json", json)
    if sheet and sheet.suffix.lower() not in (".png", ".jpg", ".jpeg", ".webp"):
        raise UsageError(f"--sheet {sheet}: pictures are written as .png, .jpg or .webp; name one of them")
    with progress(None) as step:
        report = look(data, format, split or None, step)
    print(report)
    if sheet and report.sheet(sheet):
        print(f"pictures with findings: {sheet}")
    if json:
        with opened(json) as stream:
            dump(report.to_dict(), stream, indent=2)
    return 1 if report.errors else 0


@app.command
def train(
    *,
    recipe: str | None = None,
    start: Annotated[Path | None, cyclopts.Parameter(name="--from")] = None,
    data: Path,
    out: Path | None = None,
    minutes: float = 10,
    format: str = "auto",
    resume: bool = False,
    force: bool = False,
    backbone_weights: Path | None = None,
    settings: Annotated[list[str], cyclopts.Parameter(name="--set", negative="", show_default=False)] = [],  # noqa: B006  never changed
) -> int:
    """Train a model: by a recipe, or one that is there further on photos of your own; under torchrun on many GPUs.

    Parameters
    ----------
    recipe
        Name of a recipe that comes with headcount, or a .toml file of your own.
    start
        Instead of a recipe, the model to train further: the name of one that comes with headcount (headcount-small),
        an .onnx file that headcount export wrote, or a checkpoint folder.
    data
        Folder that holds the data sets the recipe names; with --from, a folder that headcount annotate marked, an
        annotation file or a data set. Photos are held back by themselves to choose the model.
    out
        Folder for the checkpoints and the log; by default runs/RECIPE, with --from runs/DATA.
    minutes
        With --from, how long it may take.
    format
        With --from, of the annotations, as in headcount evaluate; auto looks.
    resume
        Go on where the last run into this folder stopped.
    force
        Go on though the data changed since.
    backbone_weights
        A file of ImageNet weights, instead of a download.
    settings
        Change one setting of the recipe, as steps=1000 or model.fusion=plain; may be given again.
    """
    if (recipe is None) == (start is None):
        raise UsageError("give either --recipe, or --from with the model to train further")
    if start is not None and resume:
        raise UsageError("--from takes minutes and is not resumed; run it again, into another folder")
    if start is not None:
        return train_further(start, data, out, minutes, format, settings)
    from .ranks import Ranks
    from .train import load_recipe, override
    from .train import train as run

    assert recipe is not None
    with usage_errors():
        config = override(load_recipe(recipe), settings)
    best = run(config, data, out or Path("runs") / Path(recipe).stem, resume, backbone_weights, force=force)
    if not Ranks().writes:
        return 0
    if not best.exists():
        say(f"stopped before the first validation; go on with: headcount train --resume --out {best.parent} ...")
        return 1
    print(f"the best checkpoint is in {best}")
    return 0


@app.command
def calibrate(
    run: Path,
    /,
    *,
    data: Path,
) -> int:
    """Measure how far a trained model's counts may be trusted: the intervals that headcount count shows.

    Parameters
    ----------
    run
        The folder of a run. Its best checkpoint counts the validation pictures of its recipe, and what is found is
        kept beside that checkpoint; export takes it along.
    data
        Folder that holds the data sets the recipe names.
    """
    from .calibrate import calibrate as measure
    from .calibrate import validation

    with usage_errors():
        pictures = validation(run, data)
    with progress(len(pictures)) as step:
        found = measure(run, data, lambda done, total: step())
    sets = ", ".join(f"{name} {share:.0%}" for name, share in found.sets.items())
    print(f"{found.interval['coverage']:.0%} intervals hold {found.measured:.0%} of {found.pictures} pictures ({sets})")
    print(f"each made from the other pictures; half of them are narrower than {found.width:.0%} of the count")
    print(f"crowds of heads less than {found.spacing:.1f} pixels apart are warned of")
    return 0


@app.command
def average(
    run: Path,
    /,
    *runs: Path,
    out: Path,
    name: str = "",
    weight: Annotated[list[float], cyclopts.Parameter(negative="", show_default=False)] = [],  # noqa: B006  never changed
    soup: bool = False,
) -> int:
    """Make one model of several trained ones: it counts with all of them and gives the mean.

    Parameters
    ----------
    run
        The folder of a run, of which the best checkpoint is taken, or of one of its checkpoints: runs/a/last.
    runs
        The others.
    out
        The folder of the run to write: calibrate, evaluate and export it as any other.
    name
        What the model is called in results; by default as its folder.
    weight
        How much each run counts, in their order: --weight 1 --weight 2; by default all alike.
    soup
        Average the weights instead of the counts: one network, as small and fast as each. Only for runs of one recipe
        that all began with the same trained weights (start = "..." in the recipe).
    """
    from .ensemble import average as write

    with usage_errors():
        print(write([run, *runs], out, name, weight, soup))
    return 0


@app.command
def reproduce(
    target: str,
    /,
    *,
    data: Path,
    budget: Literal["smoke", "short", "full"],
    out: Path,
    backbone_weights: Path | None = None,
    seed: Annotated[list[int], cyclopts.Parameter(negative="")] = [1],  # noqa: B006  never changed
    only: Annotated[list[str], cyclopts.Parameter(negative="", show_default=False)] = [],  # noqa: B006  never changed
) -> int:
    """Reproduce a table or figure of the paper, each row beside the printed number.

    Parameters
    ----------
    target
        table1, table2, table3, table4, table5, figure4, figure5, figure6 or all.
    data
        Folder that holds shanghaitech, ucf_cc_50 and worldexpo, or those of them that you have.
    budget
        smoke learns nothing, short takes hours on two cores, full is the paper's and wants a GPU.
    out
        Folder for runs, reports and figures; what is finished there is not trained again.
    backbone_weights
        A file of VGG16's ImageNet weights, instead of a download.
    seed
        Seed of the runs; may be given again, and rows are then pooled over seeds.
    only
        Train this recipe alone of those the target needs (may be given again), or report: train nothing. What is
        finished is reported either way.
    """
    from .reproduce import reproduce as make

    for path in make(target, data, budget, out, backbone_weights, seed, only):
        print(path)
    return 0


@app.command
def export(
    checkpoint: Path,
    out: Path,
    /,
    *,
    precision: Literal["fp16", "fp32", "int8"] = "fp16",
    calibrate: Annotated[list[Path], cyclopts.Parameter(negative="", show_default=False)] = [],  # noqa: B006  never changed
    force: Annotated[bool, cyclopts.Parameter(negative="")] = False,
    name: str | None = None,
    trained_on: str | None = None,
    metric: Annotated[list[str], cyclopts.Parameter(negative="", show_default=False)] = [],  # noqa: B006  never changed
) -> int:
    """Write a trained model as one .onnx file, checked against torch.

    Parameters
    ----------
    checkpoint
        A checkpoint folder, or a published MCNN .h5 file.
    out
        The .onnx file to write.
    precision
        Of the stored weights: fp16 is half the size of fp32; int8 is also computed in int8, but for what would suffer.
    calibrate
        For int8, a folder of photos like those that will be counted; may be given again. A fourth of them is held
        back to measure how far counts move, and above 1.5 % nothing is written.
    force
        Write the int8 file all the same.
    name
        What the model is called in results.
    trained_on
        What to say of its training data; by default the sets that its run names.
    metric
        Something measured, as part_A_mae=65.7, to be kept in the file; may be given again.
    """
    from .export import ExportError
    from .export import export as write

    try:
        with usage_errors():
            report = write(
                checkpoint,
                out,
                precision=precision,
                name=name,
                data=trained_on,
                metrics=parse_metrics(metric),
                calibrate=calibrate or None,
                force=force,
            )
    except ExportError as error:
        say(str(error))
        return 1
    print(f"{report.path}: {report.megabytes:.1f} MB, its counts against torch's:")
    print(f"  graph {report.graph:.4%}, weights as stored {report.stored:.4%}", end="")
    print(f", in {report.precision} on this processor {report.auto:.4%} off")
    if change := report.change:
        print(
            f"  int8 moves counts by {change.mean:.2%} on {change.photos} photos held back, {change.bias:+.2%} in all;"
        )
        print(f"  on the sparsest quarter of them by {change.sparse:.2%}; worst {change.worst:.2%}")
    return 0


@app.command
def serve(
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    workers: int = 1,
    model: str | None = None,
    engine: EngineName = "auto",
    precision: Precision = "auto",
    project: Path | None = None,
    state: Path | None = None,
    allow_host: Annotated[list[str], cyclopts.Parameter(negative="", show_default=False)] = [],  # noqa: B006  never changed
    max_body: float = 50,
    max_video: float = 2000,
    max_pixels: float = 100,
    max_seconds: float = 3600,
    deadline: float = 30,
    waiting: int = 0,
    keep: float = 24,
) -> int:
    """Serve a web page and an HTTP API that count people in photos and videos.

    Clients must give the key in the environment variable HEADCOUNT_API_KEY, where it is set.

    Parameters
    ----------
    host, port
        Where to listen; 0.0.0.0 is every network this machine is on.
    workers
        Processes, each with the model; for machines of many cores.
    model, engine, precision
        As in headcount count.
    project
        A folder of photos whose heads are marked on the page, as in headcount annotate.
    state
        Folder for video jobs; by default headcount in XDG_STATE_HOME or ~/.local/state.
    allow_host
        A name that browsers may call this server by, such as that of a proxy before it; may be given again.
    max_body, max_video
        The largest photo and video, megabytes.
    max_pixels
        The largest photo and frame, megapixels.
    max_seconds
        The longest video.
    deadline
        Seconds in which a photo is counted or refused.
    waiting
        Photos that are accepted and not done; more are refused with 503. 0: three batches of the engine.
    keep
        Hours that the counts of a video are kept. Videos are deleted when they are counted, photos never written.
    """
    from .service import LOOPBACK, ServeSettings, state_folder

    local = host in (*LOOPBACK, "::1")
    settings = ServeSettings(
        model=model,
        engine=engine,
        precision=precision,
        state=str(state or state_folder()),
        project=str(project) if project else None,
        hosts=(*LOOPBACK, *allow_host) if local or allow_host else (),
        waiting=waiting,
        body=round(max_body * 1e6),
        video=round(max_video * 1e6),
        megapixels=max_pixels,
        seconds=max_seconds,
        deadline=deadline,
        keep=keep,
    )
    if not local and not os.environ.get("HEADCOUNT_API_KEY"):
        say("whoever reaches this port may use it; set HEADCOUNT_API_KEY to ask for a key")
    return run_server(settings, host, port, workers)


@app.command
def annotate(folder: Path, /, *, port: int = 8000, model: str | None = None) -> int:
    """Mark the heads in a folder of photos on a web page, beginning with the model's estimate.

    What is saved goes to points.csv in that folder, which headcount train takes.

    Parameters
    ----------
    folder
        Of photos.
    port
        Of the page, on this machine alone.
    model
        Whose estimates to begin with; as in headcount count.
    """
    from .service import ServeSettings, state_folder

    settings = ServeSettings(model=model, project=str(folder), state=str(state_folder()))
    return run_server(settings, "127.0.0.1", port, 1)


@app.command
def info(*, model: Path | None = None) -> int:
    """Show the version, the engines that are installed, and what a model says of itself.

    Parameters
    ----------
    model
        An .onnx file, a checkpoint folder, or the name of a model that comes with headcount (headcount info lists
        them); without it, the default one.
    """
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as version_of

    from .counter import WEIGHTS, find_model
    from .engines import ENGINES, installed, open_engine
    from .evaluate import cpu_name

    path = find_model(model)
    lines = {
        "headcount": __version__,
        "python": sys.version.split()[0],
        "processor": f"{cpu_name()}, {os.cpu_count()} cores",
    }
    for engine in ENGINES:
        try:
            lines[engine] = version_of(engine) if installed(engine) else "not installed"
        except PackageNotFoundError:  # another build of it, onnxruntime-gpu for one
            lines[engine] = "installed"
    with usage_errors():
        opened = open_engine(path)
    meta = opened.meta
    lines["auto chooses"] = f"{opened.name}, {opened.precision}"
    lines["models"] = ", ".join(sorted(file.stem for file in WEIGHTS.glob("*.onnx")))
    lines["model"] = f"{meta.name}, {meta.parameters / 1e6:.1f} million parameters ({path})"
    lines["trained on"] = meta.data or "it does not say"
    lines["measured"] = ", ".join(f"{k} {v}" for k, v in meta.metrics.items()) or "it does not say"
    if meta.interval:
        lines["intervals"] = f"hold {meta.interval['coverage']:.0%} of the counts on pictures like its validation lists"
    lines["cells"] = (
        f"{meta.stride} px; tiles overlap by {meta.halo} px; short sides are enlarged to {meta.min_side} px"
    )
    for key, value in lines.items():
        print(f"{key:<13} {value}")
    return 0


@app.command
def demo(*, out: Path = Path()) -> int:
    """Count the picture that comes with headcount, whose true number is known.

    Parameters
    ----------
    out
        Folder for the picture with its density map on top.
    """
    from .counter import load

    example = Path(__file__).parent / "examples" / "crowd.jpg"
    true = json.loads(example.with_suffix(".json").read_text(encoding="utf-8"))["count"]
    with usage_errors():
        counter = load()
    result = counter.count(example)
    print(f"counted {result.count:.0f} people in {result.seconds:.2f} s; there are {true}")
    target = out / "crowd.overlay.jpg"
    draw(result, example, target)
    print(f"where they are: {target}")
    return 0


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit. Whatever the input, the user sees lines, not a traceback."""
    if sys.stdout is None:  # started with it closed
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115  for as long as this process lives
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a file name need not be text
    try:
        code = app(arguments, exit_on_error=False, print_error=False, result_action="return_value") or 0
        sys.stdout.flush()
    except (cyclopts.CycloptsError, UsageError) as error:
        say(f"{error}\nheadcount --help and headcount COMMAND --help say what there is")
        code = 2
    except KeyboardInterrupt:
        code = 130
    except BrokenPipeError:  # `headcount ... | head` read enough; and what is still buffered must not fail at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 141
    except ModuleNotFoundError as error:
        extra = EXTRAS.get(str(error.name), "train")
        say(f"this needs {error.name}, which is not installed: pip install 'headcount[{extra}]'")
        code = 1
    except (ValueError, OSError) as error:
        say(str(error))
        code = 1
    sys.exit(code)


def train_further(start: Path, data: Path, out: Path | None, minutes: float, format: str, settings: list[str]) -> int:
    from .finetune import finetune

    report = finetune(data, out or Path("runs") / data.resolve().stem, start, minutes, format, settings)
    print(report.table())
    if report.improved:
        print(f"export it with: headcount export {report.checkpoint} {report.checkpoint.parent.name}.onnx")
    return 0


def run_server(settings: Any, host: str, port: int, workers: int) -> int:
    from .server import serve

    with usage_errors():
        serve(settings, host, port, workers, lambda address: print(f"headcount is at {address}", flush=True))
    return 0


def parse_metrics(texts: list[str]) -> dict[str, float]:
    """["part_A_mae=65.7"] -> {"part_A_mae": 65.7}."""
    try:
        return {name: float(value) for name, value in (text.split("=") for text in texts)}
    except ValueError:
        raise UsageError(f"--metric {' '.join(texts)}: write name=number, as part_A_mae=65.7") from None
