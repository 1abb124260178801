"""`meshlearn serve`: the signaling server."""

from __future__ import annotations

import logging
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from meshlearn.cli.output import print_json, print_line


def default_state_dir() -> Path:
    """Return where `serve` and `new` keep runs unless told otherwise: the user's data directory."""
    import platformdirs

    return Path(platformdirs.user_data_dir("meshlearn")) / "server"


def command(
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for every network.", metavar="ADDRESS")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 for any free one.", metavar="PORT")] = 8765,
    state: Annotated[Path | None, typer.Option(help="Folder of the runs, made if missing.", metavar="FOLDER")] = None,
    ice_servers: Annotated[
        str | None, typer.Option(help="STUN and TURN servers for every peer: a JSON list, or a file of one.", metavar="JSON")
    ] = None,
    trust_proxy: Annotated[bool, typer.Option("--trust-proxy", help="Believe X-Forwarded-For; only behind a proxy.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object when connections are taken.")] = False,
) -> None:
    """Introduce peers to each other, and serve the runs' pages, manifests and data; stops at Ctrl-C.

    Example: `meshlearn serve --host 0.0.0.0 --port 8765`
    """
    from meshlearn.cli.addresses import reachable_url
    from meshlearn.errors import SettingsError
    from signaling.errors import SignalingError
    from signaling.server import read_ice_servers, run

    directory = state or default_state_dir()
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)

    def ready(bound: int) -> None:
        url = reachable_url(host, bound)
        if as_json:
            print_json({"event": "ready", "url": url, "port": bound, "state": str(directory)})
            return
        place = f" --state {shlex.quote(str(state))}" if state else ""
        print_line(f"serving {directory} at {url}   (make a run with: meshlearn new --url {url}{place})")

    try:
        servers = read_ice_servers(ice_servers) if ice_servers else ()
        run(host, port, directory, ice_servers=servers, trust_proxy=trust_proxy, ready=ready)
    except SignalingError as error:
        raise SettingsError(str(error)) from None
