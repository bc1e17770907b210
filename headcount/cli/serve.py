"""The commands that start the web server: `headcount serve` and `headcount annotate`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import cyclopts

from headcount.cli.app import COUNTING, DATA, app
from headcount.cli.browser import open_when_ready
from headcount.cli.messages import UsageError, print_message, usage_errors
from headcount.cli.options import EngineName, Flag, Precision, Repeatable

if TYPE_CHECKING:
    from headcount.server.service import ServeSettings

OpenFlag = Annotated[bool, cyclopts.Parameter(name="--open", negative="", show_default=False)]


@app.command(group=COUNTING)
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
    allow_host: Repeatable[str] = (),
    max_body: float = 50,
    max_video: float = 2000,
    max_pixels: float = 100,
    max_seconds: float = 3600,
    deadline: float = 30,
    waiting: int = 0,
    keep: float = 24,
    no_key: Flag = False,
    open_browser: OpenFlag = False,
) -> int:
    """Serve a web page and an HTTP API that count people in photos and videos.

    If the environment variable HEADCOUNT_API_KEY is set, clients must send this key. A server that other machines can
    reach needs a key, or --no-key.

    Args:
        host: Address to listen on. 0.0.0.0 listens on all networks of this machine.
        port: Port to listen on.
        workers: Number of processes. Each loads the model, so use more only on machines with many cores.
        model: The model that counts, as in headcount count.
        engine: The runtime that runs the model.
        precision: The precision of the computation. auto is the engine's choice for this processor.
        project: A folder of photos to annotate on the page, as in headcount annotate.
        state: Folder for video jobs. By default headcount in XDG_STATE_HOME or ~/.local/state.
        allow_host: A name by which browsers may call this server, such as that of a proxy in front of it. Repeat the
            option for several names.
        max_body: Largest photo in megabytes.
        max_video: Largest video in megabytes.
        max_pixels: Largest photo or video frame in megapixels.
        max_seconds: Longest video in seconds.
        deadline: Time in seconds after which a photo that is not yet counted is refused.
        waiting: Number of photos that may be in the queue. Further ones are refused with status 503. 0 allows three
            batches of the engine.
        keep: Hours for which the counts of a video are kept. Videos are deleted once counted, and photos are never
            written to disk.
        no_key: Serve other machines without a key. Anyone who can reach the port can then use the server.
        open_browser: Open the page in a browser once the server is ready.
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
        if not no_key:
            raise UsageError(
                f"--host {host}: anyone who can reach this port could use it; set {API_KEY_VARIABLE} to require a key,"
                " or say --no-key"
            )
        print_message(f"anyone who can reach this port can use it; set {API_KEY_VARIABLE} to require a key")
    return run_server(settings, host, port, workers, open_browser)


@app.command(group=DATA)
def annotate(folder: Path, /, *, port: int = 8000, model: str | None = None, open_browser: OpenFlag = False) -> int:
    """Annotate the heads in a folder of photos on a web page.

    The page starts with the estimates of a model. It saves the annotations to points.csv in the folder, which
    headcount train can read.

    Args:
        folder: The folder of photos.
        port: Port of the page, which only this machine can open.
        model: The model that makes the estimates, as in headcount count.
        open_browser: Open the page in a browser once it is ready.
    """
    from headcount.server.service import ServeSettings, state_folder

    settings = ServeSettings(model=model, project=str(folder), state=str(state_folder()))
    return run_server(settings, "127.0.0.1", port, 1, open_browser)


def run_server(settings: ServeSettings, host: str, port: int, workers: int, open_browser: bool) -> int:
    """Serve until the process is stopped. Returns the exit code."""
    from headcount.server.app import serve as serve_page

    def on_listening(address: str) -> None:
        print(f"headcount is at {address}", flush=True)
        if open_browser:
            open_when_ready(address)

    with usage_errors():
        serve_page(settings, host, port, workers, on_listening)
    return 0
