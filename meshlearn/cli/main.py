"""Puts the commands together, and turns every mistake of the user into one sentence and exit code 2.

Each command imports what it needs when it runs: `meshlearn --help` starts without numpy.
"""

from __future__ import annotations

import errno
import os
import sys
from importlib import metadata
from typing import Annotated

import typer

from meshlearn.errors import UserError

EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130
PLUGIN_GROUP = "meshlearn.commands"

app = typer.Typer(
    name="meshlearn",
    help="A peer-to-peer training mesh: browser tabs and Python processes train one model over WebRTC data channels.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode="markdown",
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"meshlearn {metadata.version('meshlearn')}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    pass


def _add_commands() -> None:
    from meshlearn.cli import bench, data, demo, join, new, serve, track

    for module in (demo, serve, new, join, track):
        app.command(module.__name__.rpartition(".")[2])(module.command)
    app.add_typer(data.app, name="data")
    app.command("bench")(bench.command)
    for entry in sorted(metadata.entry_points(group=PLUGIN_GROUP), key=lambda entry: entry.name):
        app.command(entry.name)(entry.load())


def main() -> None:
    """Run the command line; never shows a traceback for what the user can mend."""
    _add_commands()
    try:
        app(standalone_mode=True)
    except UserError as error:
        _fail(str(error))
    except BrokenPipeError:
        # The reader of our output has gone (`| head`): nothing to say, and nothing to flush at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.EPERM):
            raise
        where = f" at {error.filename}" if error.filename else ""
        _fail(f"The disk refused to write{where}: {(error.strerror or str(error)).lower()}; make room or choose another folder.")
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)


def _fail(sentence: str) -> None:
    print(f"meshlearn: {sentence}", file=sys.stderr)
    sys.exit(EXIT_USER_ERROR)
