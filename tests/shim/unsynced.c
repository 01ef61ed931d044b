/* A preloaded layer between a program and its files, for questions that only bad days answer:
 *
 * 1. What is left when everything not fsynced is lost? Before a write, the bytes it covers and the file's size go into
 *    an undo log; fsync or fdatasync of the file empties that log. After a kill -9 the logs are applied backwards, and
 *    what remains is what a power failure would have left. Created and removed names are undone too, until their
 *    directory is fsynced.
 * 2. How fast is a program on a slower disk? Every fsync is delayed by UNSYNCED_DELAY_US microseconds.
 * 3. Would anybody notice if an fsync were missing? Those of paths that end with UNSYNCED_SKIP do nothing.
 * 4. What happens on a full disk? While the file UNSYNCED_FULL exists it names a mode and a path: under that path
 *    "grow" refuses whatever makes a file longer, "write" every write, as a copying file system does.
 *
 * UNSYNCED_DIR: only files below this directory are watched. UNSYNCED_LOG: where undo logs go, outside of it; without
 * it nothing is noted. Record: u64 kind, offset, length, old size, then `length` bytes (native byte order).
 * Log names: f.<inode> for a file, d.<inode> for a directory's names.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum { WRITE_OVER = 1, SIZE_CHANGED = 2, NAME_CREATED = 3, NAME_REMOVED = 4 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static const char *watched, *log_dir, *skipped, *full;
static long delay_us;

static int (*real_open)(const char *, int, ...);
static int (*real_openat)(int, const char *, int, ...);
static ssize_t (*real_write)(int, const void *, size_t);
static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);
static ssize_t (*real_writev)(int, const struct iovec *, int);
static int (*real_ftruncate)(int, off_t);
static int (*real_fsync)(int), (*real_fdatasync)(int);
static int (*real_unlink)(const char *);
static int (*real_unlinkat)(int, const char *, int);
static int (*real_rename)(const char *, const char *);
static int (*real_fallocate)(int, int, off_t, off_t);
static int (*real_mkdir)(const char *, mode_t);

__attribute__((constructor)) static void start(void) {
    watched = getenv("UNSYNCED_DIR");
    log_dir = getenv("UNSYNCED_LOG");
    skipped = getenv("UNSYNCED_SKIP");
    full = getenv("UNSYNCED_FULL");
    const char *delay = getenv("UNSYNCED_DELAY_US");
    delay_us = delay ? atol(delay) : 0;
    real_open = dlsym(RTLD_NEXT, "open64");
    real_openat = dlsym(RTLD_NEXT, "openat64");
    real_write = dlsym(RTLD_NEXT, "write");
    real_pwrite = dlsym(RTLD_NEXT, "pwrite64");
    real_writev = dlsym(RTLD_NEXT, "writev");
    real_ftruncate = dlsym(RTLD_NEXT, "ftruncate64");
    real_fsync = dlsym(RTLD_NEXT, "fsync");
    real_fdatasync = dlsym(RTLD_NEXT, "fdatasync");
    real_unlink = dlsym(RTLD_NEXT, "unlink");
    real_unlinkat = dlsym(RTLD_NEXT, "unlinkat");
    real_rename = dlsym(RTLD_NEXT, "rename");
    real_fallocate = dlsym(RTLD_NEXT, "fallocate64");
    real_mkdir = dlsym(RTLD_NEXT, "mkdir");
}

static int under(const char *path, const char *top) {
    size_t length = strlen(top);
    return strncmp(path, top, length) == 0 && (path[length] == '/' || path[length] == 0);
}

static int ends_with(const char *path, const char *end) {
    size_t length = strlen(path), want = strlen(end);
    return length >= want && strcmp(path + length - want, end) == 0;
}

static int below(const char *path) {
    return watched && under(path, watched);
}

/* The path behind a descriptor, when it is watched. */
static int path_of(int fd, char *path, size_t size) {
    if (!watched) return 0;
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, size - 1);
    if (length <= 0) return 0;
    path[length] = 0;
    return below(path);
}

/* SQLite's shared-memory index is rebuilt after every crash: its content does not matter. */
static int matters(int fd, char *path, size_t size, struct stat *st) {
    if (!path_of(fd, path, size) || fstat(fd, st) != 0 || !S_ISREG(st->st_mode)) return 0;
    return !ends_with(path, "-shm");
}

/* How much of a write a full disk still takes; -1 when it takes nothing of it. */
static ssize_t taken(const char *path, off_t size, off_t offset, size_t length) {
    if (!full || length == 0) return (ssize_t)length;
    int fd = real_open(full, O_RDONLY);
    if (fd < 0) return (ssize_t)length;
    char text[4096], mode[8], top[4000];
    ssize_t got = read(fd, text, sizeof text - 1);
    close(fd);
    text[got > 0 ? got : 0] = 0;
    if (sscanf(text, "%7s %3999s", mode, top) != 2 || !under(path, top)) return (ssize_t)length;
    if (strcmp(mode, "write") == 0) return -1;
    if (offset + (off_t)length <= size) return (ssize_t)length;
    return offset < size ? (ssize_t)(size - offset) : -1;
}

static ssize_t no_room(void) {
    errno = ENOSPC;
    return -1;
}

static void note(char kind, ino_t inode, uint64_t what, uint64_t offset, const void *bytes, uint64_t length, uint64_t size) {
    if (!log_dir) return;
    char name[4096];
    snprintf(name, sizeof name, "%s/%c.%llu", log_dir, kind, (unsigned long long)inode);
    int fd = real_open(name, O_WRONLY | O_CREAT | O_APPEND, 0600);
    if (fd < 0) abort();
    uint64_t head[4] = {what, offset, length, size};
    struct iovec parts[2] = {{head, sizeof head}, {(void *)bytes, length}};
    if (real_writev(fd, parts, 2) < 0) abort();
    close(fd);
}

static void forget(char kind, ino_t inode) {
    if (!log_dir) return;
    char name[4096];
    snprintf(name, sizeof name, "%s/%c.%llu", log_dir, kind, (unsigned long long)inode);
    real_unlink(name);
}

/* Notes what a write at `offset` will cover. */
static void before_write(int fd, const struct stat *st, off_t offset, size_t length) {
    if (!log_dir) return;
    uint64_t covered = 0;
    char *old = NULL;
    if (offset < st->st_size) {
        covered = (uint64_t)(st->st_size - offset) < length ? (uint64_t)(st->st_size - offset) : length;
        old = malloc(covered);
        /* A descriptor open for writing only cannot be read: open the file once more. */
        char link[64];
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        int again = real_open(link, O_RDONLY);
        ssize_t got = again >= 0 ? pread64(again, old, covered, offset) : -1;
        if (again >= 0) close(again);
        if (got < 0 || (uint64_t)got != covered) abort();
    }
    note('f', st->st_ino, WRITE_OVER, (uint64_t)offset, old, covered, (uint64_t)st->st_size);
    free(old);
}

static void delay(void) {
    if (delay_us > 0) usleep((useconds_t)delay_us);
}

/* "parent" is noted with the name inside it, so that the name can be undone until the directory is fsynced. */
static void note_name(const char *path, uint64_t what, const char *kept) {
    char parent[4096];
    snprintf(parent, sizeof parent, "%s", path);
    char *slash = strrchr(parent, '/');
    if (!slash) return;
    *slash = 0;
    struct stat st;
    if (stat(parent, &st) != 0) return;
    char text[8200];
    int length = snprintf(text, sizeof text, "%s\n%s", path, kept ? kept : "");
    note('d', st.st_ino, what, 0, text, (uint64_t)length, 0);
}

static void absolute(const char *path, char *out, size_t size) {
    char cwd[2048];
    if (path[0] == '/') snprintf(out, size, "%s", path);
    else snprintf(out, size, "%s/%s", getcwd(cwd, sizeof cwd) ? cwd : "", path);
}

static int opened(const char *path, int flags, int fd_of_dir, mode_t mode, int is_at) {
    char name[4096];
    int created = 0;
    if ((flags & O_CREAT) && watched) {
        if (!is_at || fd_of_dir == AT_FDCWD || path[0] == '/') absolute(path, name, sizeof name);
        else name[0] = 0;
        struct stat st;
        created = below(name) && stat(name, &st) != 0 && errno == ENOENT;
    }
    int fd = is_at ? real_openat(fd_of_dir, path, flags, mode) : real_open(path, flags, mode);
    if (fd >= 0 && created) {
        pthread_mutex_lock(&lock);
        note_name(name, NAME_CREATED, NULL);
        pthread_mutex_unlock(&lock);
    }
    return fd;
}

static mode_t mode_of(int flags, va_list list) {
    return flags & (O_CREAT | O_TMPFILE) ? va_arg(list, mode_t) : 0;
}

int open(const char *path, int flags, ...) {
    va_list list;
    va_start(list, flags);
    mode_t mode = mode_of(flags, list);
    va_end(list);
    return opened(path, flags, AT_FDCWD, mode, 0);
}
int open64(const char *path, int flags, ...) {
    va_list list;
    va_start(list, flags);
    mode_t mode = mode_of(flags, list);
    va_end(list);
    return opened(path, flags, AT_FDCWD, mode, 0);
}
int openat(int dir, const char *path, int flags, ...) {
    va_list list;
    va_start(list, flags);
    mode_t mode = mode_of(flags, list);
    va_end(list);
    return opened(path, flags, dir, mode, 1);
}
int openat64(int dir, const char *path, int flags, ...) {
    va_list list;
    va_start(list, flags);
    mode_t mode = mode_of(flags, list);
    va_end(list);
    return opened(path, flags, dir, mode, 1);
}

/* One write of `length` bytes at `offset`, cut to what the disk takes. Holds the lock; `st` is of the file. */
static int prepare(int fd, const char *path, struct stat *st, off_t offset, size_t *length) {
    if (fstat(fd, st) != 0) return 1;
    ssize_t room = taken(path, st->st_size, offset, *length);
    if (room < 0) return 0;
    *length = (size_t)room;
    before_write(fd, st, offset, *length);
    return 1;
}

ssize_t pwrite64(int fd, const void *bytes, size_t length, off_t offset) {
    char path[4096];
    struct stat st;
    if (!matters(fd, path, sizeof path, &st)) return real_pwrite(fd, bytes, length, offset);
    pthread_mutex_lock(&lock);
    ssize_t done = prepare(fd, path, &st, offset, &length) ? real_pwrite(fd, bytes, length, offset) : no_room();
    pthread_mutex_unlock(&lock);
    return done;
}
ssize_t pwrite(int fd, const void *bytes, size_t length, off_t offset) { return pwrite64(fd, bytes, length, offset); }

static off_t write_place(int fd) {
    struct stat st;
    if (fcntl(fd, F_GETFL) & O_APPEND) return fstat(fd, &st) == 0 ? st.st_size : 0;
    return lseek(fd, 0, SEEK_CUR);
}

ssize_t write(int fd, const void *bytes, size_t length) {
    char path[4096];
    struct stat st;
    if (!matters(fd, path, sizeof path, &st)) return real_write(fd, bytes, length);
    pthread_mutex_lock(&lock);
    ssize_t done = prepare(fd, path, &st, write_place(fd), &length) ? real_write(fd, bytes, length) : no_room();
    pthread_mutex_unlock(&lock);
    return done;
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    char path[4096];
    struct stat st;
    if (!matters(fd, path, sizeof path, &st)) return real_writev(fd, parts, count);
    /* Part by part: a short count is an honest answer. */
    ssize_t total = 0;
    for (int i = 0; i < count; i++) {
        ssize_t done = write(fd, parts[i].iov_base, parts[i].iov_len);
        if (done < 0) return total > 0 ? total : done;
        total += done;
        if ((size_t)done < parts[i].iov_len) break;
    }
    return total;
}

int fallocate64(int fd, int mode, off_t offset, off_t length) {
    char path[4096];
    struct stat st;
    if (!matters(fd, path, sizeof path, &st)) return real_fallocate(fd, mode, offset, length);
    pthread_mutex_lock(&lock);
    int done = -1;
    if (taken(path, st.st_size, offset, (size_t)length) != (ssize_t)length) {
        errno = ENOSPC;
    } else {
        if (fstat(fd, &st) == 0 && offset + length > st.st_size)
            note('f', st.st_ino, SIZE_CHANGED, 0, NULL, 0, (uint64_t)st.st_size);
        done = real_fallocate(fd, mode, offset, length);
    }
    pthread_mutex_unlock(&lock);
    return done;
}
int fallocate(int fd, int mode, off_t offset, off_t length) { return fallocate64(fd, mode, offset, length); }

int mkdir(const char *path, mode_t mode) {
    int done = real_mkdir(path, mode);
    char full_path[4096];
    absolute(path, full_path, sizeof full_path);
    if (done == 0 && below(full_path)) {
        pthread_mutex_lock(&lock);
        note_name(full_path, NAME_CREATED, NULL);
        pthread_mutex_unlock(&lock);
    }
    return done;
}

int ftruncate64(int fd, off_t size) {
    char path[4096];
    struct stat st;
    if (!matters(fd, path, sizeof path, &st)) return real_ftruncate(fd, size);
    pthread_mutex_lock(&lock);
    if (fstat(fd, &st) == 0) {
        if (size < st.st_size) before_write(fd, &st, size, (size_t)(st.st_size - size));
        else note('f', st.st_ino, SIZE_CHANGED, 0, NULL, 0, (uint64_t)st.st_size);
    }
    int done = real_ftruncate(fd, size);
    pthread_mutex_unlock(&lock);
    return done;
}
int ftruncate(int fd, off_t size) { return ftruncate64(fd, size); }

static int synced(int fd, int (*real)(int)) {
    char path[4096];
    struct stat st;
    int known = path_of(fd, path, sizeof path) && fstat(fd, &st) == 0;
    if (known && skipped && ends_with(path, skipped)) return 0;
    delay();
    if (!known) return real(fd);
    /* Nobody may write between the fsync and the forgetting of what it made durable. */
    pthread_mutex_lock(&lock);
    int done = real(fd);
    if (done == 0) forget(S_ISDIR(st.st_mode) ? 'd' : 'f', st.st_ino);
    pthread_mutex_unlock(&lock);
    return done;
}
int fsync(int fd) { return synced(fd, real_fsync); }
int fdatasync(int fd) { return synced(fd, real_fdatasync); }

/* Keeps a removed file under another name, so that the removal can be undone. */
static void before_unlink(const char *given) {
    struct stat st;
    char path[4096];
    absolute(given, path, sizeof path);
    if (!log_dir || !below(path) || lstat(path, &st) != 0 || !S_ISREG(st.st_mode) || ends_with(path, "-shm")) return;
    char kept[4096];
    snprintf(kept, sizeof kept, "%s/kept.%llu", log_dir, (unsigned long long)st.st_ino);
    pthread_mutex_lock(&lock);
    real_unlink(kept);
    if (link(path, kept) == 0) note_name(path, NAME_REMOVED, kept);
    pthread_mutex_unlock(&lock);
}
int unlink(const char *path) {
    before_unlink(path);
    return real_unlink(path);
}
int unlinkat(int dir, const char *path, int flags) {
    if (!(flags & AT_REMOVEDIR)) before_unlink(path);
    return real_unlinkat(dir, path, flags);
}
int rename(const char *from, const char *to) {
    char target[4096];
    absolute(to, target, sizeof target);
    if (below(target)) {
        before_unlink(to);
        before_unlink(from);
    }
    int done = real_rename(from, to);
    if (done == 0 && below(target)) {
        pthread_mutex_lock(&lock);
        note_name(target, NAME_CREATED, NULL);
        pthread_mutex_unlock(&lock);
    }
    return done;
}
