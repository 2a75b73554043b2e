/* Preloaded into a server: notes how to undo what would not outlive a power cut. DIR comes in $POWER_CUT.
 *
 *   DIR/undo/log     one record for each change of a file or a name below DIR/data, and for each fsync
 *   DIR/undo/INODE   a link to each file that was changed: it stays, and so does its number
 *   DIR/delay        the microseconds that an fsync takes; none really happens
 *
 * A change of DIR/data's own name counts. SQLite's shared memory (NAME-shm) does not: it is memory, and gone
 * after a cut. A record is noted before what it tells of is done; an fsync after it, with the length of the
 * log at its begin: what was noted until then is on the disk.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

/* Read by power_cut.rs. Little-endian; `bytes` more follow. */
struct record {
    uint64_t kind;  /* 'w' a file changes, 'n' a name changes, 's' a file is synced, 'd' a directory is */
    uint64_t inode; /* the file; for 'n' the one that had the name, or 0 */
    uint64_t at;    /* for 'w' where; for 's' and 'd' the length of the log when that began */
    uint64_t count; /* for 'w' how many bytes are written there */
    uint64_t size;  /* for 'w' the file's size before */
    uint64_t bytes; /* for 'w' what lay there before; for 'n' and 'd' the path */
};

static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;

static char data[PATH_MAX];
static int journal = -1;

__attribute__((constructor)) static void begin(void) {
    char path[PATH_MAX];
    snprintf(data, sizeof data, "%s/data", getenv("POWER_CUT"));
    snprintf(path, sizeof path, "%s/undo/log", getenv("POWER_CUT"));
    journal = REAL(open64)(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (journal < 0) abort();
}

static int ours(const char *path) {
    size_t prefix = strlen(data), length = strlen(path);
    /* DIR itself, whose fsync keeps the name DIR/data. */
    if (length == prefix - 5 && strncmp(path, data, length) == 0) return 1;
    if (strncmp(path, data, prefix) != 0 || (path[prefix] && path[prefix] != '/')) return 0;
    return length < 4 || strcmp(path + length - 4, "-shm") != 0;
}

/* Whether `fd` is DIR or below DIR/data, and what it is. */
static int found(int fd, char path[PATH_MAX], struct stat *about) {
    char link[64];
    int before = errno;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    if (length > 0) path[length] = 0;
    int yes = length > 0 && ours(path) && fstat(fd, about) == 0;
    errno = before;
    return yes;
}

static void note(struct record record, const void *bytes) {
    struct iovec pieces[] = {{&record, sizeof record}, {(void *)bytes, record.bytes}};
    if (REAL(writev)(journal, pieces, 2) != (ssize_t)(sizeof record + record.bytes)) abort();
}

/* Keeps the file at `path` (which may be a link in /proc) whatever becomes of its names. */
static void hold(const char *path, ino_t inode) {
    char kept[PATH_MAX];
    snprintf(kept, sizeof kept, "%s/undo/%lu", getenv("POWER_CUT"), (unsigned long)inode);
    if (REAL(linkat)(AT_FDCWD, path, AT_FDCWD, kept, AT_SYMLINK_FOLLOW) != 0 && errno != EEXIST) abort();
}

static void hold_open(int fd, ino_t inode) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    hold(link, inode);
}

/* `count` bytes will be written at `at`; or the file's end will be there, if there are none. */
static void changes(int fd, off64_t at, size_t count, const struct stat *about) {
    struct record record = {'w', about->st_ino, at, count, about->st_size, 0};
    off64_t end = count ? at + (off64_t)count : about->st_size;
    if (end > about->st_size) end = about->st_size;
    char *before = NULL;
    if (end > at) {
        record.bytes = end - at;
        before = malloc(record.bytes);
        int from = fd;
        if ((fcntl(fd, F_GETFL) & O_ACCMODE) == O_WRONLY) {
            char link[64];
            snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
            from = REAL(open64)(link, O_RDONLY | O_CLOEXEC);
        }
        if (pread64(from, before, record.bytes, at) != (ssize_t)record.bytes) abort();
        /* Never one of SQLite's: that would give its locks back. */
        if (from != fd) close(from);
    }
    hold_open(fd, about->st_ino);
    note(record, before);
    free(before);
}

static void renames(const char *path) {
    struct stat about;
    int there = lstat(path, &about) == 0;
    if (there && !S_ISDIR(about.st_mode)) hold(path, about.st_ino);
    note((struct record){'n', there ? about.st_ino : 0, 0, 0, 0, strlen(path)}, path);
}

/* Does `call` after `noting`, if the file is ours, and nothing between them. */
#define NOTED(fd, noting, call) do { \
    char path[PATH_MAX]; struct stat about; \
    if (!found(fd, path, &about) || !S_ISREG(about.st_mode)) return call; \
    pthread_mutex_lock(&turn); \
    fstat(fd, &about); \
    int before = errno; noting; errno = before; \
    __typeof__(call) result = call; \
    pthread_mutex_unlock(&turn); \
    return result; \
} while (0)

static off64_t here(int fd, const struct stat *about) {
    return fcntl(fd, F_GETFL) & O_APPEND ? about->st_size : lseek64(fd, 0, SEEK_CUR);
}
static size_t total(const struct iovec *data, int count) {
    size_t bytes = 0;
    for (int i = 0; i < count; i++) bytes += data[i].iov_len;
    return bytes;
}

ssize_t write(int fd, const void *data, size_t count) {
    NOTED(fd, if (count) changes(fd, here(fd, &about), count, &about), REAL(write)(fd, data, count));
}
ssize_t writev(int fd, const struct iovec *data, int count) {
    NOTED(fd, changes(fd, here(fd, &about), total(data, count), &about), REAL(writev)(fd, data, count));
}
ssize_t pwrite(int fd, const void *data, size_t count, off_t at) {
    NOTED(fd, if (count) changes(fd, at, count, &about), REAL(pwrite)(fd, data, count, at));
}
ssize_t pwrite64(int fd, const void *data, size_t count, off64_t at) {
    NOTED(fd, if (count) changes(fd, at, count, &about), REAL(pwrite64)(fd, data, count, at));
}
int ftruncate(int fd, off_t length) { NOTED(fd, changes(fd, length, 0, &about), REAL(ftruncate)(fd, length)); }
int ftruncate64(int fd, off64_t length) {
    NOTED(fd, changes(fd, length, 0, &about), REAL(ftruncate64)(fd, length));
}
int fallocate(int fd, int mode, off_t at, off_t length) { errno = EOPNOTSUPP; return -1; }
int posix_fallocate(int fd, off_t at, off_t length) { return EOPNOTSUPP; }
ssize_t copy_file_range(int from, off64_t *a, int to, off64_t *b, size_t count, unsigned flags) {
    errno = ENOSYS;
    return -1;
}

static int synced(int fd) {
    char path[PATH_MAX], delay[PATH_MAX], text[16] = "";
    struct stat about;
    if (!found(fd, path, &about)) return 0;
    pthread_mutex_lock(&turn);
    uint64_t begun = lseek64(journal, 0, SEEK_END);
    pthread_mutex_unlock(&turn);
    snprintf(delay, sizeof delay, "%s/delay", getenv("POWER_CUT"));
    int told = REAL(open64)(delay, O_RDONLY | O_CLOEXEC);
    if (told >= 0) {
        if (read(told, text, sizeof text - 1) > 0) usleep(atoi(text));
        close(told);
    }
    pthread_mutex_lock(&turn);
    if (S_ISDIR(about.st_mode)) note((struct record){'d', 0, begun, 0, 0, strlen(path)}, path);
    else note((struct record){'s', about.st_ino, begun, 0, 0, 0}, NULL);
    pthread_mutex_unlock(&turn);
    return 1;
}
int fsync(int fd) { return synced(fd) ? 0 : REAL(fsync)(fd); }
int fdatasync(int fd) { return synced(fd) ? 0 : REAL(fdatasync)(fd); }

static int opened(const char *path, int flags, mode_t mode) {
    struct stat about;
    if (!(flags & (O_CREAT | O_TRUNC)) || !ours(path)) return REAL(open64)(path, flags, mode);
    pthread_mutex_lock(&turn);
    int there = stat(path, &about) == 0;
    if (!there && flags & O_CREAT) renames(path);
    if (there && flags & O_TRUNC && S_ISREG(about.st_mode)) {
        int fd = REAL(open64)(path, O_RDONLY | O_CLOEXEC);
        if (fd >= 0) { changes(fd, 0, 0, &about); close(fd); }
    }
    int fd = REAL(open64)(path, flags, mode);
    int before = errno;
    if (fd >= 0 && !there && fstat(fd, &about) == 0) hold_open(fd, about.st_ino);
    errno = before;
    pthread_mutex_unlock(&turn);
    return fd;
}
#define MODE mode_t mode = 0; if (flags & O_CREAT) { va_list rest; va_start(rest, flags); mode = va_arg(rest, mode_t); va_end(rest); }
int open(const char *path, int flags, ...) { MODE return opened(path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE return opened(path, flags, mode); }
int openat(int dir, const char *path, int flags, ...) {
    MODE return path[0] == '/' ? opened(path, flags, mode) : REAL(openat)(dir, path, flags, mode);
}
int openat64(int dir, const char *path, int flags, ...) {
    MODE return path[0] == '/' ? opened(path, flags, mode) : REAL(openat64)(dir, path, flags, mode);
}

#define RENAMED(first, second, call) do { \
    if (!ours(first) && !ours(second)) return call; \
    pthread_mutex_lock(&turn); \
    if (ours(first)) renames(first); \
    if (strcmp(first, second) != 0 && ours(second)) renames(second); \
    int result = call; \
    pthread_mutex_unlock(&turn); \
    return result; \
} while (0)
int rename(const char *from, const char *to) { RENAMED(from, to, REAL(rename)(from, to)); }
int unlink(const char *path) { RENAMED(path, path, REAL(unlink)(path)); }
int link(const char *from, const char *to) { RENAMED(to, to, REAL(link)(from, to)); }
int linkat(int a, const char *from, int b, const char *to, int flags) {
    RENAMED(to, to, REAL(linkat)(a, from, b, to, flags));
}
int mkdir(const char *path, mode_t mode) {
    struct stat about;
    if (stat(path, &about) == 0) return REAL(mkdir)(path, mode);
    RENAMED(path, path, REAL(mkdir)(path, mode));
}
