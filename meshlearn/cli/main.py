"""Puts the commands together, and turns every mistake of the user into one sentence and exit code 2.

Each command imports what it needs when it runs, and the commands of other packages are loaded only where one of them may be
meant: `meshlearn join` has no numpy in memory before it knows what it is to do.
"""

from __future__ import annotations

import errno
import os
import sys
from importlib import metadata
from typing import Annotated, Any, Final, NoReturn

import typer

from meshlearn.cli import bench, data, demo, join, new, serve, track
from meshlearn.cli.parent import end_with_stdin_if_told
from meshlearn.errors import UserError

EXIT_USER_ERROR: Final = 2
EXIT_INTERRUPTED: Final = 130
PLUGIN_GROUP: Final = "meshlearn.commands"

# typer brings a click of its own, or uses the installed one: this is its UsageError either way.
_UsageError: Final[type[Any]] = typer.BadParameter.__mro__[1]

# What a disk or a path can be guilty of; anything else that the system refuses is a fault of ours and shows its traceback.
_DISK: Final = {
    errno.ENOSPC: "make room or choose another folder",
    errno.EDQUOT: "make room or choose another folder",
    errno.EFBIG: "choose another folder",
    errno.EIO: "check the disk",
    errno.EACCES: "choose a folder that you may write to",
    errno.EPERM: "choose a folder that you may write to",
    errno.EROFS: "choose a folder that you may write to",
    errno.ENOTDIR: "choose another path",
    errno.EISDIR: "choose another path",
    errno.EEXIST: "choose another path",
    errno.ENOENT: "choose another path",
    errno.ELOOP: "choose another path",
    errno.ENAMETOOLONG: "choose a shorter path",
}

app = typer.Typer(
    name="meshlearn",
    help="A peer-to-peer training mesh: browser tabs and Python processes train one model over WebRTC data channels.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode="markdown",
    epilog="Begin with `meshlearn demo`. Every command has a `--help` with an example.",
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


for _module in (demo, serve, new, join, track, bench):
    app.command(_module.__name__.rpartition(".")[2])(_module.command)
app.add_typer(data.app, name="data")
_OWN: Final = ("demo", "serve", "new", "join", "track", "bench", "data")


def _add_plugins() -> None:
    for entry in sorted(metadata.entry_points(group=PLUGIN_GROUP), key=lambda entry: entry.name):
        try:
            app.command(entry.name)(entry.load())
        except Exception as error:  # a broken package of somebody else must not take the other commands along
            print(f"meshlearn: the command {entry.name} of {entry.value} is left out: {error}", file=sys.stderr)


def main() -> None:
    """Run the command line and exit; never shows a traceback for what the user can mend."""
    end_with_stdin_if_told()
    if sys.argv[1:2] == [] or sys.argv[1] not in (*_OWN, "--version"):
        _add_plugins()
    code: int | None = None
    try:
        code = app(standalone_mode=False)
        sys.stdout.flush()
    except _UsageError as error:
        _misused(error)
    except UserError as error:
        _fail(str(error))
    except BrokenPipeError:
        _reader_has_gone()
    except SystemExit as end:
        # typer and rich hear of a broken pipe before we do, and make exit code 1 of it.
        if not isinstance(end.__context__, BrokenPipeError):
            raise
        _reader_has_gone()
    except OSError as error:
        if error.errno not in _DISK:
            raise
        _fail(_disk_sentence(error))
    except (KeyboardInterrupt, typer.Abort):
        code = EXIT_INTERRUPTED
    sys.exit(code if isinstance(code, int) else 0)


def _reader_has_gone() -> None:
    """End without a word (`| head` has what it wanted), and with nothing to flush at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _disk_sentence(error: OSError) -> str:
    what = (error.strerror or str(error)).rstrip(".")
    where = error.filename2 or error.filename
    place = f" at {os.fsdecode(where)}" if isinstance(where, str | bytes) else ""
    return f"The disk refuses{place}: {what[:1].lower()}{what[1:]}; {_DISK[error.errno or errno.EIO]}."


def _misused(error: Any) -> NoReturn:
    context = error.ctx
    message = error.format_message().strip().rstrip(".")
    path = context.command_path if context is not None else "meshlearn"
    if type(error).__name__ == "NoArgsIsHelpError":
        # The help itself: rich has printed it, or it is the message.
        if message:
            typer.echo(message)
        sys.exit(0)
    _fail(f"{message}; see `{path} --help`.")


def _fail(sentence: str) -> NoReturn:
    print(f"meshlearn: {sentence}", file=sys.stderr)
    sys.exit(EXIT_USER_ERROR)
