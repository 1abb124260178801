"""Replays the transcripts from their JSON alone, as any other implementation would: nothing here knows how they were made."""

import json
import zlib
from pathlib import Path

import numpy as np
import zstandard

from meshlearn.protocol import actions, events
from meshlearn.protocol.averaging import make_rule
from meshlearn.protocol.config import PeerConfig
from meshlearn.protocol.peer import Peer
from meshlearn.protocol.replica import Replica
from meshlearn.wire.codec import Codec
from meshlearn.wire.frames import Reassembler
from meshlearn.wire.generator import Generator
from meshlearn.wire.messages import PeerKind

HERE = Path(__file__).parent


def load(name):
    return json.loads((HERE / name).read_text())


def transcripts():
    return [case for path in sorted(HERE.glob("transcripts_*.json")) for case in load(path.name)["cases"]]


def drawn(seed, count, scale):
    generator = Generator(int(seed, 16))
    return np.array([(generator.uniform() - 0.5) * scale for _ in range(count)]).astype(np.float32)


def peer_of(case):
    settings = dict(case["config"])
    for name in ("peer_id", "run_tag"):
        settings[name] = bytes.fromhex(settings[name])
    for name in ("codec", "pull_codec"):
        if name in settings:
            settings[name] = Codec.named(settings[name])
    if "kind" in settings:
        settings["kind"] = PeerKind[settings["kind"].upper()]
    initial = drawn(case["initial"]["seed"], case["initial"]["count"], case["initial"]["scale"])
    replica = Replica(initial, case["slice_length"])
    rule = make_rule(case["rule"], len(initial), learning_rate=1.0)
    return Peer(PeerConfig(**settings), replica, rule, Generator(int(case["seed"], 16)), case["now"])


def event_of(step):
    fields = {name: value for name, value in step["event"].items() if name != "type"}
    for name in ("peer", "frame"):
        if name in fields:
            fields[name] = bytes.fromhex(fields[name])
    if "peers" in fields:
        fields["peers"] = tuple(bytes.fromhex(peer) for peer in fields["peers"])
    return getattr(events, step["event"]["type"])(**fields)


def crc32(vector):
    return zlib.crc32(vector.astype("<f4").tobytes())


def sent(action, due):
    """What an action says of a message, in the form of the one that is due."""
    found = {"type": "Send", "link": action.link}
    if "frames" in due:
        return found | {"frames": [frame.hex() for frame in action.frames]}
    reassembler = Reassembler()
    data = next(whole for frame in action.frames if (whole := reassembler.feed(frame)) is not None)
    found["number"] = int.from_bytes(action.frames[0][2:4], "little")
    if "goodbye" in due:
        return found | {"goodbye": data[20] if data[5] == 7 else None}
    head = 40 if data[5] == 6 else 48
    payload = zstandard.ZstdDecompressor().decompress(data[head:]) if data[6] & 1 else data[head:]
    length = head - 20 + len(payload)
    return found | {"inflated": (data[:6] + bytes(2) + data[8:16] + length.to_bytes(4, "little") + data[20:head] + payload).hex()}


def told(action, due):
    match action:
        case actions.Send():
            return sent(action, due)
        case actions.Introduce():
            return {"type": "Introduce", "count": action.count}
        case actions.Connect():
            return {"type": "Connect", "peer": action.peer.hex()}
        case actions.CloseLink():
            return {"type": "CloseLink", "link": action.link, "reason": int(action.reason)}
        case actions.Ready():
            return {"type": "Ready", "pulled": action.pulled}
        case actions.Refused():
            return {"type": "Refused", "link": action.link, "peer": action.peer.hex()}
        case actions.ModelPulled():
            found = {"type": "ModelPulled", "peer": action.peer.hex(), "age": action.age}
            return found | {"displacement_crc32": crc32(action.displacement)}
        case actions.Averaged():
            near = abs(action.change_norm - due.get("change_norm", -1.0)) <= 1e-6 * action.change_norm
            return {
                "type": "Averaged",
                "link": action.link,
                "peer": action.peer.hex(),
                "slice_index": action.slice_index,
                "exchange_id": f"{action.exchange_id:016x}",
                "weight": action.weight,
                "clipped": action.clipped,
                "change_norm": due["change_norm"] if near else action.change_norm,
            }


def replay(case):
    """Assert that a peer does what the transcript says; return the peer."""
    peer = peer_of(case)
    vector = peer.replica.vector
    known = crc32(vector)
    for number, step in enumerate(case["steps"]):
        where = f"{case['name']}, step {number}, at {step['now']}"
        if "change" in step:
            vector += drawn(step["change"]["seed"], len(vector), step["change"]["scale"])
            known = crc32(vector)
        done = peer.handle(event_of(step), step["now"])
        assert len(done) == len(step["actions"]), where
        for action, due in zip(done, step["actions"], strict=True):
            assert told(action, due) == due, where
        assert peer.deadline() == step["deadline"], where
        known = step.get("vector_crc32", known)
        assert crc32(vector) == known, where
    end = case["end"]
    assert peer.ready == end["ready"]
    assert list(peer.links) == end["links"]
    assert crc32(vector) == end["vector_crc32"]
    assert [peer.replica.age(index) for index in range(peer.replica.slice_count)] == end["ages"]
    assert peer.tokens == end["tokens"]
    return peer
