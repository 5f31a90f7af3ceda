"""The disk: all of it, all names on it, and shapes that are larger than they are."""

from tests.conformance.abuse.table import Abuse, Family, HeldBy, Must

_DOCKER = "an ext4 image over its layer, or btrfs's quota; on a remote engine a warning"

_DISK = HeldBy(
    root="its own ext4 image",
    user="a warning; `/tmp` is a sized tmpfs",
    docker=_DOCKER,
    gvisor="as docker",
)

DISK = Family(
    "Disk and files",
    (
        Abuse(
            name="one-file-without-end",
            tries="write to one file without end",
            must=Must.BOUNDED,
            held_by=_DISK,
            limits={"disk": 64},
            code="""
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
taken = 0
try:
    with open("fill", "wb", buffering=0) as file:
        while taken < 96 << 20:
            taken += file.write(b"x" * (1 << 20))
except OSError as error:
    print(taken >> 20, error)
os.unlink("fill")
held()
""",
        ),
        Abuse(
            name="deleted-and-open",
            tries="fill a file nobody can see any more, and leave it open to a daemon",
            must=Must.HARMLESS,
            held_by=HeldBy("the daemon ends with its execution, and the space is free again"),
            code="""
with open("unseen", "wb", buffering=0) as file:
    os.unlink("unseen")
    for _ in range(16):
        file.write(b"x" * (1 << 20))
    if os.fork() == 0:
        os.setsid()
        time.sleep(600)
held()
""",
        ),
        Abuse(
            name="empty-files",
            tries="make empty files without end",
            must=Must.BOUNDED,
            held_by=HeldBy(
                root="the inodes of its own image",
                user="not counted; a warning",
                docker="the inodes of the image over its layer; on a remote engine a warning",
                gvisor="as docker",
            ),
            limits={"disk": 64},
            may_die=True,
            code="""
os.mkdir("many")
made, end = 0, time.time() + 1
try:
    while made < 30000 and time.time() < end:
        os.close(os.open(f"many/{made}", os.O_CREAT | os.O_WRONLY))
        made += 1
except OSError as error:
    print(made, error)
for number in range(made):
    os.unlink(f"many/{number}")
held()
""",
        ),
        Abuse(
            name="giant-with-holes",
            tries="make a file of 8 EB of holes, and reserve as much",
            must=Must.BOUNDED,
            held_by=HeldBy("the file system's largest file, and what it has left to reserve"),
            code="""
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
file = os.open("giant", os.O_CREAT | os.O_RDWR)
refused("truncate", os.ftruncate, file, (1 << 63) - 1)
refused("allocate", os.posix_fallocate, file, 0, 1 << 62)
if os.fstat(file).st_blocks * 512 > 1 << 20:
    sys.exit("it was let have it")
os.unlink("giant")
held()
""",
        ),
        Abuse(
            name="deep-directories",
            tries="nest a thousand directories",
            must=Must.HARMLESS,
            held_by=HeldBy("nobody of ours walks them by path"),
            code="""
top = os.open(".", os.O_RDONLY)
for _ in range(1000):
    os.mkdir("d" * 100)
    os.chdir("d" * 100)
refused("path", os.stat, "/home/user/" + "/".join(["d" * 100] * 1000))
for _ in range(1000):
    os.chdir("..")
    os.rmdir("d" * 100)
held()
""",
        ),
        Abuse(
            name="names-of-any-bytes",
            tries="names that are no text, that break lines, that look like options and commands",
            must=Must.HARMLESS,
            held_by=HeldBy("names are bytes everywhere; no shell reads them"),
            code="""
names = [b"\\xff\\xfe", b"a\\nb", b"-rf", b"$(reboot)", b"`id`", b"\\x1b]0;x\\x07", b" ", b"x" * 255, b"..."]
os.mkdir(b"names")
for name in names:
    with open(b"names/" + name, "wb") as file:
        file.write(name)
if sorted(os.listdir(b"names")) != sorted(names):
    sys.exit(repr(os.listdir(b"names")))
refused("too long", open, b"names/" + b"x" * 256, "wb")
refused("slash", os.mkdir, b"names/a/b")
import shutil
shutil.rmtree("names")
held()
""",
        ),
        Abuse(
            name="links-without-end",
            tries="hard links to one file without end, and symbolic links in a circle",
            must=Must.BOUNDED,
            held_by=HeldBy("the file system's most links, the kernel's 40 of a path"),
            code="""
os.mkdir("links")
open("links/0", "w").close()
made, end = 1, time.time() + 1
try:
    while made < 70000 and time.time() < end:
        os.link("links/0", f"links/{made}")
        made += 1
except OSError as error:
    print(made, error)
os.symlink("round", "links/about")
os.symlink("about", "links/round")
refused("circle", open, "links/round")
import shutil
shutil.rmtree("links")
held()
""",
        ),
        Abuse(
            name="extended-attributes",
            tries="fill extended attributes, and set those that mean privilege",
            must=Must.BOUNDED,
            held_by=HeldBy("the file system; `trusted` and `security.capability` need capabilities"),
            code="""
open("marked", "w").close()
capability = struct.pack("<IIIII", 0x02000001, 1 << 21, 0, 0, 0)
for name in ("security.capability", "trusted.overlay.opaque", "trusted.x"):
    refused(name, os.setxattr, "marked", name, capability)
try:
    for number in range(1000):
        os.setxattr("marked", f"user.{number}", b"x" * 1000)
    sys.exit("nothing stopped it")
except OSError as error:
    print(number, error)
os.unlink("marked")
held()
""",
        ),
        Abuse(
            name="sync-storm",
            tries="make the host write its disks out, again and again",
            must=Must.BOUNDED,
            held_by=HeldBy(
                "cgroup CPU; its neighbours' writes wait for the same disk",
                root="a VM's flush ends in the host's memory",
            ),
            code="""
end = time.time() + 1
while time.time() < end:
    with open("dirty", "wb") as file:
        file.write(b"x" * 4096)
        os.fsync(file.fileno())
    os.sync()
os.unlink("dirty")
held()
""",
        ),
        Abuse(
            name="lock-everything",
            tries="lock every file it can open, and take record locks without end",
            must=Must.BOUNDED,
            held_by=HeldBy("locks end with their process; no file that others lock is shared"),
            code="""
for path in ("/etc/passwd", "/usr/bin/env", "/etc/hosts"):
    file = open(path)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        print(path, error)
with open("locked", "wb+") as file:
    for number in range(2000):
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, number * 2)
os.unlink("locked")
held()
""",
        ),
    ),
)
