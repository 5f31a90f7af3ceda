/* Mounts of a VM, made in a private mount namespace.  Names given to the kernel are relative to the staging
 * directory wherever the kernel would show them inside the VM. */
#include "launch.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/* The new mount API, which older C libraries do not know. */
#ifndef SYS_open_tree
#define SYS_open_tree 428
#endif
#ifndef SYS_move_mount
#define SYS_move_mount 429
#endif
#ifndef SYS_mount_setattr
#define SYS_mount_setattr 442
#endif
enum { TREE_CLONE = 1, FROM_EMPTY_PATH = 4, IDMAP = 0x00100000 };
struct mount_attributes {
    uint64_t set, clear, propagation, userns;
};

/* Loop devices: musl comes without the kernel's headers. */
enum { LOOP_CONFIGURE = 0x4C0A, LOOP_GET_FREE = 0x4C82, LOOP_AUTOCLEAR = 4, LOOP_ATTEMPTS = 64 };
struct loop_details {
    uint64_t device, inode, rdevice, offset, size_limit;
    uint32_t number, encrypt_type, encrypt_key_size, flags;
    uint8_t file_name[64], crypt_name[64], encrypt_key[32];
    uint64_t init[2];
};
struct loop_configuration {
    uint32_t fd, block_size;
    struct loop_details details;
    uint64_t reserved[8];
};

void private_mounts(void) {
    if (unshare(CLONE_NEWNS) < 0)
        die("the host refuses a mount namespace");
    if (mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        die("cannot make mounts private");
}

void mount_stage(const char *directory) {
    if (mount("stage", directory, "tmpfs", MS_NOSUID | MS_NODEV, "size=256k,mode=755") < 0)
        die("cannot mount the staging directory");
    if (chdir(directory) < 0)
        die("%s", directory);
}

/* An existing directory is right.  On an idmapped mount it belongs to the VM's user. */
void make_directory(const char *path, const struct id_maps *maps) {
    if (mkdir(path, 0755) < 0) {
        if (errno == EEXIST)
            return;
        die("cannot make directory %s", path);
    }
    if (maps->own >= 0 && strncmp(path, "disk/", 5) == 0 &&
        lchown(path, maps->base + VM_USER, maps->base + VM_USER) < 0)
        die("cannot hand over directory %s", path);
}

void bind_plain(const char *source, const char *target) {
    if (mount(source, target, NULL, MS_BIND | MS_REC, NULL) < 0)
        die("cannot bind %s", source);
}

void bind_idmapped(const char *source, const char *target, int userns) {
    struct mount_attributes attributes = {.set = IDMAP, .userns = (uint64_t) userns};
    int tree = (int) syscall(SYS_open_tree, AT_FDCWD, source, TREE_CLONE | O_CLOEXEC);

    if (tree < 0)
        die("cannot open %s", source);
    if (syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH, &attributes, sizeof attributes) < 0)
        die("cannot map the owners of %s", source);
    if (syscall(SYS_move_mount, tree, "", AT_FDCWD, target, FROM_EMPTY_PATH) < 0)
        die("cannot mount %s", source);
    close(tree);
}

/* Attaches `image` to a free loop device that detaches itself with its last user, and puts the device's
 * path in `device`.  The lock on the image is held by the device (it keeps our open file), so whoever gets
 * the lock knows that nobody has the image mounted. */
static int attach_loop(const char *image, char *device, size_t size) {
    struct loop_configuration config = {.details = {.flags = LOOP_AUTOCLEAR}};
    int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
    int file = open(image, O_RDWR | O_CLOEXEC);

    if (control < 0)
        die("/dev/loop-control");
    if (file < 0)
        die("%s", image);
    if (flock(file, LOCK_EX) < 0)
        die("cannot lock %s", image);
    config.fd = (uint32_t) file;
    snprintf((char *) config.details.file_name, sizeof config.details.file_name, "%s", image);
    for (int attempt = 0; attempt < LOOP_ATTEMPTS; attempt++) {
        int number = ioctl(control, LOOP_GET_FREE), loop;

        if (number < 0)
            die("no free loop device");
        snprintf(device, size, "/dev/loop%d", number);
        if ((loop = open(device, O_RDWR | O_CLOEXEC)) < 0 && errno == ENOENT) {
            /* A container's /dev does not grow by itself. */
            snprintf(device, size, "loop%d", number);
            if (mknod(device, S_IFBLK | 0600, makedev(7, (unsigned) number)) == 0 || errno == EEXIST)
                loop = open(device, O_RDWR | O_CLOEXEC);
        }
        if (loop < 0)
            die("%s", device);
        if (ioctl(loop, LOOP_CONFIGURE, &config) == 0) {
            close(control);
            close(file);
            return loop;
        }
        close(loop);
        if (errno != EBUSY) /* another launcher was quicker */
            die("cannot attach %s", image);
    }
    die_plain("no free loop device");
}

/* What a program in the VM syncs goes to the host's memory, not through to its disk: one VM's flushes would
 * hold up every other, and its own removal.  A VM that is stopped is written out then. */
void mount_image(const char *image, const char *target) {
    char device[64];
    int loop = attach_loop(image, device, sizeof device);

    if (mount(device, target, "ext4", MS_NOSUID | MS_NODEV | MS_NOATIME, "noinit_itable,discard,nobarrier") < 0)
        die("cannot mount the VM's disk");
    close(loop);
}

void mount_tmpfs(const char *target, const char *options) {
    if (mount("tmpfs", target, "tmpfs", MS_NOSUID | MS_NODEV, options) < 0)
        die("cannot mount a tmpfs (%s)", options);
}

void mount_overlay(const char *target, const char *options) {
    if (mount("overlay", target, "overlay", MS_NOSUID | MS_NODEV, options) < 0)
        die("cannot mount an overlay (%s)", options);
}

/* A node of our own where we may make one, else the host's bound over an empty file, read-only: whoever owns it
 * on the host could change its mode, for all. */
static void make_device(const char *name, unsigned major, unsigned minor) {
    char host[32];
    int fd;

    if (mknod(name, S_IFCHR | 0666, makedev(major, minor)) == 0) {
        if (chmod(name, 0666) < 0)
            die("/dev/%s", name);
        return;
    }
    if ((fd = open(name, O_CREAT | O_WRONLY | O_CLOEXEC, 0444)) < 0)
        die("cannot make /dev/%s", name);
    close(fd);
    snprintf(host, sizeof host, "/dev/%s", name);
    if (mount(host, name, NULL, MS_BIND, NULL) < 0 ||
        mount("none", name, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NOEXEC, NULL) < 0)
        die("cannot bind /dev/%s", name);
}

/* Terminals are one number for the whole host unless a mount of them has its own. */
static void mount_terminals(const char *most) {
    char options[96];

    snprintf(options, sizeof options, "newinstance,ptmxmode=0666,mode=620,max=%s", most);
    if (mount("devpts", "pts", "devpts", MS_NOSUID | MS_NOEXEC, options) < 0)
        die("cannot mount terminals");
}

/* The least a program expects, as bubblewrap's own --dev makes it, read-only but for terminals and shared
 * memory.  bubblewrap reads mountinfo for each of its mounts, we do not. */
void mount_devices(const char *target, const char *shared_memory, const char *terminals) {
    static const struct {
        const char *name;
        unsigned major, minor;
    } devices[] = {{"null", 1, 3}, {"zero", 1, 5}, {"full", 1, 7}, {"random", 1, 8}, {"urandom", 1, 9}, {"tty", 5, 0}};
    static const char *const links[][2] = {{"/proc/self/fd/0", "stdin"},
                                           {"/proc/self/fd/1", "stdout"},
                                           {"/proc/self/fd/2", "stderr"},
                                           {"/proc/self/fd", "fd"},
                                           {"/proc/kcore", "core"},
                                           {"pts/ptmx", "ptmx"}};
    int stage = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);

    if (stage < 0 || mount("tmpfs", target, "tmpfs", MS_NOSUID | MS_NOEXEC, "mode=755,size=64k") < 0 ||
        chdir(target) < 0)
        die("cannot mount /dev");
    for (size_t at = 0; at < sizeof devices / sizeof *devices; at++)
        make_device(devices[at].name, devices[at].major, devices[at].minor);
    for (size_t at = 0; at < sizeof links / sizeof *links; at++)
        if (symlink(links[at][0], links[at][1]) < 0)
            die("/dev/%s", links[at][1]);
    if (mkdir("pts", 0755) < 0 || mkdir("shm", 0755) < 0)
        die("cannot make what is in /dev");
    mount_terminals(terminals);
    if (mount("tmpfs", "shm", "tmpfs", MS_NOSUID | MS_NODEV, shared_memory) < 0 || fchdir(stage) < 0 ||
        mount("none", target, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NOEXEC, NULL) < 0)
        die("cannot mount what is in /dev");
    close(stage);
}
