"""Opening a browser at a server of this process."""

from __future__ import annotations

import contextlib
import http.client
import threading
import time
import webbrowser
from urllib.parse import urlsplit

from headcount.cli.messages import print_message

POLL_SECONDS = 0.1


def open_when_ready(address: str) -> None:
    """Open a browser at `address` once the server there is ready. Returns at once."""
    for any_host, this_host in (("//0.0.0.0:", "//127.0.0.1:"), ("//[::]:", "//[::1]:")):
        address = address.replace(any_host, this_host)
    threading.Thread(target=wait_and_open, args=(address,), daemon=True).start()


def wait_and_open(address: str) -> None:
    while not is_ready(address):
        time.sleep(POLL_SECONDS)
    if not webbrowser.open(address):
        print_message(f"found no browser; open {address} yourself")


def is_ready(address: str) -> bool:
    """Whether a server answers, and not that it is still starting. Proxy settings do not matter here."""
    with contextlib.closing(http.client.HTTPConnection(urlsplit(address).netloc, timeout=10)) as connection:
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status != http.client.SERVICE_UNAVAILABLE
        except (OSError, http.client.HTTPException):
            return False
