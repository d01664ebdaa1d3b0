/*
 * Loaded before libc into the program under test: counts its calls that change files, across threads, and does
 * something at the k-th of them. Only regular files and directories below RIG_DIR count; pipes never do.
 *
 * RIG_DIR      what is looked at
 * RIG_AT       the number of the call, from 1; 0: none
 * RIG_DO       what is done there: kill-before, kill-after, torn (a write that leaves some of its sectors, then the kill),
 *              cut-before, cut-after, cut-torn (the same with the filesystem of RIG_DIR shut down first), eio, enospc,
 *              short, slow
 * RIG_KILL_AT  the number of a later call, before which it is killed besides
 * RIG_READS    set: reads count, and nothing else
 * RIG_NO_DIRECT set: files cannot be opened with O_DIRECT, as on some filesystems
 * RIG_LAG      so many microseconds more for each flush of data.mdb: LMDB stays behind the journal
 * RIG_NO_SYNC  set: flushes do nothing, and O_DIRECT and O_DSYNC are taken from open flags
 * RIG_TRACE    a file that gets a line for each call that counts
 *
 * What must hold: it changes nothing of a call that it was not asked to change.
 */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

/* The ioctl that stops a filesystem at once, and its flag that leaves the log as it is on the device. */
#define SHUTDOWN 0x8004587d
#define NO_LOG_FLUSH 2

enum action { NOTHING, KILL_BEFORE, KILL_AFTER, TORN, CUT_BEFORE, CUT_AFTER, CUT_TORN, EIO_, ENOSPC_, SHORT, SLOW };

static const char *const names[] = {"",          "kill-before", "kill-after", "torn", "cut-before", "cut-after",
                                    "cut-torn", "eio",         "enospc",     "short", "slow"};

static atomic_long calls;
static long at, kill_at, lag;
static enum action asked;
static const char *dir;
static size_t dir_length;
static int counts_reads, no_sync, no_direct;
static int trace = -1;

__attribute__((constructor)) static void begin(void) {
    dir = getenv("RIG_DIR");
    dir_length = dir == NULL ? 0 : strlen(dir);
    at = getenv("RIG_AT") == NULL ? 0 : atol(getenv("RIG_AT"));
    kill_at = getenv("RIG_KILL_AT") == NULL ? 0 : atol(getenv("RIG_KILL_AT"));
    lag = getenv("RIG_LAG") == NULL ? 0 : atol(getenv("RIG_LAG"));
    counts_reads = getenv("RIG_READS") != NULL;
    no_sync = getenv("RIG_NO_SYNC") != NULL;
    no_direct = getenv("RIG_NO_DIRECT") != NULL;
    const char *name = getenv("RIG_DO");
    for (size_t each = 1; name != NULL && each < sizeof names / sizeof *names; each++)
        if (strcmp(name, names[each]) == 0) asked = (enum action)each;
    const char *file = getenv("RIG_TRACE");
    if (file != NULL) trace = (int)syscall(SYS_openat, AT_FDCWD, file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
}

static int is_below(const char *path) {
    return dir != NULL && strncmp(path, dir, dir_length) == 0;
}

static int is_file(int fd, char *path, size_t size) {
    struct stat found;
    char link[64];
    path[0] = 0;
    if (fstat(fd, &found) != 0 || !(S_ISREG(found.st_mode) || S_ISDIR(found.st_mode))) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, size - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return is_below(path);
}

static void die(int cuts) {
    /* What was reported too early gets the time to be told. */
    usleep(500);
    if (cuts) {
        uint32_t flags = NO_LOG_FLUSH;
        /* The directory itself may not be there yet. */
        char above[512];
        snprintf(above, sizeof above, "%s", dir);
        char *end = strrchr(above, '/');
        if (end != NULL) *end = 0;
        int fd = (int)syscall(SYS_openat, AT_FDCWD, above, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
        if (ioctl(fd, SHUTDOWN, &flags) != 0) {
            static const char text[] = "the filesystem cannot be shut down\n";
            syscall(SYS_write, 2, text, sizeof text - 1);
        }
    }
    syscall(SYS_kill, getpid(), SIGKILL);
    for (;;) pause();
}

/* Counts a call, and answers with what is to be done about it. */
static enum action next(const char *call, const char *path, int reads) {
    if (reads != counts_reads) return NOTHING;
    long number = atomic_fetch_add(&calls, 1) + 1;
    enum action action = at != 0 && number == at ? asked : NOTHING;
    if (trace >= 0) {
        char line[512];
        const char *name = strrchr(path, '/');
        int length = snprintf(line, sizeof line, "%ld %s %s %s\n", number, call, name == NULL ? path : name + 1,
                              names[action]);
        syscall(SYS_write, trace, line, length);
    }
    if (number == kill_at) die(0);
    if (action == KILL_BEFORE || action == CUT_BEFORE) die(action == CUT_BEFORE);
    if (action == SLOW) usleep(150 * 1000);
    return action;
}

static enum action next_of(const char *call, int fd, int reads) {
    char path[512];
    return is_file(fd, path, sizeof path) ? next(call, path, reads) : NOTHING;
}

/* The error that a call fails with instead; 0: none. */
static int error_of(enum action action) {
    return action == EIO_ ? EIO : action == ENOSPC_ ? ENOSPC : 0;
}

static void after(enum action action) {
    if (action == KILL_AFTER || action == CUT_AFTER) die(action == CUT_AFTER);
    /* Nothing of such a call can be torn: it is one of both. */
    if (action == TORN || action == CUT_TORN) die(action == CUT_TORN);
}

#define FAIL(action)                                                                                                   \
    do {                                                                                                               \
        int error = error_of(action);                                                                                  \
        if (error != 0) {                                                                                              \
            errno = error;                                                                                             \
            return -1;                                                                                                 \
        }                                                                                                              \
    } while (0)

/* Leaves some of the sectors of a write, by the number of the call, and dies. */
static void tear(int fd, const char *bytes, size_t length, off_t offset, enum action action) {
    uint64_t seed = (uint64_t)at * 0x9e3779b97f4a7c15u;
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    /* Another descriptor: the memory of sectors is not aligned as direct writes want it. */
    int plain = (int)syscall(SYS_openat, AT_FDCWD, link, O_WRONLY | O_CLOEXEC, 0);
    for (size_t begin = 0; begin < length;) {
        size_t end = (size_t)(512 - (offset + begin) % 512) + begin;
        if (end > length) end = length;
        seed ^= seed >> 29;
        seed *= 0xbf58476d1ce4e5b9u;
        if ((seed >> 40) & 1) syscall(SYS_pwrite64, plain, bytes + begin, end - begin, (off_t)(offset + begin));
        begin = end;
    }
    if (action == CUT_TORN) fdatasync(plain);
    die(action == CUT_TORN);
}

/* Half of a write, in whole sectors where it has more than one. */
static size_t half(size_t length) {
    return length >= 1024 ? length / 1024 * 512 : length / 2;
}

static ssize_t write_some(const char *call, int fd, const void *bytes, size_t length, off_t offset, int has_offset) {
    enum action action = next_of(call, fd, 0);
    FAIL(action);
    if (action == TORN || action == CUT_TORN)
        tear(fd, bytes, length, has_offset ? offset : lseek(fd, 0, SEEK_CUR), action);
    if (action == SHORT) length = half(length);
    ssize_t written = has_offset ? (ssize_t)syscall(SYS_pwrite64, fd, bytes, length, offset)
                                 : (ssize_t)syscall(SYS_write, fd, bytes, length);
    int error = errno;
    after(action);
    errno = error;
    return written;
}

ssize_t write(int fd, const void *bytes, size_t length) { return write_some("write", fd, bytes, length, 0, 0); }

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t offset) {
    return write_some("pwrite", fd, bytes, length, offset, 1);
}

ssize_t pwrite64(int fd, const void *bytes, size_t length, off_t offset) { return pwrite(fd, bytes, length, offset); }

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset) {
    enum action action = next_of("pwritev", fd, 0);
    FAIL(action);
    if (action == TORN || action == CUT_TORN || action == SHORT) {
        size_t length = 0;
        for (int part = 0; part < count; part++) length += parts[part].iov_len;
        char *bytes = malloc(length), *end = bytes;
        for (int part = 0; part < count; part++) {
            memcpy(end, parts[part].iov_base, parts[part].iov_len);
            end += parts[part].iov_len;
        }
        if (action != SHORT) tear(fd, bytes, length, offset, action);
        ssize_t written = (ssize_t)syscall(SYS_pwrite64, fd, bytes, half(length), offset);
        free(bytes);
        return written;
    }
    ssize_t written = (ssize_t)syscall(SYS_pwritev, fd, parts, count, offset, 0);
    int error = errno;
    after(action);
    errno = error;
    return written;
}

ssize_t pwritev64(int fd, const struct iovec *parts, int count, off_t offset) {
    return pwritev(fd, parts, count, offset);
}

/* Reads: they fail, are short or slow; a kill at one is a kill behind the write before it. */
static ssize_t read_some(int fd, void *bytes, size_t length, off_t offset, int has_offset) {
    enum action action = next_of("read", fd, 1);
    FAIL(action);
    if (action == SHORT && length > 8192) length = length / 8192 * 4096;
    return has_offset ? (ssize_t)syscall(SYS_pread64, fd, bytes, length, offset)
                      : (ssize_t)syscall(SYS_read, fd, bytes, length);
}

ssize_t read(int fd, void *bytes, size_t length) { return read_some(fd, bytes, length, 0, 0); }
ssize_t pread(int fd, void *bytes, size_t length, off_t offset) { return read_some(fd, bytes, length, offset, 1); }
ssize_t pread64(int fd, void *bytes, size_t length, off_t offset) { return read_some(fd, bytes, length, offset, 1); }

static int end(enum action action, int result) {
    int error = errno;
    after(action);
    errno = error;
    return result;
}

static int flush(const char *call, int fd, long number) {
    char path[512];
    enum action action = is_file(fd, path, sizeof path) ? next(call, path, 0) : NOTHING;
    FAIL(action);
    if (lag > 0 && strstr(path, "/data.mdb") != NULL) usleep((useconds_t)lag);
    return end(action, no_sync ? 0 : (int)syscall(number, fd));
}

int fsync(int fd) { return flush("fsync", fd, SYS_fsync); }
int fdatasync(int fd) { return flush("fdatasync", fd, SYS_fdatasync); }

int ftruncate(int fd, off_t length) {
    enum action action = next_of("ftruncate", fd, 0);
    FAIL(action);
    return end(action, (int)syscall(SYS_ftruncate, fd, length));
}

int ftruncate64(int fd, off_t length) { return ftruncate(fd, length); }

int fallocate(int fd, int mode, off_t offset, off_t length) {
    enum action action = next_of("fallocate", fd, 0);
    FAIL(action);
    return end(action, (int)syscall(SYS_fallocate, fd, mode, offset, length));
}

int fallocate64(int fd, int mode, off_t offset, off_t length) { return fallocate(fd, mode, offset, length); }

int rename(const char *from, const char *to) {
    enum action action = is_below(to) ? next("rename", to, 0) : NOTHING;
    FAIL(action);
    return end(action, (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0));
}

int unlink(const char *path) {
    enum action action = is_below(path) ? next("unlink", path, 0) : NOTHING;
    FAIL(action);
    return end(action, (int)syscall(SYS_unlinkat, AT_FDCWD, path, 0));
}

int mkdir(const char *path, mode_t mode) {
    enum action action = is_below(path) ? next("mkdir", path, 0) : NOTHING;
    FAIL(action);
    return end(action, (int)syscall(SYS_mkdirat, AT_FDCWD, path, mode));
}

static int open_file(int folder, const char *path, int flags, mode_t mode) {
    enum action action = is_below(path) ? next(flags & O_CREAT ? "create" : "open", path, 0) : NOTHING;
    FAIL(action);
    if (no_direct && (flags & O_DIRECT) && is_below(path)) {
        errno = EINVAL;
        return end(action, -1);
    }
    if (no_sync) flags &= ~(O_DIRECT | O_DSYNC | O_SYNC);
    return end(action, (int)syscall(SYS_openat, folder, path, flags, mode));
}

#define OPEN(name, ...)                                                                                                \
    int name(__VA_ARGS__ const char *path, int flags, ...) {                                                           \
        mode_t mode = 0;                                                                                               \
        if ((flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE) {                                                                           \
            va_list rest;                                                                                              \
            va_start(rest, flags);                                                                                     \
            mode = va_arg(rest, mode_t);                                                                               \
            va_end(rest);                                                                                              \
        }

OPEN(open, ) return open_file(AT_FDCWD, path, flags, mode); }
OPEN(open64, ) return open_file(AT_FDCWD, path, flags, mode); }
OPEN(openat, int folder, ) return open_file(folder, path, flags, mode); }
OPEN(openat64, int folder, ) return open_file(folder, path, flags, mode); }
