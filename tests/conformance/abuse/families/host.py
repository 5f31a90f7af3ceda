"""Finding the host: its files, its names, its server."""

from tests.conformance.abuse.table import Abuse, Family, HeldBy, Must

_ROOT = HeldBy(
    "the VM's root holds nothing of the host but an allow-list",
    docker="the image's own files",
    gvisor="the image's own files",
)

HOST = Family(
    "The host's files and names",
    (
        Abuse(
            name="files-of-the-host",
            tries="read a secret of the host by its path: plainly, by `..`, by /proc/*/root, cwd and links",
            must=Must.REFUSED,
            held_by=_ROOT,
            code="""
bait = os.environ["BAIT_PATH"]
places = [bait, "/../../../.." + bait, "/proc/1/root" + bait, "/proc/self/root/.." + bait,
    "/proc/1/cwd" + bait,
          "/proc/self/cwd/../../.." + bait, "/tmp/../.." + bait, "/proc/self/fd/0/.." + bait,
              "/dev/../.." + bait,
          "/proc/self/task/1/root" + bait, "/.vmpool/../.." + bait, "/oldroot" + bait, "/newroot" + bait]
os.symlink(bait, "link")
places.append("/home/user/link")
for place in places:
    refused(place, readable, place)
refused("hard link", os.link, bait, "/tmp/hard")
os.unlink("link")
held()
""",
        ),
        Abuse(
            name="passwords",
            tries="read the host's password file, keys, root's home",
            must=Must.REFUSED,
            held_by=_ROOT,
            code="""
for path in ("/etc/shadow", "/etc/gshadow", "/etc/ssh/ssh_host_rsa_key", "/root/.ssh/id_rsa",
    "/root/.bash_history",
             "/root/.docker/config.json", "/var/lib/vmpool/vmpool.db", "/etc/vmpool/vmpool.toml",
                 "/proc/1/root/etc/shadow",
             "/run/secrets", "/var/run/secrets/kubernetes.io/serviceaccount/token", "/etc/machine-id-host"):
    refused(path, readable, path)
held()
""",
        ),
        Abuse(
            name="server-s-secrets",
            tries="find the server's environment, keys and paths in every process and mount it sees",
            must=Must.REFUSED,
            held_by=HeldBy(
                "a PID namespace; an environment of the VM's own; mounts that name no path of the host"
            ),
            code="""
seen = b""
for name in os.listdir("/proc"):
    if name.isdecimal():
        for file in ("environ", "cmdline", "mountinfo", "cgroup"):
            try:
                seen += readable(f"/proc/{name}/{file}")
            except OSError:
                pass
for mark in (b"PYTEST_CURRENT_TEST", b"VMPOOL_API_KEY", b"VMPOOL_DATABASE_URL", b"SSH_AUTH_SOCK",
    b"BASH_FUNC"):
    if mark in seen:
        sys.exit(f"{mark} is to be seen")
held()
""",
        ),
        Abuse(
            name="engine-s-socket",
            tries="reach the Docker, containerd, Podman, systemd and D-Bus sockets",
            must=Must.REFUSED,
            held_by=_ROOT,
            code="""
for path in ("/var/run/docker.sock", "/run/docker.sock", "/run/containerd/containerd.sock",
    "/run/podman/podman.sock",
             "/run/systemd/private", "/run/dbus/system_bus_socket", "/run/crio/crio.sock", "/run/user/0/bus",
             "/run/systemd/journal/socket", "/dev/log", "/run/snapd.socket"):
    peer = socket.socket(socket.AF_UNIX)
    refused(path, peer.connect, path)
held()
""",
        ),
        Abuse(
            name="write-to-the-system",
            tries="write to the host's programs and settings through the VM's /usr and /etc",
            must=Must.INSIDE,
            held_by=HeldBy(
                root="copied on write to the VM's own disk",
                user="read-only",
                docker="root's files",
                gvisor="root's files",
            ),
            own=True,
            code="""
for path in ("/usr/bin/env", "/usr/lib/os-release", "/etc/passwd", "/etc/hosts", "/bin/sh"):
    try:
        with open(path, "ab") as file:
            file.write(b"#")
        print("own copy of", path)
    except OSError as error:
        print(path, error)
held()
""",
        ),
    ),
)
