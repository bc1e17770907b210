"""Commands that serve the page: serve, annotate."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import cyclopts

from headcount.cli.app import app
from headcount.cli.count import EngineName, Precision
from headcount.cli.output import say, usage_errors


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
    from headcount.server.service import API_KEY_VARIABLE, LOOPBACK, ServeSettings, state_folder

    local = host in (*LOOPBACK, "::1")
    settings = ServeSettings(
        model=model,
        engine=engine,
        precision=precision,
        state=str(state or state_folder()),
        project=str(project) if project else None,
        allowed_hosts=(*LOOPBACK, *allow_host) if local or allow_host else (),
        max_pending=waiting,
        max_body_bytes=round(max_body * 1e6),
        max_video_bytes=round(max_video * 1e6),
        max_megapixels=max_pixels,
        max_video_seconds=max_seconds,
        deadline_seconds=deadline,
        keep_hours=keep,
    )
    if not local and not os.environ.get(API_KEY_VARIABLE):
        say(f"anyone who can reach this port can use it; set {API_KEY_VARIABLE} to require a key")
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
    from headcount.server.service import ServeSettings, state_folder

    settings = ServeSettings(model=model, project=str(folder), state=str(state_folder()))
    return run_server(settings, "127.0.0.1", port, 1)


def run_server(settings: Any, host: str, port: int, workers: int) -> int:
    from headcount.server.app import serve

    with usage_errors():
        serve(settings, host, port, workers, lambda address: print(f"headcount is at {address}", flush=True))
    return 0
