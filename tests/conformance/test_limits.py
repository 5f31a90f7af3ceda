"""Limits from inside: what is past them is refused, and the machine goes on."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from tests.conformance.backends import Power, World
from tests.conformance.box import limited, open_box
from vmpool.agent import open_client

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.timeout(180),
    pytest.mark.requires(Power.REAL_PROGRAMS, Power.HOST_KERNEL),
]
MB = 1 << 20

FILL = """
import errno, json, os
home = os.stat('/home/user').st_dev
places = [d for d in ('/home/user', '/tmp', '/var/tmp', '/opt', '/usr/local/lib', '/srv')
          if os.access(d, os.W_OK) and os.stat(d).st_dev == home]
taken, refusals, made = 0, set(), []
for number in range(40):
    name = f'{places[number % len(places)]}/fill{number}'
    made.append(name)
    try:
        with open(name, 'wb', buffering=0) as file:
            for _ in range(8):
                taken += file.write(b'x' * 1048576)
    except OSError as error:
        refusals.add(errno.errorcode[error.errno])
held = sum(os.stat(name).st_blocks * 512 for name in made)
for name in made:
    os.unlink(name)
with open(made[0], 'wb') as file:
    file.write(b'fits again')
os.unlink(made[0])
print(json.dumps([taken, held, sorted(refusals), places]))
"""
"""Prints bytes written, bytes they took, how the rest was refused, and where: 320 MB were tried."""

COUNT_FILES = """
import errno, os
made = 0
os.mkdir('many')
try:
    while made < 100_000:
        os.mknod(f'many/{made}')
        made += 1
except OSError as error:
    print(made, errno.errorcode[error.errno])
else:
    print(made, 'no bound')
"""


async def test_the_disk_limit_holds_wherever_it_is_written_to(world: World) -> None:
    async with open_box(world, spec=limited(world.spec(), disk=64)) as box:
        how = box.info.enforcement["disk"]
        if how == "nothing" or "per file" in how:
            assert any("disk" in warning for warning in box.machine.warnings)
            return
        assert not any("disk" in warning for warning in box.machine.warnings)
        captured = await box.python(FILL)
        taken, held, refusals, places = json.loads(captured.stdout)
        assert 0.85 * 64 * MB < taken <= 64 * MB, captured
        assert held <= 1.01 * 64 * MB
        assert set(refusals) <= {"ENOSPC", "EDQUOT"}
        assert refusals
        assert "/home/user" in places
        count, refusal = (await box.python(COUNT_FILES)).stdout.decode().split()
        assert 1000 < int(count) < 50_000
        assert refusal in ("ENOSPC", "EDQUOT")
        await box.output("rm -r many")
        usage = await box.backend.usage(box.key)
        assert usage.disk_bytes is not None
        assert usage.disk_bytes < 8 * MB


async def test_a_stop_keeps_the_files_and_the_limit(world: World) -> None:
    async with open_box(world, spec=limited(world.spec(), disk=64)) as box:
        if box.info.enforcement["disk"] == "nothing" or "per file" in box.info.enforcement["disk"]:
            pytest.skip(f"{world.candidate.name}: nothing holds the disk limit here")
        await box.output("head -c 20000000 /dev/urandom > kept; sha256sum kept > sum")
        await box.backend.stop(box.key)
        await box.backend.start(box.key)
        async with open_client(lambda: box.backend.dial(box.key)) as client:
            again = replace(box, client=client)
            assert await again.output("sha256sum --check sum") == "kept: OK"
            captured = await again.sh("head -c 60000000 /dev/zero > more; stat -c %s kept")
            assert b"No space left" in captured.stderr
            assert captured.stdout == b"20000000\n"
