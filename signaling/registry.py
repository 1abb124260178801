"""The runs on disk: made by anybody with access to the state directory, found by the server while it runs.

::

    STATE/runs/<run>/manifest.json         what the run is; never changes
                     initial.safetensors   the initial parameter vector; never changes
                     secrets.json          join token and owner token, mode 0600
                     status.json           {"state": "open" | "over", "reason": ""}
                     history.jsonl         one evaluation a line
    STATE/shards/<sha256>                  data, by content

A run appears by the renaming of a complete directory, a changed file by the renaming of a complete file: nobody
ever reads half of one.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import secrets
import shutil
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from signaling import strict_json
from signaling.errors import RunError, StorageError
from signaling.fields import is_run, is_token, to_base64url
from signaling.files import storage, sync_directory, write_atomically, write_new
from signaling.history import History
from signaling.limits import (
    HISTORIES_CACHED_MAX,
    INITIAL_BYTES_MAX,
    MANIFEST_BYTES_MAX,
    REASON_CHARS_MAX,
    RUNS_MAX,
    SHARD_BYTES_MAX,
)
from signaling.manifest import FORMAT, Facts, is_sha256, read_manifest
from signaling.messages import Evaluation, Role, State

_log = logging.getLogger("signaling")

RUN_ALPHABET: Final = "abcdefghijklmnopqrstuvwxyz234567"
MANIFEST: Final = "manifest.json"
INITIAL: Final = "initial.safetensors"
SECRETS: Final = "secrets.json"
STATUS: Final = "status.json"
HISTORY: Final = "history.jsonl"
_UNFINISHED: Final = ".new-"


@dataclass(frozen=True, slots=True)
class CreatedRun:
    """A new run with its two tokens, which are shown to its owner and stored nowhere else than in the run."""

    run: str
    join_token: str
    owner_token: str


@dataclass(slots=True)
class Run:
    """A run that the server knows. `digest` is the SHA-256 of manifest.json's bytes in hexadecimal."""

    facts: Facts
    directory: Path
    digest: str
    manifest_bytes: int
    join_token: bytes
    owner_token: bytes
    state: State
    reason: str


def create_run(state_dir: Path, manifest: Mapping[str, Any], initial: bytes, shards: Mapping[str, bytes | Path]) -> CreatedRun:
    """Write a new run and give its id and tokens.

    `manifest` is the manifest without ``format``, ``run``, ``initial`` and, if wanted, ``created``, which are
    filled in. `initial` is the initial vector as safetensors. `shards` holds data by SHA-256 in hexadecimal, as
    bytes or as a file; shards that are on disk already need not be given. RunError where the parts do not fit
    together, StorageError where they cannot be written; the run then does not exist.
    """
    run = "".join(secrets.choice(RUN_ALPHABET) for _ in range(10))
    if not 0 < len(initial) <= INITIAL_BYTES_MAX:
        raise RunError(f"The initial vector is empty or larger than {INITIAL_BYTES_MAX} bytes.")
    rest = {key: value for key, value in manifest.items() if key not in ("format", "run", "initial")}
    complete = {
        "format": FORMAT,
        "run": run,
        **rest,
        "created": rest.get("created") or datetime.now(UTC).isoformat(timespec="seconds"),
        "initial": {"sha256": hashlib.sha256(initial).hexdigest(), "bytes": len(initial)},
    }
    facts = read_manifest(complete)
    try:
        text = strict_json.dumps(complete)
        strict_json.loads_file(text)
    except (TypeError, ValueError) as error:
        raise RunError(f"The manifest cannot be kept as JSON ({str(error).rstrip(chr(46))}).") from None
    if len(text) > MANIFEST_BYTES_MAX:
        raise RunError(f"The manifest is larger than {MANIFEST_BYTES_MAX} bytes; use fewer, larger shards.")
    created = CreatedRun(run, to_base64url(secrets.token_bytes(16)), to_base64url(secrets.token_bytes(16)))

    _make_directories(state_dir)
    for sha256, data in shards.items():
        _write_shard(state_dir / "shards", sha256, data)
    missing = [sha256 for sha256 in facts.shards if not (state_dir / "shards" / sha256).is_file()]
    if missing:
        raise RunError(f"The manifest names {len(missing)} shards that were not given, first {missing[0]}.")

    runs = state_dir / "runs"
    unfinished = runs / f"{_UNFINISHED}{run}"
    tokens = {"join_token": created.join_token, "owner_token": created.owner_token}
    with storage(runs / run):
        try:
            unfinished.mkdir()
            write_new(unfinished / MANIFEST, text.encode("ascii"))
            write_new(unfinished / INITIAL, initial)
            write_new(unfinished / SECRETS, strict_json.dumps(tokens).encode("ascii"), mode=0o600)
            write_new(unfinished / STATUS, strict_json.dumps({"state": "open", "reason": ""}).encode("ascii"))
            write_new(unfinished / HISTORY, b"")
            sync_directory(unfinished)
            unfinished.rename(runs / run)
            sync_directory(runs)
        except BaseException:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise
    return created


class Registry:
    """The runs of one state directory.

    What is wrong with a directory is told once to `report` in one sentence, and the directory is skipped until its
    files change.
    """

    def __init__(self, state_dir: Path, *, report: Callable[[str], None] = _log.warning) -> None:
        """Make the directory where needed and read the runs; StorageError where that cannot be done."""
        self._runs_dir = state_dir / "runs"
        self._shards_dir = state_dir / "shards"
        self._report = report
        self._runs: dict[str, Run] = {}
        self._runs_of_shard: dict[str, tuple[str, ...]] = {}
        self._histories: OrderedDict[str, History] = OrderedDict()
        self._skipped: dict[str, tuple[int, ...]] = {}
        _make_directories(state_dir)
        self.refresh()

    # --- finding runs

    def refresh(self) -> None:
        """Take in the runs that have appeared on disk and let go of those that have vanished."""
        try:
            names = sorted(entry.name for entry in os.scandir(self._runs_dir))
        except OSError as error:
            self._report(f"The directory {self._runs_dir} cannot be read: {error.strerror}.")
            return
        present = frozenset(names)
        for run in [run for run in self._runs if run not in present]:
            self._drop(run)
        for name in names:
            if name not in self._runs:
                self._load(name)

    def get(self, run: str) -> Run | None:
        """Give a run, also one that another process made a moment ago; None where there is none."""
        known = self._runs.get(run)
        if known is None and is_run(run):
            self._load(run)
            known = self._runs.get(run)
        return known

    def runs(self) -> list[Run]:
        """Give all runs, the newest first."""
        self.refresh()
        return sorted(self._runs.values(), key=lambda run: (run.facts.created, run.facts.run), reverse=True)

    def _load(self, name: str) -> None:
        directory = self._runs_dir / name
        signature = _signature(directory)
        if signature is None or self._skipped.get(name) == signature:
            return
        if len(self._runs) >= RUNS_MAX:
            self._skip(name, signature, f"The run {name} is left out: this server holds {RUNS_MAX} runs already.")
            return
        if not is_run(name):
            unfinished = name.startswith(_UNFINISHED)
            what = "was never finished and may be deleted" if unfinished else "is not the directory of a run"
            self._skip(name, signature, f"{directory} {what}.")
            return
        try:
            run = _read_run(directory)
        except (RunError, StorageError) as error:
            self._skip(name, signature, f"The run {name} is left out: {error}")
            return
        self._skipped.pop(name, None)
        self._runs[name] = run
        for sha256 in run.facts.shards:
            self._runs_of_shard[sha256] = (*self._runs_of_shard.get(sha256, ()), name)

    def _skip(self, name: str, signature: tuple[int, ...], sentence: str) -> None:
        # A table of bad names must not grow without end either.
        if len(self._skipped) >= RUNS_MAX:
            self._skipped.clear()
        self._skipped[name] = signature
        self._report(sentence)

    def _drop(self, run: str) -> None:
        gone = self._runs.pop(run)
        self._histories.pop(run, None)
        for sha256 in gone.facts.shards:
            left = tuple(name for name in self._runs_of_shard[sha256] if name != run)
            if left:
                self._runs_of_shard[sha256] = left
            else:
                del self._runs_of_shard[sha256]

    # --- who may

    def role(self, run: Run, token: str) -> Role | None:
        """Give the role that a token opens; the time taken does not depend on where a wrong one differs."""
        given = token.encode("utf-8", "replace")
        is_owner = hmac.compare_digest(given, run.owner_token)
        is_member = hmac.compare_digest(given, run.join_token)
        return "owner" if is_owner else "member" if is_member else None

    def may_read(self, run: Run, token: str) -> bool:
        """Tell whether the holder of `token` (perhaps empty) may read what the run is made of."""
        return not run.facts.private or self.role(run, token) is not None

    # --- data

    def shard(self, sha256: str) -> tuple[Path, list[Run]] | None:
        """Give the file of a shard and the runs that it belongs to; None where no run names it."""
        if not is_sha256(sha256):
            return None
        if sha256 not in self._runs_of_shard:
            self.refresh()
        runs = [self._runs[run] for run in self._runs_of_shard.get(sha256, ())]
        return (self._shards_dir / sha256, runs) if runs else None

    def history(self, run: Run) -> History:
        """Give the history of a run; read from disk the first time. StorageError where that fails."""
        name = run.facts.run
        history = self._histories.get(name)
        if history is None:
            history = self._histories[name] = History(run.directory / HISTORY)
            if history.skipped:
                self._report(f"The history of run {name} holds {history.skipped} unreadable lines, left out.")
            if len(self._histories) > HISTORIES_CACHED_MAX:
                self._histories.popitem(last=False)
        self._histories.move_to_end(name)
        return history

    def append_evaluation(self, run: Run, evaluation: Evaluation) -> None:
        """Add one evaluation to the history; StorageError where it cannot be written, and then nothing changed."""
        self.history(run).append(evaluation)

    def finish(self, run: Run, reason: str) -> None:
        """Write down that the run is over; StorageError where that fails. In memory it is over either way."""
        run.state, run.reason = "over", reason
        status = strict_json.dumps({"state": "over", "reason": reason}).encode("ascii")
        write_atomically(run.directory / STATUS, status)


def _make_directories(state_dir: Path) -> None:
    for name in ("runs", "shards"):
        with storage(state_dir / name):
            (state_dir / name).mkdir(parents=True, exist_ok=True)


def _write_shard(directory: Path, sha256: str, data: bytes | Path) -> None:
    path = directory / sha256
    content = data if isinstance(data, bytes) else _read(data, SHARD_BYTES_MAX)
    if len(content) > SHARD_BYTES_MAX:
        raise RunError(f"The shard {sha256} is larger than {SHARD_BYTES_MAX} bytes; split it.")
    if hashlib.sha256(content).hexdigest() != sha256:
        raise RunError(f"The shard {sha256} has another content than its name says.")
    if path.is_file() and path.stat().st_size == len(content):
        return
    write_atomically(path, content)


def _signature(directory: Path) -> tuple[int, ...] | None:
    """What changes when somebody repairs a run: times and sizes of its files; None where there is no directory."""
    if not directory.is_dir():
        return None
    result = []
    for name in (MANIFEST, INITIAL, SECRETS, STATUS):
        try:
            stat = (directory / name).stat()
        except OSError:
            result += [0, -1]
        else:
            result += [stat.st_mtime_ns, stat.st_size]
    return tuple(result)


def _read_run(directory: Path) -> Run:
    text = _read(directory / MANIFEST, MANIFEST_BYTES_MAX)
    facts = read_manifest(_json(text, MANIFEST))
    if facts.run != directory.name:
        raise RunError(f"its manifest says that it is the run {facts.run}.")
    with storage(directory / INITIAL):
        if (directory / INITIAL).stat().st_size != facts.initial_bytes:
            raise RunError(f"its {INITIAL} has not the size that the manifest says.")
    tokens = _object(directory / SECRETS)
    for name in ("join_token", "owner_token"):
        if not isinstance(tokens.get(name), str) or not is_token(tokens[name]):
            raise RunError(f"its {SECRETS} holds no {name}.")
    status = _object(directory / STATUS)
    state, reason = status.get("state"), status.get("reason", "")
    if state not in ("open", "over") or not isinstance(reason, str):
        raise RunError(f"its {STATUS} holds no state.")
    return Run(
        facts=facts,
        directory=directory,
        digest=hashlib.sha256(text).hexdigest(),
        manifest_bytes=len(text),
        join_token=tokens["join_token"].encode("ascii"),
        owner_token=tokens["owner_token"].encode("ascii"),
        state=state,
        reason=reason[:REASON_CHARS_MAX],
    )


def _read(path: Path, bytes_max: int) -> bytes:
    with storage(path):
        if path.stat().st_size > bytes_max:
            raise RunError(f"{path.name} is larger than {bytes_max} bytes.")
        return path.read_bytes()


def _json(text: bytes, name: str) -> object:
    try:
        return strict_json.loads_file(text.decode("utf-8"))
    except (UnicodeDecodeError, strict_json.StrictJSONError):
        raise RunError(f"its {name} is not JSON.") from None


def _object(path: Path) -> dict[str, Any]:
    value = _json(_read(path, 4096), path.name)
    if not isinstance(value, dict):
        raise RunError(f"its {path.name} is not a JSON object.")
    return value
