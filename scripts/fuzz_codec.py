"""Throw mutated agent traffic at the codec for a bounded time.

    python scripts/fuzz_codec.py [seconds] [seed]

Whatever comes, the decoder gives frames or raises ProtocolError, and holds no more than one frame.  Prints
the seed, so that a failure can be repeated.
"""

from __future__ import annotations

import random
import sys
import time

from vmpool.agent.codec import Decoder, ProtocolError, encode, pack, unpack
from vmpool.agent.messages import FIELDS, HEADER_BYTES, MAX_PAYLOAD_BYTES, Message


def honest(rng: random.Random) -> bytes:
    """A frame as an agent would send it."""
    message = rng.choice(list(Message))
    if message not in FIELDS:
        payload = rng.randbytes(rng.randrange(2000))
    else:
        values: dict[str, int | bytes | list[bytes]] = {}
        for name, field in FIELDS[message].items():
            if field.kind == "u64":
                values[name] = rng.getrandbits(64)
            elif field.repeated:
                values[name] = [rng.randbytes(rng.randrange(40)) for _ in range(rng.randrange(4))]
            else:
                values[name] = rng.randbytes(rng.randrange(40)).replace(b"\0", b"0")
        payload = pack(message, **values)
    return encode(message, rng.getrandbits(64), payload, stream=rng.randrange(4), offset=rng.getrandbits(64))


def mutated(rng: random.Random, data: bytes) -> bytes:
    """The same with a few bytes changed, lost or doubled."""
    changed = bytearray(data)
    for _ in range(rng.randrange(4)):
        at = rng.randrange(len(changed))
        match rng.randrange(4):
            case 0:
                changed[at] = rng.getrandbits(8)
            case 1:
                del changed[at : at + rng.randrange(1, 9)]
            case 2:
                changed[at:at] = changed[at : at + rng.randrange(1, 9)]
            case _:
                changed[at : at + 4] = rng.choice((b"\xff\xff\xff\xff", b"\0\0\0\0", b"\0\0\x10\0"))
        if not changed:
            return b"\0"
    return bytes(changed)


def one_stream(rng: random.Random) -> tuple[int, int]:
    """Feed one connection's worth; how many frames were whole, and whether it ended in an error."""
    decoder = Decoder()
    seen = 0
    for _ in range(rng.randrange(1, 8)):
        data = mutated(rng, honest(rng))
        while data:
            size = rng.randrange(1, len(data) + 1)
            try:
                for frame in decoder.feed(data[:size]):
                    seen += 1
                    if frame.type in FIELDS:
                        unpack(Message(frame.type), frame.payload)
            except ProtocolError:
                return seen, 1
            if decoder.pending > HEADER_BYTES + MAX_PAYLOAD_BYTES:
                raise AssertionError(f"the decoder holds {decoder.pending} bytes")
            data = data[size:]
    return seen, 0


def main(seconds: float, seed: int) -> None:
    """Run until the time is up; whatever is not a ProtocolError ends it with a traceback."""
    print(f"seed {seed}", flush=True)
    rng = random.Random(seed)
    end = time.monotonic() + seconds
    streams = frames = refused = 0
    while time.monotonic() < end:
        seen, error = one_stream(rng)
        streams, frames, refused = streams + 1, frames + seen, refused + error
    print(f"{streams} streams, {frames} frames, {refused} refused")


if __name__ == "__main__":
    main(
        float(sys.argv[1]) if len(sys.argv) > 1 else 10.0,
        int(sys.argv[2]) if len(sys.argv) > 2 else random.randrange(1 << 32),
    )
