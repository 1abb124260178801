"""The peer does what tests/vectors/transcripts_*.json say, step by step."""

import pytest

from meshlearn.protocol import actions, events
from tests.vectors.replay import event_of, peer_of, replay, transcripts

CASES = {case["name"]: case for case in transcripts()}


@pytest.mark.parametrize("name", CASES)
def test_a_transcript_replays(name):
    replay(CASES[name])


def test_the_transcripts_tell_every_event_and_every_action():
    steps = [step for case in CASES.values() for step in case["steps"]]
    told = {step["event"]["type"] for step in steps}
    asked = {action["type"] for step in steps for action in step["actions"]}
    assert told == {kind.__name__ for kind in events.Event.__args__}
    assert asked == {kind.__name__ for kind in actions.Action.__args__}


def test_another_seed_tells_another_story():
    case = CASES["two peers, the one"]
    peer = peer_of(case | {"seed": "0123456789abcdef"})
    deadlines = []
    for step in case["steps"]:
        peer.handle(event_of(step), step["now"])
        deadlines.append(peer.deadline())
    assert deadlines != [step["deadline"] for step in case["steps"]]
