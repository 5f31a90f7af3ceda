"""The network, and everything that is reached as if it were one."""

from tests.conformance.abuse.table import Abuse, Family, HeldBy, Must

_OWN = HeldBy("a network namespace with `lo` only", gvisor="a network stack of its own")

NETWORK = Family(
    "Network",
    (
        Abuse(
            name="the-host-s-loopback",
            tries="reach what listens on the host's loopback and on its address, by TCP and UDP",
            must=Must.REFUSED,
            held_by=_OWN,
            code="""
port = int(os.environ["BAIT_PORT"])
for address in ("127.0.0.1", "127.0.0.2", "127.255.255.254", "0.0.0.0", os.environ["BAIT_ADDRESS"],
    "172.17.0.1"):
    with socket.socket() as peer:
        peer.settimeout(1)
        refused(address, peer.connect, (address, port))
    unanswered(address, address, port)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        try:
            peer.sendto(b"x", (address, port))
        except OSError as error:
            print(address, error)
for address in ("::1", "::ffff:127.0.0.1"):
    try:
        peer = socket.socket(socket.AF_INET6)
    except OSError as error:
        print(error)
        break
    peer.settimeout(1)
    refused(address, peer.connect, (address, port))
for name in ("localhost", "localhost.", "127.1", "0x7f000001", "2130706433", "[::1]", "[::ffff:127.0.0.1]"):
    unanswered(name, name, port)
held()
""",
        ),
        Abuse(
            name="the-server",
            tries="reach the pool's own server",
            must=Must.REFUSED,
            held_by=_OWN,
            code="""
for port in (8321, 2375, 2376, 22, 53, 5432):
    for address in ("127.0.0.1", os.environ["BAIT_ADDRESS"], "172.17.0.1"):
        unanswered(address, address, port)
        if port == 53:
            continue  # where there is a network, the VM's own resolver takes it
        with socket.socket() as peer:
            peer.settimeout(1)
            refused(f"{address}:{port}", peer.connect, (address, port))
held()
""",
        ),
        Abuse(
            name="metadata",
            tries="reach the cloud's metadata service",
            must=Must.REFUSED,
            held_by=_OWN,
            code="""
for address in ("169.254.169.254", "169.254.170.2", "100.100.100.200", "192.0.0.192", "fd00:ec2::254",
    "metadata.google.internal"):
    unanswered(address, address, 80)
held()
""",
        ),
        Abuse(
            name="abstract-sockets",
            tries="reach abstract unix sockets of the host",
            must=Must.REFUSED,
            held_by=HeldBy("a network namespace, to which they belong", gvisor="its kernel's own"),
            code="""
for name in (os.environ["BAIT_ABSTRACT"], "/tmp/.X11-unix/X0", "/containerd-shim/moby", "/tmp/dbus-session"):
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        peer = socket.socket(socket.AF_UNIX, kind)
        refused(name, peer.connect, "\\0" + name)
try:
    seen = readable("/proc/net/unix")
except OSError as error:
    print(error)
else:
    if os.environ["BAIT_ABSTRACT"].encode() in seen:
        sys.exit("it is to be seen")
held()
""",
        ),
        Abuse(
            name="raw-sockets",
            tries="raw and packet sockets, ICMP, promiscuous devices",
            must=Must.REFUSED,
            held_by=HeldBy("no capability; the agent's filter"),
            code="""
for protocol in (1, 6, 255):
    refused("raw", socket.socket, socket.AF_INET, socket.SOCK_RAW, protocol)
refused("packet", socket.socket, 17, socket.SOCK_RAW, 0x0300)
refused("packet", socket.socket, 17, socket.SOCK_DGRAM, 0x0300)
held()
""",
        ),
        Abuse(
            name="virtual-sockets",
            tries="vsock, which leads out of a virtual machine",
            must=Must.REFUSED,
            held_by=HeldBy("the agent's filter"),
            code="""
for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET):
    refused("vsock", socket.socket, 40, kind)
held()
""",
        ),
        Abuse(
            name="configure-the-network",
            tries="make interfaces, addresses and routes by netlink and ioctl",
            must=Must.REFUSED,
            held_by=HeldBy(
                "no capability over the network namespace", gvisor="its stack takes no such order"
            ),
            code="""
def ask(kind, body):
    link = socket.socket(16, socket.SOCK_RAW, 0)
    link.settimeout(5)
    link.send(struct.pack("IHHII", 16 + len(body), kind, 0x605, 1, 0) + body)
    answer = link.recv(4096)
    number = -struct.unpack_from("i", answer, 16)[0]
    if number:
        raise OSError(number, os.strerror(number))
name = b"dummy7\\0\\0"
attributes = struct.pack("HH", 12, 3) + name + struct.pack("HH", 16, 18) + struct.pack("HH", 10,
    1) + b"dummy\\0\\0\\0"
refused("link", ask, 16, struct.pack("BxHiII", 0, 0, 0, 0, 0) + attributes)
refused("address", ask, 20, struct.pack("BBBBI", 2, 8, 0, 0, 1) + struct.pack("HH4s", 8, 2, bytes([10,
    9, 8, 7])))
refused("route", ask, 24, struct.pack("BBBBBBBBI", 2, 0, 0, 0, 254, 4, 253, 2, 0) + struct.pack("HHI",
    8, 4, 1))
plain = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
refused("address", fcntl.ioctl, plain, 0x8916, struct.pack("16sH14s", b"lo", 2, bytes(14)))
refused("flags", fcntl.ioctl, plain, 0x8914, struct.pack("16sH14s", b"lo", 0, bytes(14)))
held()
""",
        ),
        Abuse(
            name="broadcast",
            tries="broadcasts and multicasts, for whoever else is on the wire",
            must=Must.HARMLESS,
            held_by=_OWN,
            code="""
port = int(os.environ["BAIT_PORT"])
for address in ("255.255.255.255", "224.0.0.1", "239.255.255.250", "172.17.255.255"):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        try:
            peer.sendto(b"x", (address, port))
        except OSError as error:
            print(address, error)
held()
""",
        ),
        Abuse(
            name="low-ports",
            tries="listen on ports that mean something, on every address",
            must=Must.INSIDE,
            held_by=_OWN,
            code="""
kept = []
for port in (22, 53, 80, 443, 2375, 8321):
    try:
        kept.append(socket.create_server(("0.0.0.0", port)))
    except OSError as error:
        print(port, error)
held()
""",
        ),
        Abuse(
            name="connections-without-end",
            tries="open connections to itself until it is refused",
            must=Must.BOUNDED,
            held_by=HeldBy("`RLIMIT_NOFILE`, and cgroup memory"),
            may_die=True,
            code="""
resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
server = socket.create_server(("127.0.0.1", 0), backlog=4096)
kept, end = [], time.time() + 1
try:
    while time.time() < end:
        kept.append(socket.create_connection(server.getsockname(), timeout=1))
        kept.append(server.accept()[0])
except OSError as error:
    print(len(kept), error)
held()
""",
        ),
    ),
)
