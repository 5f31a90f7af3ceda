/* vmpool-launch: the host side of a bubblewrap VM.  Shared between its files. */
#ifndef VMPOOL_LAUNCH_H
#define VMPOOL_LAUNCH_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* Descriptors bubblewrap and the VM's first program find, whatever the plan's own numbers were. */
enum { INFO_FD = 10, READY_FD = 11, LISTEN_FD = 12, USERNS_FD = 13, ARGUMENTS_FD = 14, JOINED_FD = 15, FIRST_FREE_FD = 20 };

/* Ids of a VM in the "full root" grade: this many, and the VM's user among them. */
enum { RANGE_IDS = 65536, VM_USER = 1000 };

/* User namespaces of one VM (full root only; -1 otherwise).  `vm`: the one its processes live in.
 * `system`: idmapping under which files of the host's root belong to the VM's user.  `own`: idmapping
 * under which ids on disk are the VM's own. */
struct id_maps {
    unsigned base;
    int vm, system, own;
};

enum { MAX_CGROUPS = 16 };

struct tokens {
    char **items;
    size_t count, next;
};

/* What one VM is made by; agent/launch.c lists the directives. */
struct plan {
    struct id_maps maps;
    int lock, listen;
    const char *pidfile;
    const char *cgroups[MAX_CGROUPS];
    size_t cgroup_count;
    char **run;
    const char *arguments;
    size_t arguments_size;
};

/* Ends the launcher with "vmpool-launch: <message>: <errno>" on stderr. */
_Noreturn void die(const char *format, ...) __attribute__((format(printf, 1, 2)));
_Noreturn void die_plain(const char *format, ...) __attribute__((format(printf, 1, 2)));
void write_file(const char *path, const char *text);

void enter_own_user_namespace(void);
struct id_maps make_id_maps(unsigned base);

void private_mounts(void);
void mount_stage(const char *directory);
void make_directory(const char *path, const struct id_maps *maps);
void bind_plain(const char *source, const char *target);
void bind_idmapped(const char *source, const char *target, int userns);
void mount_image(const char *image, const char *target);
void mount_tmpfs(const char *target, const char *options);
void mount_overlay(const char *target, const char *options);
void mount_devices(const char *target, const char *shared_memory, const char *terminals);

/* The process that becomes bubblewrap, and the launcher's ends of what is between them. */
struct child {
    pid_t pid;
    int arguments, info, ready, joined;
};
struct child start_bubblewrap(const struct plan *plan);
void prime_cgroups(const struct plan *plan);
void run_bubblewrap(const struct plan *plan, struct child *child);

int serve(void (*launch)(char *words, size_t length));
int init_main(int argc, char **argv);

#endif
