/* Preloaded into a server: a disk that fails while a file says so. DIR comes in $BAD_DISK.
 *
 *   DIR/full      exists: nothing that would grow a file finds room (ENOSPC)
 *   DIR/no-sync   exists: fsync and fdatasync fail (EIO)
 *   DIR/no-sync-of-blobs   exists: only those below DIR/data/blobs
 *   DIR/no-write  exists: writes to files fail (EIO)
 *
 * Files below DIR/data are meant, not sockets and pipes; SQLite's shared memory (NAME-shm) always finds room,
 * because what it gives back at a start it takes again at once.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static int told(const char *what) {
    const char *dir = getenv("BAD_DISK");
    char path[PATH_MAX];
    if (!dir) return 0;
    snprintf(path, sizeof path, "%s/%s", dir, what);
    int before = errno, there = access(path, F_OK) == 0;
    errno = before;
    return there;
}

/* Whether `fd` is DIR/`part` or below it. */
static int in(int fd, const char *part) {
    const char *dir = getenv("BAD_DISK");
    char link[64], path[PATH_MAX], wanted[PATH_MAX];
    if (!dir) return 0;
    int before = errno;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    errno = before;
    if (length < 0) return 0;
    path[length] = 0;
    if (length > 4 && strcmp(path + length - 4, "-shm") == 0) return 0;
    int prefix = snprintf(wanted, sizeof wanted, "%s/%s", dir, part);
    return strncmp(path, wanted, prefix) == 0;
}

static off_t size(int fd) {
    struct stat found;
    return fstat(fd, &found) == 0 ? found.st_size : 0;
}

/* The error that a write up to `end` gets, or 0. */
static int refused(int fd, off_t end) {
    if (!in(fd, "data")) return 0;
    if (told("no-write")) return EIO;
    if (told("full") && end > size(fd)) return ENOSPC;
    return 0;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define REFUSE(fd, end) do { int error = refused(fd, end); if (error) { errno = error; return -1; } } while (0)

ssize_t write(int fd, const void *data, size_t count) {
    off_t at = lseek(fd, 0, SEEK_CUR);
    REFUSE(fd, (at < 0 ? size(fd) : at) + (off_t)count);
    return REAL(write)(fd, data, count);
}
ssize_t writev(int fd, const struct iovec *data, int count) {
    REFUSE(fd, size(fd) + 1);
    return REAL(writev)(fd, data, count);
}
ssize_t pwrite(int fd, const void *data, size_t count, off_t at) {
    REFUSE(fd, at + (off_t)count);
    return REAL(pwrite)(fd, data, count, at);
}
ssize_t pwrite64(int fd, const void *data, size_t count, off64_t at) {
    REFUSE(fd, at + (off_t)count);
    return REAL(pwrite64)(fd, data, count, at);
}
int ftruncate(int fd, off_t length) { REFUSE(fd, length); return REAL(ftruncate)(fd, length); }
int ftruncate64(int fd, off64_t length) { REFUSE(fd, length); return REAL(ftruncate64)(fd, length); }
int fallocate(int fd, int mode, off_t at, off_t length) {
    REFUSE(fd, at + length);
    return REAL(fallocate)(fd, mode, at, length);
}
int posix_fallocate(int fd, off_t at, off_t length) {
    int error = refused(fd, at + length);
    return error ? error : REAL(posix_fallocate)(fd, at, length);
}
static int unsynced(int fd) {
    return (told("no-sync") && in(fd, "data")) || (told("no-sync-of-blobs") && in(fd, "data/blobs"));
}
int fsync(int fd) {
    if (unsynced(fd)) { errno = EIO; return -1; }
    return REAL(fsync)(fd);
}
int fdatasync(int fd) {
    if (unsynced(fd)) { errno = EIO; return -1; }
    return REAL(fdatasync)(fd);
}
