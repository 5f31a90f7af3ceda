/* The first program inside a VM: takes the VM's identity, drops what is left of privilege, reports that the
 * VM stands, and becomes the agent.
 *
 *   init [--range] [--rlimit NUMBER:SOFT:HARD]... [--shared-memory PAGES] -- PROGRAM ARGUMENT...
 *
 * Parent: bubblewrap's monitor (PID 1 already).  Ends: never, it executes PROGRAM. */
#include "launch.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { AGENT_LISTEN_FD = 3 };

#ifndef SYS_close_range
#define SYS_close_range 436
#endif

static void set_rlimit(const char *text) {
    unsigned long long soft, hard;
    struct rlimit limit;
    int number;

    if (sscanf(text, "%d:%llu:%llu", &number, &soft, &hard) != 3)
        die_plain("bad limit '%s'", text);
    limit.rlim_cur = (rlim_t) soft;
    limit.rlim_max = (rlim_t) hard;
    if (setrlimit(number, &limit) < 0)
        die("limit %d", number);
}

/* Full root: bubblewrap ran as the host's root, without capabilities by now; the VM's namespace is ours to
 * enter because we own it.  Entering gives every capability over it, which go again with the ids. */
static void become_vm_user(void) {
    if (setns(USERNS_FD, CLONE_NEWUSER) < 0)
        die("cannot enter the VM's user namespace");
    /* Only now, so that the VM sees its own groups as the root of all. */
    if (unshare(CLONE_NEWCGROUP) < 0)
        die("the host refuses a cgroup namespace");
    /* No user namespace below the VM's own: much of the kernel is only reachable through one. */
    write_file("/proc/sys/user/max_user_namespaces", "0");
    for (int capability = 0; prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) == 0; capability++)
        ;
    if (errno != EINVAL) /* past the last capability */
        die("cannot drop capabilities");
    if (setgroups(0, NULL) < 0 || setresgid(VM_USER, VM_USER, VM_USER) < 0 ||
        setresuid(VM_USER, VM_USER, VM_USER) < 0)
        die("cannot become the VM's user");
}

/* System V shared memory stays when its program has gone, as a file in /dev/shm does; that has a size too.
 * The host's root may still set it here, a user's namespace nobody. */
static void limit_shared_memory(const char *pages) {
    write_file("/proc/sys/kernel/shmall", pages);
}

/* bubblewrap made the tree while the launcher put us on record and into the VM's control groups. */
static void wait_until_joined(void) {
    char byte;

    if (read(JOINED_FD, &byte, 1) != 1)
        die_plain("nobody put this VM on record");
}

/* Leaves the agent exactly: nothing on 0, 1, 2, the listening socket on 3. */
static void keep_only_the_socket(void) {
    int null = open("/dev/null", O_RDWR);

    if (null < 0)
        die("/dev/null");
    if (dup2(LISTEN_FD, AGENT_LISTEN_FD) < 0)
        die("no listening socket");
    if (dup2(READY_FD, AGENT_LISTEN_FD + 1) < 0 || fcntl(AGENT_LISTEN_FD + 1, F_SETFD, FD_CLOEXEC) < 0)
        die("no ready descriptor");
    if (dup2(null, 0) < 0 || dup2(null, 1) < 0 || dup2(null, 2) < 0)
        die("standard descriptors");
    if (syscall(SYS_close_range, AGENT_LISTEN_FD + 2, ~0U, 0) < 0)
        for (int fd = AGENT_LISTEN_FD + 2; fd < 1024; fd++)
            close(fd);
}

/* "R" and end of file on the ready descriptor: PROGRAM runs.  Anything else: it does not. */
int init_main(int argc, char **argv) {
    int next = 1;
    bool range = false;

    umask(022);
    for (; next < argc && strcmp(argv[next], "--") != 0; next++) {
        if (strcmp(argv[next], "--range") == 0)
            range = true;
        else if (strcmp(argv[next], "--rlimit") == 0 && next + 1 < argc)
            set_rlimit(argv[++next]);
        else if (strcmp(argv[next], "--shared-memory") == 0 && next + 1 < argc)
            limit_shared_memory(argv[++next]);
        else
            die_plain("init: unknown option '%s'", argv[next]);
    }
    if (next + 1 >= argc)
        die_plain("init: no program");
    wait_until_joined();
    if (range)
        become_vm_user();
    /* Until here the VM ended with its launcher; from here on it stands alone. */
    if (prctl(PR_SET_PDEATHSIG, 0, 0, 0, 0) < 0)
        die("cannot stand alone");
    if (write(READY_FD, "R", 1) != 1)
        die("nobody waits for this VM");
    keep_only_the_socket();
    execv(argv[next + 1], argv + next + 1);
    if (write(AGENT_LISTEN_FD + 1, "E", 1) != 1)
        return 126;
    return 127;
}
