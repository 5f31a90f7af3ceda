/* bubblewrap, from its start to the moment the VM stands alone. */
#include "launch.h"
#include "route.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { INFO_BYTES = 4096 };

/* Moves a process, "0" being this one, into a control group. */
static bool join(const char *group, const char *pid) {
    int procs = open(group, O_WRONLY | O_CLOEXEC);
    bool joined = procs >= 0 && write(procs, pid, strlen(pid)) > 0;

    if (procs >= 0)
        close(procs);
    return joined;
}

static void join_all(const struct plan *plan, pid_t pid) {
    char text[16];

    snprintf(text, sizeof text, "%d", pid);
    for (size_t at = 0; at < plan->cgroup_count; at++)
        if (!join(plan->cgroups[at], text))
            die("cannot join %s", plan->cgroups[at]);
}

/* The first move into a control group after a while waits some milliseconds until every CPU has heard of it
 * (an RCU grace period); those that follow soon do not.  A child that is of no other use goes ahead, so that
 * the wait passes while the VM is put together. */
void prime_cgroups(const struct plan *plan) {
    if (plan->cgroup_count > 0 && fork() == 0)
        _exit(join(plan->cgroups[0], "0") ? 0 : 1);
}

/* Keeps a descriptor out of the range the fixed numbers lie in. */
static int out_of_the_way(int fd) {
    int moved = fcntl(fd, F_DUPFD_CLOEXEC, FIRST_FREE_FD);

    if (moved < 0)
        die("descriptor %d", fd);
    return moved;
}

static void place(int fd, int number) {
    if (fd >= 0 && dup2(fd, number) < 0)
        die("descriptor %d", number);
}

/* The child that becomes bubblewrap.  It is loaded while the launcher makes the mounts: it reads most of its
 * arguments from us, and so does nothing before. */
_Noreturn static void become_bubblewrap(const struct plan *plan, pid_t launcher, const struct child *ends) {
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    int listen = out_of_the_way(plan->listen);
    int userns = plan->maps.vm < 0 ? -1 : out_of_the_way(plan->maps.vm);
    int arguments = out_of_the_way(ends->arguments), info = out_of_the_way(ends->info);
    int ready = out_of_the_way(ends->ready), joined = out_of_the_way(ends->joined);

    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0 || getppid() != launcher)
        die_plain("the launcher is gone");
    place(null, STDIN_FILENO);
    place(null, STDOUT_FILENO);
    place(info, INFO_FD);
    place(ready, READY_FD);
    place(listen, LISTEN_FD);
    place(userns, USERNS_FD);
    place(arguments, ARGUMENTS_FD);
    place(joined, JOINED_FD);
    execv(plan->run[0], plan->run);
    die("cannot run %s", plan->run[0]);
}

struct child start_bubblewrap(const struct plan *plan) {
    int arguments[2], info[2], ready[2], joined[2];
    pid_t launcher = getpid(), pid;

    if (pipe2(arguments, O_CLOEXEC) < 0 || pipe2(info, O_CLOEXEC) < 0 || pipe2(ready, O_CLOEXEC) < 0 ||
        pipe2(joined, O_CLOEXEC) < 0 || (pid = fork()) < 0)
        die("cannot start bubblewrap");
    if (pid == 0)
        become_bubblewrap(
            plan, launcher,
            &(struct child){.arguments = arguments[0], .info = info[1], .ready = ready[1], .joined = joined[0]});
    close(arguments[0]);
    close(info[1]);
    close(ready[1]);
    close(joined[0]);
    return (struct child){
        .pid = pid, .arguments = arguments[1], .info = info[0], .ready = ready[0], .joined = joined[1]};
}

/* PID of the VM's first process from bubblewrap's JSON; 0 if bubblewrap ended before. */
static pid_t read_child_pid(int info) {
    char text[INFO_BYTES];
    size_t length = 0;
    ssize_t got;
    const char *at;

    while (length < sizeof text - 1 && (got = read(info, text + length, sizeof text - 1 - length)) > 0) {
        length += (size_t) got;
        text[length] = '\0';
        if ((at = strstr(text, "\"child-pid\":")) && strpbrk(at, ",\n}"))
            return (pid_t) atoi(at + strlen("\"child-pid\":"));
    }
    return 0;
}

/* Written before the VM's first program runs, so a VM that runs is always on record. */
static void write_pidfile(const char *path, pid_t pid) {
    char text[4096], name[4096], *at;
    unsigned long long start = 0;
    ssize_t got;
    int fd;

    snprintf(name, sizeof name, "/proc/%d/stat", pid);
    if ((fd = open(name, O_RDONLY | O_CLOEXEC)) < 0 || (got = read(fd, text, sizeof text - 1)) <= 0)
        die("%s", name);
    close(fd);
    text[got] = '\0';
    at = strrchr(text, ')');
    for (int field = 2; at && field < 22; field++)
        if ((at = strchr(at + 1, ' ')) == NULL)
            die_plain("%s is not understood", name);
    start = strtoull(at ? at + 1 : "", NULL, 10);
    snprintf(name, sizeof name, "%s.new", path);
    snprintf(text, sizeof text, "%d %llu\n", pid, start);
    write_file(name, text);
    if (rename(name, path) < 0)
        die("%s", path);
}

/* Lets bubblewrap make the VM's first process and puts that on record and into its groups.  A control group of
 * an ordinary user must hold bubblewrap itself, which makes the cgroup namespace there; full root leaves that
 * to the first process, which can be moved while bubblewrap mounts. */
static pid_t let_go(const struct plan *plan, const struct child *child) {
    bool range = plan->maps.vm >= 0;
    pid_t first;

    if (!range)
        join_all(plan, child->pid);
    if (write(child->arguments, plan->arguments, plan->arguments_size) != (ssize_t) plan->arguments_size)
        return 0;
    close(child->arguments);
    if ((first = read_child_pid(child->info)) <= 0)
        return 0;
    write_pidfile(plan->pidfile, first);
    if (range)
        join_all(plan, first);
    return write(child->joined, "1", 1) == 1 ? first : 0;
}

/* Every address is made the VM's own (route.h): the launcher is root over its namespaces, the VM is not.  Where
 * the host does not let us the VM stands all the same, and its programs reach the network by its proxy. */
static void route(pid_t first) {
    char path[64];
    const char *failed;

    snprintf(path, sizeof path, "/proc/%d/ns/net", first);
    route_in_namespace(path, &failed);
}

/* Waits until the agent runs.  bubblewrap's monitor is then of no more use: the VM's first process is its PID 1
 * and is watched by a pidfd. */
void run_bubblewrap(const struct plan *plan, struct child *bubblewrap) {
    pid_t first = let_go(plan, bubblewrap);
    char answer[8];
    size_t length = 0;
    ssize_t got;

    while (length < sizeof answer && (got = read(bubblewrap->ready, answer + length, sizeof answer - length)) > 0)
        length += (size_t) got;
    kill(bubblewrap->pid, SIGKILL);
    if (length == 1 && answer[0] == 'R') {
        route(first);
        waitpid(bubblewrap->pid, NULL, 0);
        close(plan->lock);
        return;
    }
    if (first > 0)
        kill(first, SIGKILL);
    waitpid(bubblewrap->pid, NULL, 0);
    unlink(plan->pidfile);
    if (length > 1)
        die_plain("the agent could not be executed");
    exit(1);
}
