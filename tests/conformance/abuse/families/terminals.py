"""Terminals: every one of them, and other people's."""

from tests.conformance.abuse.table import Abuse, Family, HeldBy, Must

TERMINALS = Family(
    "Terminals",
    (
        Abuse(
            name="every-terminal",
            tries="open pseudo-terminals until it is refused, in many processes",
            must=Must.BOUNDED,
            held_by=HeldBy(
                "the VM's own devpts allows 256 (the host's `kernel.pty.max` is for all)",
                gvisor="its kernel's own",
            ),
            holds=True,
            code="""
resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
if GVISOR:
    kept = [os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY) for _ in range(100)]
else:
    kept = until_refused(lambda: os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY), 300)
hold()
held()
""",
        ),
        Abuse(
            name="type-into-a-terminal",
            tries="TIOCSTI: type into a terminal that somebody reads; TIOCLINUX",
            must=Must.REFUSED,
            held_by=HeldBy("the agent's filter"),
            code="""
ours, theirs = os.openpty()
refused("type", fcntl.ioctl, theirs, 0x5412, b"x")
refused("paste", fcntl.ioctl, theirs, 0x541c, b"\\x03")
held()
""",
        ),
        Abuse(
            name="the-host-s-console",
            tries="open the console, the host's terminals, a controlling terminal",
            must=Must.REFUSED,
            held_by=HeldBy("none is in /dev; every execution is a session without a terminal"),
            code="""
for path in ("/dev/tty0", "/dev/tty1", "/dev/ttyS0", "/dev/vcs", "/dev/vcsa1", "/dev/tty", "/dev/hvc0",
    "/dev/kmsg"):
    refused(path, os.open, path, os.O_RDWR | os.O_NOCTTY)
if os.listdir("/dev/pts") not in (["ptmx"], []):
    sys.exit(repr(os.listdir("/dev/pts")))
held()
""",
        ),
    ),
)
