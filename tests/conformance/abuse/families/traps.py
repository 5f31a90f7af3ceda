"""What a VM leaves for the server to run into when it reads, writes and keeps the VM's files."""

from tests.conformance.abuse.table import Family, HeldBy, Must, Trap

_INSIDE = HeldBy("files are read and written by the agent, in the VM, as its user")

ODD_FILES = """
bait = os.environ["BAIT_PATH"]
os.makedirs("trap/deep")
os.chdir("trap")
os.symlink(bait, "to-the-host")
os.symlink("/proc/1/root" + bait, "by-proc")
os.symlink("../../../../../../.." + bait, "deep/upwards")
os.symlink("circle", "circle")
os.symlink("/etc/shadow", "shadow")
os.mkfifo("pipe")
os.symlink("/dev/zero", "endless")
os.symlink("/proc/self/mem", "memory")
os.symlink("/proc/1/environ", "environ")
os.symlink("/", "everything")
listener = socket.socket(socket.AF_UNIX)
listener.bind("socket")
with open("closed", "w") as file:
    file.write("mine")
os.chmod("closed", 0)
with open(b"\\xff\\n-rf", "w") as file:
    file.write("odd")
os.link("closed", "deep/second")
os.mkdir("no-entry", 0)
held()
"""

TRAPS = Family(
    "Traps for the server",
    (
        Trap(
            name="odd-files-read",
            tries="be read: links to the host, in circles and to /proc; pipes, sockets, devices, no end",
            must=Must.REFUSED,
            held_by=HeldBy("the agent, inside, reads regular files only and never waits; at most 256 MB"),
            prepare=ODD_FILES,
        ),
        Trap(
            name="odd-files-written",
            tries="be written to: the same, and paths with `..`, NULs, too long, of no text",
            must=Must.REFUSED,
            held_by=_INSIDE,
            prepare=ODD_FILES,
        ),
        Trap(
            name="files-that-change",
            tries="exchange a file for a link to the host again and again while it is read",
            must=Must.HARMLESS,
            held_by=_INSIDE,
            prepare="""
if os.fork() == 0:
    os.setsid()
    os.closerange(0, 3)
    end = time.time() + 4
    while time.time() < end:
        with open("plain", "w") as file:
            file.write("plain")
        os.rename("plain", "changing")
        os.symlink(os.environ["BAIT_PATH"], "link")
        os.rename("link", "changing")
    os._exit(0)
held()
""",
        ),
        Trap(
            name="holes-kept",
            tries="be kept: holes, far larger than the VM's disk, to fill the host's by a snapshot",
            must=Must.BOUNDED,
            held_by=HeldBy(
                bubblewrap="holes stay holes",
                docker="a snapshot larger than the disk limit is refused, measured while the VM is frozen",
            ),
            prepare="""
for number in range(4):
    with open(f"hole-{number}", "wb") as file:
        file.truncate(40 << 20)
held()
""",
        ),
        Trap(
            name="odd-files-kept",
            tries="be kept and restored: links to the host, pipes, sockets, closed directories",
            must=Must.INSIDE,
            held_by=HeldBy(
                bubblewrap="the disk is copied as such, no link is followed",
                docker="the engine's own layer",
            ),
            prepare=ODD_FILES,
        ),
    ),
)
