"""``python -m signaling``: the signaling server from the terminal."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from signaling.errors import SignalingError
from signaling.limits import CONNECTIONS_MAX
from signaling.server import read_ice_servers, run


def main(arguments: list[str] | None = None) -> int:
    """Serve until a signal comes; give the exit code: 0, or 2 with one sentence where an option is wrong."""
    parser = argparse.ArgumentParser(prog="python -m signaling", description="Introduces the peers of a mesh.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; '' for all (default %(default)s)")
    parser.add_argument("--port", type=int, default=8765, help="port to listen on, 0 for any (default %(default)s)")
    parser.add_argument(
        "--state-dir", type=Path, default=Path("meshlearn-state"), help="where the runs are (default %(default)s)"
    )
    parser.add_argument("--ice-servers", metavar="JSON", help="STUN and TURN servers: a JSON list or a file of one")
    parser.add_argument("--trust-proxy", action="store_true", help="believe X-Forwarded-For; only behind a proxy")
    parser.add_argument("--connections-max", type=int, default=CONNECTIONS_MAX, help="(default %(default)s)")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)

    def ready(port: int) -> None:
        logging.getLogger("signaling").info("Listening on http://%s:%d", options.host or "0.0.0.0", port)  # noqa: S104

    try:
        run(
            options.host,
            options.port,
            options.state_dir,
            ice_servers=read_ice_servers(options.ice_servers) if options.ice_servers else (),
            trust_proxy=options.trust_proxy,
            connections_max=options.connections_max,
            ready=ready,
        )
    except SignalingError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
