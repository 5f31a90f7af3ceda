"""Mounts, namespaces and control groups: the walls themselves."""

from tests.conformance.abuse.table import Abuse, Family, HeldBy, Must

_FILTER = HeldBy("the agent's filter; no capability")

NAMESPACES = Family(
    "Mounts, namespaces, control groups",
    (
        Abuse(
            name="mount",
            tries="mount a tmpfs, /proc, a bind, an overlay; remount read-write; unmount",
            must=Must.REFUSED,
            held_by=_FILTER,
            code="""
for source, target, kind, flags in ((b"none", b"/tmp", b"tmpfs", 0), (b"proc", b"/tmp", b"proc", 0),
                                    (b"/etc", b"/tmp", None, 4096), (b"none", b"/", None, 32),
                                    (b"none", b"/", None, 1 << 18), (b"none", b"/proc", b"sysfs", 0)):
    refused("mount", call, (165, 40), source, target, kind, flags, 0)
for place in (b"/proc", b"/dev", b"/dev/shm", b"/etc/hosts", b"/proc/sys"):
    refused("umount", call, (166, 39), place, 2)
held()
""",
        ),
        Abuse(
            name="mount-the-new-way",
            tries="fsopen, open_tree, move_mount, mount_setattr, fspick",
            must=Must.REFUSED,
            held_by=_FILTER,
            code="""
refused("fsopen", call, 430, b"tmpfs", 0)
refused("open_tree", call, 428, -100, b"/", 1)
refused("fspick", call, 433, -100, b"/", 0)
refused("move_mount", call, 429, 0, b"", -100, b"/tmp", 4)
refused("mount_setattr", call, 442, -100, b"/", 0, ctypes.c_char_p(bytes(32)), 32)
held()
""",
        ),
        Abuse(
            name="new-namespaces",
            tries="unshare and clone each kind of namespace",
            must=Must.REFUSED,
            held_by=_FILTER,
            code="""
for flag in (0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000, 0x80):
    refused(hex(flag), call, (272, 97), flag)
    if flag != 0x80:
        refused(hex(flag), call, (56, 220), flag | 17, 0, 0, 0, 0)
refused("clone3", call, 435, ctypes.c_char_p(struct.pack("QQQQQQQQ", 0x10000000, 0, 0, 0, 17, 0, 0, 0)), 64)
held()
""",
        ),
        Abuse(
            name="enter-namespaces",
            tries="setns into those of process 1, and through a pidfd",
            must=Must.REFUSED,
            held_by=HeldBy("the agent's filter; process 1 is not dumpable"),
            code="""
for name in ("mnt", "net", "pid", "user", "uts", "ipc", "cgroup"):
    for pid in ("1", "self"):
        try:
            descriptor = os.open(f"/proc/{pid}/ns/{name}", os.O_RDONLY)
        except OSError as error:
            print(name, error)
            continue
        refused("setns", call, (308, 268), descriptor, 0)
        os.close(descriptor)
try:
    descriptor = call(434, 1, 0)
except OSError as error:
    print(error)
else:
    refused("pidfd", call, (308, 268), descriptor, 0x20000000)
held()
""",
        ),
        Abuse(
            name="chroot-and-out",
            tries="chroot and climb out by an open directory; pivot_root",
            must=Must.REFUSED,
            held_by=_FILTER,
            code="""
refused("chroot", os.chroot, "/tmp")
refused("pivot_root", call, (155, 41), b"/tmp", b"/tmp")
top = os.open("/", os.O_RDONLY)
os.fchdir(top)
for _ in range(50):
    os.chdir("..")
if os.stat(".").st_ino != os.stat("/").st_ino or os.stat(".").st_dev != os.stat("/").st_dev:
    sys.exit("there is something above /")
held()
""",
        ),
        Abuse(
            name="map-its-own-ids",
            tries="write uid_map, gid_map, setgroups, timens_offsets",
            must=Must.REFUSED,
            held_by=HeldBy("no capability; the maps are written"),
            code="""
for name in ("uid_map", "gid_map", "setgroups", "timens_offsets"):
    path = f"/proc/self/{name}"
    if os.path.exists(path):
        refused(name, write_to, path, b"0 0 1" if name != "setgroups" else b"allow")
held()
""",
        ),
        Abuse(
            name="release-agent",
            tries="have the host run a program: a control group's release_agent and notify_on_release",
            must=Must.REFUSED,
            held_by=HeldBy("control groups are not there or read-only, and mount is refused"),
            code="""
for path in walk("/sys/fs/cgroup"):
    name = os.path.basename(path)
    if name in ("release_agent", "notify_on_release", "cgroup.procs", "tasks", "memory.limit_in_bytes",
        "memory.max",
                "pids.max", "cpu.cfs_quota_us", "cpu.max", "devices.allow", "cgroup.subtree_control"):
        refused(path, write_to, path)
for place in ("/sys/fs/cgroup", "/sys/fs/cgroup/memory", "/sys/fs/cgroup/unified", "/proc/1"):
    refused(place, os.mkdir, place + "/escape")
refused("mount", call, (165, 40), b"none", b"/tmp", b"cgroup", 0, b"rdma")
held()
""",
        ),
        Abuse(
            name="handles",
            tries="open_by_handle_at: files by number, past every directory",
            must=Must.REFUSED,
            held_by=HeldBy("the agent's filter; no capability"),
            code="""
handle = ctypes.create_string_buffer(struct.pack("II", 128, 0) + bytes(128))
mount = ctypes.c_int()
try:
    call((303, 264), -100, b"/etc/hosts", handle, ctypes.byref(mount), 0)
except OSError as error:
    print(error)
for inode in (2, 1, 128):
    made = ctypes.create_string_buffer(struct.pack("IIII", 8, 1, inode, 0))
    top = os.open("/etc/hosts", os.O_RDONLY)
    refused("open", call, (304, 265), top, made, 0)
refused("open", call, (304, 265), -100, handle, 0)
held()
""",
        ),
        Abuse(
            name="spoil-devices",
            tries="change mode, owner and times of /dev/null and its like, and remove them, for everybody",
            must=Must.REFUSED,
            held_by=HeldBy("/dev is read-only, and root's", user="bound read-only one by one"),
            code="""
for name in ("null", "zero", "full", "random", "urandom", "tty"):
    path = "/dev/" + name
    refused("mode", os.chmod, path, 0)
    refused("owner", os.chown, path, 0, 0)
    refused("times", os.utime, path, (1, 1))
    refused("remove", os.unlink, path)
refused("make", open, "/dev/new", "w")
held()
""",
        ),
        Abuse(
            name="devices",
            tries="mknod of disks, memory and consoles; open those that might be there",
            must=Must.REFUSED,
            held_by=HeldBy(
                "no capability; none is in /dev; mounts without devices",
                gvisor="a node of its kernel's, and no device behind it",
            ),
            code="""
for kind, major, minor in ((stat.S_IFBLK, 8, 0), (stat.S_IFBLK, 254, 0), (stat.S_IFBLK, 7, 0),
    (stat.S_IFCHR, 1, 1),
                           (stat.S_IFCHR, 10, 229), (stat.S_IFCHR, 10, 237), (stat.S_IFCHR, 5, 1)):
    for place in ("/tmp/node", "/dev/shm/node", "/home/user/node"):
        if GVISOR and place == "/dev/shm/node":
            os.mknod(place, kind | 0o666, os.makedev(major, minor))
            if (major, minor) != (10, 229):  # its own FUSE
                refused(f"{major}:{minor}", os.open, place, os.O_RDWR)
            os.unlink(place)
        else:
            refused(f"{major}:{minor}", os.mknod, place, kind | 0o666, os.makedev(major, minor))
for name in ("mem", "kmem", "port", "kmsg", "sda", "vda", "loop-control", "loop0", "fuse", "kvm",
    "net/tun", "vsock",
             "vhost-vsock", "mapper/control", "dri", "snd", "uinput", "autofs", "userfaultfd", "hpet",
                 "mcelog"):
    if os.path.exists("/dev/" + name) and not (GVISOR and name in ("fuse", "net/tun")):
        sys.exit(f"/dev/{name} is there")
held()
""",
        ),
    ),
)
