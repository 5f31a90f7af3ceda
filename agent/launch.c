/* vmpool-launch: makes the mounts of one bubblewrap VM and starts it.
 *
 *   vmpool-launch                 reads a plan from standard input, starts the VM, ends when it stands
 *   vmpool-launch as-root PROGRAM runs PROGRAM as root of a fresh user namespace (for files of any mode)
 *   vmpool-launch init ...        the first program inside the VM, see launch_init.c
 *
 * The plan is data: NUL-terminated tokens, each directive followed by its arguments, the last one `end`.
 *
 *   lock FD            closed in the VM; whoever waits for this lock waits for the launcher
 *   listen FD          the agent's listening socket
 *   pidfile PATH       where to write "PID START-TIME" of the VM's first process
 *   user               ordinary user: a user namespace in which the caller is root
 *   range BASE         full root: the VM's ids start at BASE
 *   cgroup PATH        a cgroup.procs file the VM joins
 *   run ARGUMENT... .  bubblewrap's arguments, up to a token "."
 *   stage DIRECTORY    the tree is put together here; names below are relative to it
 *   dir NAME           make a directory
 *   bind SOURCE NAME plain|system|own
 *   image FILE NAME    mount a disk image
 *   overlay NAME OPTIONS
 *   end
 *
 * Mounts live in the launcher's own mount namespace and go with its last process.  Errors go to standard
 * error as one line; exit status 0 means that the agent runs. */
#include "launch.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MAX_PLAN = 1 << 18, MAX_TOKENS = 4096, MAX_CGROUPS = 16, INFO_BYTES = 4096 };

/* The process that becomes bubblewrap, and our ends of its pipes: `go` is written to let it run. */
struct child {
    pid_t pid;
    int go, info, ready;
};

struct plan {
    struct id_maps maps;
    int lock, listen;
    const char *pidfile;
    const char *cgroups[MAX_CGROUPS];
    size_t cgroup_count;
    char **run;
    struct child bubblewrap;
};

void die(const char *format, ...) {
    int number = errno;
    va_list arguments;

    va_start(arguments, format);
    dprintf(STDERR_FILENO, "vmpool-launch: ");
    vdprintf(STDERR_FILENO, format, arguments);
    dprintf(STDERR_FILENO, ": %s\n", strerror(number));
    va_end(arguments);
    exit(1);
}

void die_plain(const char *format, ...) {
    va_list arguments;

    va_start(arguments, format);
    dprintf(STDERR_FILENO, "vmpool-launch: ");
    vdprintf(STDERR_FILENO, format, arguments);
    dprintf(STDERR_FILENO, "\n");
    va_end(arguments);
    exit(1);
}

void write_file(const char *path, const char *text) {
    int fd = open(path, O_WRONLY | O_CLOEXEC | O_CREAT | O_TRUNC, 0600);
    size_t length = strlen(text);

    if (fd < 0 || write(fd, text, length) != (ssize_t) length)
        die("cannot write %s", path);
    close(fd);
}

static struct tokens read_plan(void) {
    static char buffer[MAX_PLAN];
    static char *items[MAX_TOKENS];
    struct tokens tokens = {.items = items};
    size_t length = 0;
    ssize_t got;

    while ((got = read(STDIN_FILENO, buffer + length, sizeof buffer - length)) > 0)
        length += (size_t) got;
    if (got < 0)
        die("cannot read the plan");
    if (length == sizeof buffer || length == 0 || buffer[length - 1] != '\0')
        die_plain("the plan is cut short or too long");
    for (size_t at = 0; at < length; at += strlen(buffer + at) + 1) {
        if (tokens.count == MAX_TOKENS - 1)
            die_plain("the plan has too many words");
        items[tokens.count++] = buffer + at;
    }
    if (strcmp(items[tokens.count - 1], "end") != 0)
        die_plain("the plan is cut short");
    return tokens;
}

static char *next_token(struct tokens *tokens) {
    if (tokens->next == tokens->count)
        die_plain("the plan is cut short");
    return tokens->items[tokens->next++];
}

static int next_fd(struct tokens *tokens) {
    int fd = atoi(next_token(tokens));

    if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
        die("descriptor %d of the plan", fd);
    return fd;
}

static void do_bind(struct tokens *tokens, const struct id_maps *maps) {
    const char *source = next_token(tokens), *target = next_token(tokens), *how = next_token(tokens);

    make_directory(target, maps);
    if (strcmp(how, "plain") == 0)
        bind_plain(source, target);
    else
        bind_idmapped(source, target, strcmp(how, "own") == 0 ? maps->own : maps->system);
}

/* The arguments of bubblewrap end with a token "." that is made the NULL execv wants. */
static char **take_run(struct tokens *tokens) {
    char **first = tokens->items + tokens->next;

    while (strcmp(next_token(tokens), ".") != 0)
        ;
    tokens->items[tokens->next - 1] = NULL;
    return first;
}

static struct child start_child(const struct plan *plan);

/* Carries out one directive; false for `end`. */
static bool step(struct plan *plan, struct tokens *tokens) {
    const char *word = next_token(tokens);

    if (strcmp(word, "end") == 0)
        return false;
    if (strcmp(word, "lock") == 0)
        plan->lock = next_fd(tokens);
    else if (strcmp(word, "listen") == 0)
        plan->listen = next_fd(tokens);
    else if (strcmp(word, "pidfile") == 0)
        plan->pidfile = next_token(tokens);
    else if (strcmp(word, "user") == 0)
        enter_own_user_namespace();
    else if (strcmp(word, "range") == 0)
        plan->maps = make_id_maps((unsigned) strtoul(next_token(tokens), NULL, 10));
    else if (strcmp(word, "cgroup") == 0 && plan->cgroup_count < MAX_CGROUPS)
        plan->cgroups[plan->cgroup_count++] = next_token(tokens);
    else if (strcmp(word, "stage") == 0) {
        if (plan->run == NULL || plan->listen < 0)
            die_plain("the plan lacks run or listen before stage");
        private_mounts();
        plan->bubblewrap = start_child(plan);
        mount_stage(next_token(tokens));
    } else if (strcmp(word, "dir") == 0)
        make_directory(next_token(tokens), &plan->maps);
    else if (strcmp(word, "bind") == 0)
        do_bind(tokens, &plan->maps);
    else if (strcmp(word, "image") == 0) {
        const char *image = next_token(tokens), *target = next_token(tokens);

        make_directory(target, &plan->maps);
        mount_image(image, target);
    } else if (strcmp(word, "overlay") == 0) {
        const char *target = next_token(tokens);

        mount_overlay(target, next_token(tokens));
    } else if (strcmp(word, "run") == 0)
        plan->run = take_run(tokens);
    else
        die_plain("unknown directive '%s'", word);
    return true;
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

/* The child that becomes bubblewrap: joins the VM's cgroups while the launcher makes the mounts (moving a
 * process can wait milliseconds for the kernel), then puts descriptors where they are expected. */
_Noreturn static void become_bubblewrap(const struct plan *plan, pid_t launcher, int go, int info, int ready) {
    char byte;
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    int listen = out_of_the_way(plan->listen);
    int userns = plan->maps.vm < 0 ? -1 : out_of_the_way(plan->maps.vm);

    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0 || getppid() != launcher)
        die_plain("the launcher is gone");

    for (size_t at = 0; at < plan->cgroup_count; at++) {
        int procs = open(plan->cgroups[at], O_WRONLY | O_CLOEXEC);

        if (procs < 0 || write(procs, "0", 1) != 1)
            die("cannot join %s", plan->cgroups[at]);
        close(procs);
    }
    if (read(go, &byte, 1) != 1)
        _exit(1); /* the launcher has said why */
    info = out_of_the_way(info);
    ready = out_of_the_way(ready);
    place(null, STDIN_FILENO);
    place(null, STDOUT_FILENO);
    place(info, INFO_FD);
    place(ready, READY_FD);
    place(listen, LISTEN_FD);
    place(userns, USERNS_FD);
    execv(plan->run[0], plan->run);
    die("cannot run %s", plan->run[0]);
}

static struct child start_child(const struct plan *plan) {
    int go[2], info[2], ready[2];
    pid_t launcher = getpid(), pid;

    if (pipe2(go, O_CLOEXEC) < 0 || pipe2(info, O_CLOEXEC) < 0 || pipe2(ready, O_CLOEXEC) < 0 ||
        (pid = fork()) < 0)
        die("cannot start bubblewrap");
    if (pid == 0) {
        close(go[1]);
        become_bubblewrap(plan, launcher, go[0], info[1], ready[1]);
    }
    close(go[0]);
    close(info[1]);
    close(ready[1]);
    return (struct child){.pid = pid, .go = go[1], .info = info[0], .ready = ready[0]};
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
        if ((at = strstr(text, "\"child-pid\":")) && strchr(text, '}'))
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

/* Lets bubblewrap go and waits until the agent runs in it.  bubblewrap's monitor is then of no more use: the
 * VM's first process is its PID 1 and is watched by a pidfd. */
static int launch(const struct plan *plan) {
    pid_t monitor = plan->bubblewrap.pid, child;
    int ready = plan->bubblewrap.ready;
    char answer[8];
    size_t length = 0;
    ssize_t got;

    if (write(plan->bubblewrap.go, "1", 1) == 1 && (child = read_child_pid(plan->bubblewrap.info)) > 0)
        write_pidfile(plan->pidfile, child);
    else
        child = 0;
    while (length < sizeof answer && (got = read(ready, answer + length, sizeof answer - length)) > 0)
        length += (size_t) got;
    if (length == 1 && answer[0] == 'R') {
        kill(monitor, SIGKILL);
        waitpid(monitor, NULL, 0);
        return 0;
    }
    if (child > 0)
        kill(child, SIGKILL);
    waitpid(monitor, NULL, 0);
    unlink(plan->pidfile);
    if (length > 1)
        die_plain("the agent could not be executed");
    return 1;
}

static int as_root(char **argv) {
    if (geteuid() != 0)
        enter_own_user_namespace();
    execvp(argv[0], argv);
    die("cannot run %s", argv[0]);
}

int main(int argc, char **argv) {
    struct plan plan = {.maps = {.vm = -1, .system = -1, .own = -1}, .lock = -1, .listen = -1};
    struct tokens tokens;

    if (argc > 1 && strcmp(argv[1], "init") == 0)
        return init_main(argc - 1, argv + 1);
    if (argc > 2 && strcmp(argv[1], "as-root") == 0)
        return as_root(argv + 2);
    signal(SIGPIPE, SIG_IGN);
    umask(022);
    tokens = read_plan();
    while (step(&plan, &tokens))
        ;
    if (plan.bubblewrap.pid == 0 || plan.pidfile == NULL)
        die_plain("the plan lacks stage or pidfile");
    return launch(&plan);
}
