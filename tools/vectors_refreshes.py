"""The cases of transcripts_refreshes.json: links of a full view give way, one at a time, to links to peers drawn anew."""

from __future__ import annotations

from vectors_cases import Case
from vectors_recorder import UNJUDGED, Recorder, Remote, peer_id, ready, small

from meshlearn.protocol import actions, events
from meshlearn.wire.codec import Codec
from meshlearn.wire.messages import Goodbye, PeerKind, PullRequest, Reason

# No exchanges and no heartbeats: most of these stories are about something else.
_SETTINGS = {
    "view_size": 2,
    "refresh_interval_s": 20.0,
    "exchange_interval_s": 1e6,
    "heartbeat_interval_s": 900.0,
    "link_timeout_s": 1000.0,
}


def _until(recorder: Recorder, kind: type[actions.Action], link: int | None = None) -> None:
    """Let time pass until the peer asks for an action of that kind (on that link)."""
    for _ in range(60):
        done = recorder.tick_until(recorder.now + 1.5)
        if any(isinstance(action, kind) and link in (None, getattr(action, "link", None)) for action in done):
            return
    raise AssertionError(f"{recorder.name}: nothing was asked for")


def _joins(recorder: Recorder, link: int, number: int, outgoing: bool = True, kind: PeerKind = PeerKind.PYTHON) -> Remote:
    """Open a link to another peer and greet on it."""
    remote = Remote(recorder, link, number)
    remote.open(outgoing, recorder.now + 0.1)
    remote.greet(recorder.now + 0.1, kind=kind)
    return remote


def replaces() -> list[Case]:
    """Return refreshes that go well."""
    recorder = small("a full view is refreshed", "Goodbye 8 to an old link, at random, once the new one is greeted", **_SETTINGS)
    ready(recorder, 3, 7)
    for link, number in ((3, 9), (4, 8)):
        _until(recorder, actions.Introduce)
        # Itself, those that are linked, and those that were given up within 30 s are not connected to.
        recorder.give(events.Introduced(tuple(peer_id(named) for named in (5, 3, 7, number))), recorder.now + 0.1)
        _joins(recorder, link, number)
    recorder.tick_until(recorder.now + 2.0)
    return [recorder.case()]


def waits() -> list[Case]:
    """Return links that are in use or are not to be given up."""
    used = small(
        "a link in use is not given up",
        "one has an exchange under way, the other was just asked for the model: they are spared until that is over",
        **{**_SETTINGS, "exchange_interval_s": 0.5, "codec": Codec.FLOAT32, **UNJUDGED},
    )
    remotes = ready(used, 3, 7)
    _until(used, actions.Introduce)
    remotes[1].say(PullRequest(1, 0, Codec.FLOAT32))
    used.give(events.Introduced((peer_id(9),)), used.now + 0.1)
    # Until then there was no answer to the exchange that it began with the first.
    _joins(used, 3, 9)
    _until(used, actions.CloseLink)
    tracker = small(
        "a tracker is not given up", "it comes and goes; nor is a young link, until half an interval has passed", **_SETTINGS
    )
    ready(tracker, 3)
    _joins(tracker, 2, 7, outgoing=False, kind=PeerKind.TRACKER)
    _until(tracker, actions.Introduce)
    tracker.give(events.LinkClosed(1), tracker.now + 0.1)
    _joins(tracker, 3, 8, outgoing=False)
    tracker.give(events.Introduced((peer_id(9),)), tracker.now + 0.1)
    _joins(tracker, 4, 9)
    _until(tracker, actions.CloseLink, link=3)
    return [used.case(), tracker.case()]


def shrinks() -> list[Case]:
    """Return views that others have made larger than they are meant to be."""
    recorder = small("a grown view shrinks", "at its bound it gives one up and opens none; under it two for one", **_SETTINGS)
    ready(recorder, 3, 7, 8, 9)
    _until(recorder, actions.CloseLink)
    _until(recorder, actions.Introduce)
    recorder.give(events.Introduced((peer_id(10),)), recorder.now + 0.1)
    _joins(recorder, 5, 10)
    recorder.tick_until(recorder.now + 1.5)
    return [recorder.case()]


def finds_nobody() -> list[Case]:
    """Return refreshes that come to nothing."""
    recorder = small(
        "a refresh that comes to nothing",
        "names that come 5 s late, nobody new, a connection that fails, a full view: the links stay as they are",
        **_SETTINGS,
    )
    ready(recorder, 3, 7)
    _until(recorder, actions.Introduce)
    recorder.give(events.Introduced((peer_id(9),)), recorder.now + 5.1)
    _until(recorder, actions.Introduce)
    recorder.give(events.Introduced((peer_id(3), peer_id(7))), recorder.now + 0.1)
    recorder.give(events.Introduced((peer_id(9),)), recorder.now + 0.1)
    _until(recorder, actions.Introduce)
    recorder.give(events.Introduced((peer_id(9), peer_id(8))), recorder.now + 0.1)
    for number in (8, 9):
        recorder.give(events.ConnectFailed(peer_id(number)), recorder.now + 0.5)
    _until(recorder, actions.Introduce)
    recorder.give(events.Introduced((peer_id(10),)), recorder.now + 0.1)
    full = Remote(recorder, 3, 10)
    full.open(True, recorder.now + 0.1)
    full.say(Goodbye(Reason.VIEW_FULL, "the view is full"), recorder.now + 0.1)
    recorder.tick_until(recorder.now + 2.0)
    off = small("no refresh", "an interval of 0 is never", **{**_SETTINGS, "refresh_interval_s": 0.0})
    ready(off, 3, 7)
    off.tick_until(off.now + 35.0)
    return [recorder.case(), off.case()]


def is_replaced() -> list[Case]:
    """Return the other end of a link that is given up."""
    recorder = small(
        "a link is given up by the other side",
        "Goodbye 8 gives the token of the exchange under way back; the view is short and asks, but not for that peer",
        view_size=1,
        codec=Codec.FLOAT32,
        exchange_interval_s=0.2,
        token_grant=0.0,
    )
    remote = ready(recorder, 3)[0]
    recorder.tick_until(101.0)
    remote.say(Goodbye(Reason.REPLACED, "another link takes its place"), 101.1)
    recorder.tick_until(110.0)
    recorder.give(events.Introduced((peer_id(3), peer_id(7))), 110.1)
    return [recorder.case()]
