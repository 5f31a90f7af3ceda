/* User namespaces of a VM and the idmappings of its mounts. */
#include "launch.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Ordinary user: a user namespace in which the caller's id is 0, so that mounts can be made. */
void enter_own_user_namespace(void) {
    char map[64];
    unsigned uid = geteuid(), gid = getegid();

    if (unshare(CLONE_NEWUSER) < 0)
        die("the host refuses a user namespace");
    write_file("/proc/self/setgroups", "deny");
    snprintf(map, sizeof map, "0 %u 1\n", uid);
    write_file("/proc/self/uid_map", map);
    snprintf(map, sizeof map, "0 %u 1\n", gid);
    write_file("/proc/self/gid_map", map);
}

/* A child born in a user namespace of its own, which lasts as long as the child unless somebody holds it. */
static pid_t born_in_namespace(void) {
    pid_t launcher = getpid(), child = (pid_t) syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0);

    if (child < 0)
        die("the host refuses a user namespace");
    if (child > 0)
        return child;
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) == 0 && getppid() == launcher)
        pause();
    _exit(1);
}

/* The child's namespace, given `map` for users and groups. */
static int namespace_of(pid_t child, const char *map) {
    char path[64];
    int fd;

    snprintf(path, sizeof path, "/proc/%d/uid_map", child);
    write_file(path, map);
    snprintf(path, sizeof path, "/proc/%d/gid_map", child);
    write_file(path, map);
    snprintf(path, sizeof path, "/proc/%d/ns/user", child);
    if ((fd = open(path, O_RDONLY | O_CLOEXEC)) < 0)
        die("%s", path);
    kill(child, SIGKILL);
    return fd;
}

/* Full root: ids of the VM are base..base+65535 on the host, so no VM shares one with the host or another VM.
 *
 * `system` exchanges root and the VM's user: what belongs to the host's root belongs to the user in the VM,
 * who may then change it (in the overlay's upper layer) without ever being root.  `own` carries one id more
 * for the host's root, because the overlay's own files (work directory, whiteouts) are made by its mounter. */
struct id_maps make_id_maps(unsigned base) {
    struct id_maps maps = {.base = base};
    pid_t children[3];
    char map[256];

    for (int at = 0; at < 3; at++)
        children[at] = born_in_namespace();
    snprintf(map, sizeof map, "0 %u %d\n", base, RANGE_IDS);
    maps.vm = namespace_of(children[0], map);
    snprintf(map, sizeof map, "0 %u 1\n1 %u %d\n%d %u 1\n%d %u %d\n", base + VM_USER, base + 1, VM_USER - 1,
             VM_USER, base, VM_USER + 1, base + VM_USER + 1, RANGE_IDS - VM_USER - 1);
    maps.system = namespace_of(children[1], map);
    snprintf(map, sizeof map, "0 %u %d\n%d 0 1\n", base, RANGE_IDS, RANGE_IDS);
    maps.own = namespace_of(children[2], map);
    return maps;
}
