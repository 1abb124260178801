"""Running the server: options, signals, event loop. ``serve`` is for programs with a loop, ``run`` for those without."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from signaling import strict_json
from signaling.driver import SignalingServer
from signaling.errors import OptionError, PortInUseError
from signaling.limits import CONNECTIONS_MAX, ICE_SERVERS_MAX, SOCKETS_FACTOR
from signaling.registry import Registry

__all__ = ["PortInUseError", "SignalingServer", "read_ice_servers", "run", "serve"]

_log = logging.getLogger("signaling")

_ICE_SCHEMES: Final = ("stun:", "stuns:", "turn:", "turns:")
_ICE_FIELDS: Final = ("urls", "username", "credential")
# Files that the process needs besides sockets: shards being sent, logs, libraries.
_OTHER_FILES: Final = 256


async def serve(
    host: str,
    port: int,
    state_dir: Path,
    *,
    ice_servers: Sequence[Mapping[str, Any]] = (),
    trust_proxy: bool = False,
    connections_max: int = CONNECTIONS_MAX,
    ready: Callable[[int], None] | None = None,
    stop: asyncio.Event | None = None,
) -> None:
    """Serve the runs of `state_dir` until `stop` is set or, without one, until SIGTERM or SIGINT.

    `host` may be empty for all addresses, `port` 0 for any free one; `ready` gets the port as soon as connections
    are taken. `ice_servers` are RTCIceServer objects for every peer (see read_ice_servers). `trust_proxy` believes
    the last entry of X-Forwarded-For: only for a server that is reachable through a proxy alone.

    PortInUseError where the address cannot be listened on, StorageError where `state_dir` cannot be used.
    """
    sockets_max = _allow_files(SOCKETS_FACTOR * connections_max + _OTHER_FILES) - _OTHER_FILES
    if sockets_max < connections_max:
        _log.warning("Only %d connections can be open: raise the limit of open files (ulimit -n).", sockets_max)
    server = SignalingServer(
        Registry(state_dir),
        ice_servers=ice_servers,
        trust_proxy=trust_proxy,
        connections_max=connections_max,
        sockets_max=sockets_max,
    )
    bound = await server.start(host, port)
    try:
        if stop is not None:
            if ready is not None:
                ready(bound)
            await stop.wait()
        else:
            with _signals() as stopped:
                if ready is not None:
                    ready(bound)
                await stopped.wait()
    finally:
        await server.stop()


def run(host: str, port: int, state_dir: Path, **options: Any) -> None:
    """Serve on an event loop of its own, with uvloop where it is installed; arguments and errors as for serve."""
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(serve(host, port, state_dir, **options))


def read_ice_servers(text: str) -> list[dict[str, Any]]:
    """Read ICE servers from a JSON text or from the file that `text` names; OptionError where they are wrong.

    The form is that of RTCConfiguration.iceServers: ``[{"urls": "turn:...", "username": "...", "credential": "..."}]``.
    """
    source = text.strip()
    if not source.startswith(("[", "{")):
        try:
            source = Path(source).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise OptionError(f"The file of ICE servers {text} cannot be read: {error}.") from None
    try:
        servers = strict_json.loads(source)
    except strict_json.StrictJSONError as error:
        raise OptionError(f"The text of ICE servers {error}.") from None
    if isinstance(servers, dict):
        servers = servers.get("iceServers", [servers])
    if not isinstance(servers, list) or len(servers) > ICE_SERVERS_MAX:
        raise OptionError(f"ICE servers are a JSON list of at most {ICE_SERVERS_MAX} objects.")
    return [_ice_server(server) for server in servers]


def _ice_server(server: object) -> dict[str, Any]:
    if not isinstance(server, dict) or not set(server) <= set(_ICE_FIELDS):
        raise OptionError(f"An ICE server is an object with {', '.join(_ICE_FIELDS)}, not {json.dumps(server)[:80]}.")
    urls = server.get("urls")
    listed = urls if isinstance(urls, list) else [urls]
    if not listed or not all(isinstance(url, str) and url.startswith(_ICE_SCHEMES) for url in listed):
        raise OptionError(f"The urls of an ICE server begin with {' or '.join(_ICE_SCHEMES)}.")
    if not all(isinstance(server.get(name, ""), str) for name in ("username", "credential")):
        raise OptionError("The username and the credential of an ICE server are texts.")
    return {name: server[name] for name in _ICE_FIELDS if name in server}


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


@contextmanager
def _signals() -> Iterator[asyncio.Event]:
    """Give an event that SIGTERM and SIGINT set."""
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    numbers = (signal.SIGTERM, signal.SIGINT)
    previous = {}
    for number in numbers:
        try:
            loop.add_signal_handler(number, stopped.set)
        except NotImplementedError:  # Windows
            previous[number] = signal.signal(number, lambda *_: loop.call_soon_threadsafe(stopped.set))
    try:
        yield stopped
    finally:
        for number in numbers:
            if number in previous:
                signal.signal(number, previous[number])
            else:
                loop.remove_signal_handler(number)


def _allow_files(wanted: int) -> int:
    """Raise this process' limit of open files towards `wanted`, as far as it may go; give how many it allows of them."""
    if sys.platform == "win32":
        return wanted
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= wanted or soft == resource.RLIM_INFINITY:
        return wanted
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, allowed), hard))
    except (ValueError, OSError):
        return soft
    return max(soft, allowed)
