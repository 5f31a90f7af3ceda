/* vmpool-launch: makes the mounts of bubblewrap VMs and starts them.
 *
 *   vmpool-launch serve           starts a VM for each plan that comes over standard input, see launch_serve.c
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
 *   run ARGUMENT... .  bubblewrap and the VM's first program, up to a token "."
 *   with ARGUMENT... . bubblewrap's further arguments, which it reads when the tree stands
 *   stage DIRECTORY    the tree is put together here; names below are relative to it
 *   dir NAME           make a directory
 *   bind SOURCE NAME plain|system|own
 *   image FILE NAME    mount a disk image
 *   overlay NAME OPTIONS
 *   hostname FD NAME   nothing but this: a VM, named by its UTS namespace, gets another hostname
 *   tmpfs NAME OPTIONS mount a tmpfs, which the options bound in bytes and inodes
 *   devices NAME OPTIONS TERMINALS  mount a /dev: a tmpfs of these options for shared memory, at most so many terminals
 *   end
 *
 * Mounts live in the launcher's own mount namespace and go with its last process.  Errors go to standard
 * error as one line; a NUL there means that all is done and the agent runs. */
#include "launch.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_TOKENS = 4096 };

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

static struct tokens tokens_of(char *words, size_t length) {
    static char *items[MAX_TOKENS];
    struct tokens tokens = {.items = items};

    if (length == 0 || words[length - 1] != '\0')
        die_plain("the plan is cut short");
    for (size_t at = 0; at < length; at += strlen(words + at) + 1) {
        if (tokens.count == MAX_TOKENS - 1)
            die_plain("the plan has too many words");
        items[tokens.count++] = words + at;
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

/* A list of arguments ends with a token "." that is made the NULL execv wants. */
static char **take_list(struct tokens *tokens) {
    char **first = tokens->items + tokens->next;

    while (strcmp(next_token(tokens), ".") != 0)
        ;
    tokens->items[tokens->next - 1] = NULL;
    return first;
}

/* The same as one piece of text: tokens lie one after another in the plan. */
static void take_arguments(struct plan *plan, struct tokens *tokens) {
    plan->arguments = tokens->next < tokens->count ? tokens->items[tokens->next] : "";
    while (strcmp(next_token(tokens), ".") != 0)
        ;
    plan->arguments_size = (size_t) (tokens->items[tokens->next - 1] - plan->arguments);
}

static struct child begin_stage(const struct plan *plan, const char *directory) {
    struct child child;

    if (plan->run == NULL || plan->listen < 0)
        die_plain("the plan lacks run or listen before stage");
    private_mounts();
    child = start_bubblewrap(plan);
    mount_stage(directory);
    return child;
}

/* Carries out one directive; false for `end`. */
static bool step(struct plan *plan, struct tokens *tokens, struct child *bubblewrap) {
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
    else if (strcmp(word, "range") == 0) {
        prime_cgroups(plan);
        plan->maps = make_id_maps((unsigned) strtoul(next_token(tokens), NULL, 10));
    } else if (strcmp(word, "cgroup") == 0 && plan->cgroup_count < MAX_CGROUPS)
        plan->cgroups[plan->cgroup_count++] = next_token(tokens);
    else if (strcmp(word, "run") == 0)
        plan->run = take_list(tokens);
    else if (strcmp(word, "with") == 0)
        take_arguments(plan, tokens);
    else if (strcmp(word, "stage") == 0)
        *bubblewrap = begin_stage(plan, next_token(tokens));
    else if (strcmp(word, "dir") == 0)
        make_directory(next_token(tokens), &plan->maps);
    else if (strcmp(word, "bind") == 0)
        do_bind(tokens, &plan->maps);
    else if (strcmp(word, "image") == 0) {
        const char *image = next_token(tokens), *target = next_token(tokens);

        make_directory(target, &plan->maps);
        mount_image(image, target);
    } else if (strcmp(word, "tmpfs") == 0) {
        const char *target = next_token(tokens);

        make_directory(target, &plan->maps);
        mount_tmpfs(target, next_token(tokens));
    } else if (strcmp(word, "overlay") == 0) {
        const char *target = next_token(tokens);

        mount_overlay(target, next_token(tokens));
    } else if (strcmp(word, "devices") == 0) {
        const char *target = next_token(tokens), *shared_memory = next_token(tokens);

        mount_devices(target, shared_memory, next_token(tokens));
    } else
        die_plain("unknown directive '%s'", word);
    return true;
}

static void rename_vm(struct tokens *tokens) {
    const char *name;

    tokens->next = 1;
    if (setns(next_fd(tokens), CLONE_NEWUTS) < 0)
        die("cannot enter the VM's UTS namespace");
    name = next_token(tokens);
    if (sethostname(name, strlen(name)) < 0)
        die("cannot set the VM's hostname");
}

/* Carries out a plan, in a process of its own. */
static void launch(char *words, size_t length) {
    struct plan plan = {.maps = {.vm = -1, .system = -1, .own = -1}, .lock = -1, .listen = -1};
    struct child bubblewrap = {.pid = 0};
    struct tokens tokens = tokens_of(words, length);

    umask(022);
    if (strcmp(tokens.items[0], "hostname") == 0) {
        rename_vm(&tokens);
        return;
    }
    while (step(&plan, &tokens, &bubblewrap))
        ;
    if (bubblewrap.pid == 0 || plan.pidfile == NULL)
        die_plain("the plan lacks stage or pidfile");
    run_bubblewrap(&plan, &bubblewrap);
}

static int as_root(char **argv) {
    if (geteuid() != 0)
        enter_own_user_namespace();
    execvp(argv[0], argv);
    die("cannot run %s", argv[0]);
}

int main(int argc, char **argv) {
    if (argc > 1 && strcmp(argv[1], "init") == 0)
        return init_main(argc - 1, argv + 1);
    if (argc > 2 && strcmp(argv[1], "as-root") == 0)
        return as_root(argv + 2);
    if (argc == 2 && strcmp(argv[1], "serve") == 0)
        return serve(launch);
    die_plain("serve, as-root or init");
}
