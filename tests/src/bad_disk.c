/* Preloaded into a server: a disk that fails while a file says so. DIR comes in $BAD_DISK.
 *
 *   DIR/full      exists: nothing that would grow a file finds room (ENOSPC)
 *   DIR/no-sync   exists: fsync and fdatasync fail (EIO)
 *   DIR/no-sync-of-blobs   exists: only those below DIR/data/blobs
 *   DIR/slow-sync exists: they take three seconds more
 *   DIR/no-write  exists: writes to files fail (EIO)
 *   DIR/calls     exists at the start: two little-endian numbers of 8 bytes. The first counts every call that
 *                 opens, reads, writes, syncs, makes, renames or removes a file; from the one on that the
 *                 second names, unless it is 0, all of them fail (EIO)
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
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
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

/* Whether `path` is DIR/`part` or below it. */
static int at(const char *path, const char *part) {
    char wanted[PATH_MAX];
    size_t length = strlen(path);
    if (length > 4 && strcmp(path + length - 4, "-shm") == 0) return 0;
    int prefix = snprintf(wanted, sizeof wanted, "%s/%s", getenv("BAD_DISK"), part);
    return strncmp(path, wanted, prefix) == 0;
}

/* Whether `fd` is. */
static int in(int fd, const char *part) {
    char link[64], path[PATH_MAX];
    if (!getenv("BAD_DISK")) return 0;
    int before = errno;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    errno = before;
    if (length < 0) return 0;
    path[length] = 0;
    return at(path, part);
}

static off_t size(int fd) {
    struct stat found;
    return fstat(fd, &found) == 0 ? found.st_size : 0;
}

/* DIR/calls, or nothing. */
static uint64_t *calls;

__attribute__((constructor)) static void begin(void) {
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/calls", getenv("BAD_DISK"));
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0) return;
    uint64_t *found = mmap(NULL, 16, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (found != MAP_FAILED) calls = found;
    close(fd);
}

/* Counts a call, and says whether it fails. */
static int one_too_many(void) {
    return __atomic_add_fetch(&calls[0], 1, __ATOMIC_RELAXED) >= calls[1] && calls[1];
}

/* The error that a write up to `end` gets, or 0. */
static int refused(int fd, off_t end) {
    if (!in(fd, "data")) return 0;
    if (calls && one_too_many()) return EIO;
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
    if (calls && in(fd, "data") && one_too_many()) return 1;
    if (told("slow-sync") && in(fd, "data")) sleep(3);
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

/* The calls that fail only by their number. */
#define COUNT(ours) do { if (calls && (ours) && one_too_many()) { errno = EIO; return -1; } } while (0)

ssize_t read(int fd, void *data, size_t count) { COUNT(in(fd, "data")); return REAL(read)(fd, data, count); }
ssize_t pread(int fd, void *data, size_t count, off_t from) {
    COUNT(in(fd, "data"));
    return REAL(pread)(fd, data, count, from);
}
ssize_t pread64(int fd, void *data, size_t count, off64_t from) {
    COUNT(in(fd, "data"));
    return REAL(pread64)(fd, data, count, from);
}
static mode_t mode_of(int flags, va_list rest) { return flags & O_CREAT ? va_arg(rest, mode_t) : 0; }
#define OPEN(name) int name(const char *path, int flags, ...) { \
    va_list rest; \
    va_start(rest, flags); \
    mode_t mode = mode_of(flags, rest); \
    va_end(rest); \
    COUNT(at(path, "data")); \
    return REAL(name)(path, flags, mode); \
}
OPEN(open)
OPEN(open64)
int rename(const char *from, const char *to) { COUNT(at(to, "data")); return REAL(rename)(from, to); }
int unlink(const char *path) { COUNT(at(path, "data")); return REAL(unlink)(path); }
int mkdir(const char *path, mode_t mode) { COUNT(at(path, "data")); return REAL(mkdir)(path, mode); }
