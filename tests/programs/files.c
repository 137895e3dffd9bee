// A program that knows its own truth about locks the kernel keeps.
//
//     files SCENE FILE
//
// One process has the lock, another waits for it. Writes one JSON line for every wait and every
// hold, with times of CLOCK_MONOTONIC taken around the calls. What the scenes are is told at the
// table at the end.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/sem.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MS 1000000ull
#define ROUNDS 4
#define HOLD (60 * MS)

typedef unsigned long long u64;

static const char *scene, *path;

static void fail(const char *what) {
    fprintf(stderr, "files: %s: %s: %s\n", scene, what, strerror(errno));
    exit(99);
}

static u64 now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000ull + t.tv_nsec;
}

static void nap(u64 ns) {
    struct timespec t = {ns / 1000000000ull, ns % 1000000000ull};
    while (clock_nanosleep(CLOCK_MONOTONIC, 0, &t, &t) == EINTR) {}
}

/// A child that ends when we do, whatever ends us.
static pid_t child_of_ours(void) {
    pid_t child = fork();
    if (child == 0) prctl(PR_SET_PDEATHSIG, SIGKILL);
    return child;
}

static int tid(void) { return syscall(SYS_gettid); }

// ---- ways to lock ----

static int file = -1, set = -1;

static int flock_with(int operation) { return flock(file, operation); }

static int range(int command, short type, off_t start, off_t length) {
    struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = length};
    return fcntl(file, command, &lock);
}

static int semaphore(short by) {
    struct sembuf step = {.sem_num = 1, .sem_op = by, .sem_flg = SEM_UNDO};
    return semop(set, &step, 1);
}

static int flock_ex(void) { return flock_with(LOCK_EX); }
static int flock_sh(void) { return flock_with(LOCK_SH); }
static int flock_nb(void) { return flock_with(LOCK_EX | LOCK_NB); }
static int flock_un(void) { return flock_with(LOCK_UN); }
static int posix_wr(void) { return range(F_SETLKW, F_WRLCK, 100, 50); }
static int posix_rd(void) { return range(F_SETLKW, F_RDLCK, 100, 50); }
static int posix_nb(void) { return range(F_SETLK, F_WRLCK, 100, 50); }
static int posix_un(void) { return range(F_SETLK, F_UNLCK, 100, 50); }
static int ofd_wr(void) { return range(F_OFD_SETLKW, F_WRLCK, 0, 0); }
static int ofd_nb(void) { return range(F_OFD_SETLK, F_WRLCK, 0, 0); }
static int ofd_un(void) { return range(F_OFD_SETLK, F_UNLCK, 0, 0); }
static int sem_down(void) { return semaphore(-1); }
static int sem_up(void) { return semaphore(1); }
// Names that are locks by being there, spelled from the directory of the file.
static const char name[] = "x.lock";

static int make_file(void) {
    int made = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (made >= 0) close(made);
    return made < 0 ? -1 : 0;
}

static int make_link(void) { return link(path, name); }
static int make_directory(void) { return mkdir(name, 0700); }
static int remove_file(void) { return unlink(name); }
static int remove_directory(void) { return rmdir(name); }
static int rename_file(void) { return rename(name, "x"); }

/// As `filelock` for Python does it: the lock is that of flock(2).
static int make_and_flock(void) {
    int made = open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (made < 0 && errno == EEXIST) made = open(name, O_RDWR | O_CLOEXEC);
    if (made < 0) return -1;
    if (flock(made, LOCK_EX | LOCK_NB)) {
        close(made);
        errno = EAGAIN;
        return -1;
    }
    close(file);
    file = made;
    return 0;
}

static int shut(void) { return close(file); }
static int leave(void) { return 0; }

struct way {
    const char *scene;
    int (*take)(void), (*want)(void), (*let_go)(void);
    u64 pause; // between two attempts, where the lock is polled
};

static const struct way ways[] = {
    {"flock", flock_ex, flock_ex, flock_un, 0},
    {"flock_shared", flock_sh, flock_ex, flock_un, 0},
    {"flock_reader", flock_ex, flock_sh, flock_un, 0},
    {"flock_closed", flock_ex, flock_ex, shut, 0},
    {"flock_exit", flock_ex, flock_ex, leave, 0},
    {"flock_polled", flock_ex, flock_nb, flock_un, 5 * MS},
    {"posix", posix_wr, posix_wr, posix_un, 0},
    {"posix_reader", posix_wr, posix_rd, posix_un, 0},
    {"posix_closed", posix_wr, posix_wr, shut, 0},
    {"posix_polled", posix_wr, posix_nb, posix_un, 5 * MS},
    {"ofd", ofd_wr, ofd_wr, ofd_un, 0},
    {"ofd_polled", ofd_wr, ofd_nb, ofd_un, 5 * MS},
    {"made", make_file, make_file, remove_file, 5 * MS},
    {"made_renamed", make_file, make_file, rename_file, 5 * MS},
    {"made_link", make_link, make_link, remove_file, 5 * MS},
    {"made_directory", make_directory, make_directory, remove_directory, 5 * MS},
    {"made_and_flock", make_and_flock, make_and_flock, flock_un, 5 * MS},
    {"sysv", sem_down, sem_down, sem_up, 0},
    {"sysv_undo", sem_down, sem_down, leave, 0},
};

// ---- two processes ----

static void tell(int pipe) {
    if (write(pipe, "x", 1) != 1) fail("tell");
}

static void hear(int pipe) {
    char byte;
    if (read(pipe, &byte, 1) != 1) fail("hear");
}

static void open_file(void) {
    file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (file < 0) fail("open");
}

/// Has the lock for a while; the waiter is told when.
static void hold(const struct way *way, int ready) {
    open_file();
    if (way->take()) fail("take");
    u64 begin = now();
    tell(ready);
    nap(HOLD);
    u64 end = now();
    printf("{\"what\":\"hold\",\"tid\":%d,\"begin\":%llu,\"end\":%llu}\n", tid(), begin, end);
    fflush(stdout);
    if (way->let_go()) fail("let go");
}

static void await(const struct way *way, int holder) {
    int attempts = 1;
    open_file();
    u64 begin = now();
    while (way->want()) {
        if (!way->pause || (errno != EAGAIN && errno != EACCES && errno != EEXIST)) fail("want");
        attempts++;
        nap(way->pause);
    }
    u64 end = now();
    printf("{\"what\":\"wait\",\"tid\":%d,\"holder\":%d,\"begin\":%llu,\"end\":%llu,"
           "\"attempts\":%d}\n", tid(), holder, begin, end, attempts);
    fflush(stdout);
    // Long enough for the next holder to have to wait, if it does not ask in vain.
    if (way->let_go == leave ? sem_up != way->let_go && way->want == sem_down && sem_up()
                             : way->let_go())
        fail("let go");
    if (way->let_go != shut) close(file);
}

static void two_processes(const struct way *way) {
    for (int round = 0; round < ROUNDS; round++) {
        int ready[2];
        if (pipe(ready)) fail("pipe");
        pid_t child = child_of_ours();
        if (child < 0) fail("fork");
        if (child == 0) {
            hold(way, ready[1]);
            _exit(0);
        }
        hear(ready[0]);
        await(way, child);
        if (waitpid(child, NULL, 0) != child) fail("wait");
        close(ready[0]);
        close(ready[1]);
        nap(5 * MS);
    }
}

// ---- scenes that last until standard input ends ----

/// Waits until standard input ends, then ends the children and the program.
static void until_told(pid_t *children, int count) {
    char byte;
    while (read(0, &byte, 1) > 0) {}
    for (int i = 0; i < count; i++) kill(children[i], SIGKILL);
    for (int i = 0; i < count; i++) waitpid(children[i], NULL, 0);
}

/// Waits until a process sleeps in a call.
static void until_asleep(pid_t process, const char *call) {
    char name[64], text[64];
    for (int i = 0; i < 4000; i++) {
        snprintf(name, sizeof name, "/proc/%d/syscall", process);
        FILE *in = fopen(name, "r");
        int asleep = in && fgets(text, sizeof text, in) && !strncmp(text, call, strlen(call));
        if (in) fclose(in);
        if (asleep) return;
        nap(MS);
    }
    fail("a child does not sleep");
}

/// One process has the flock and wants a mutex, the other has the mutex and wants the flock.
static void deadlock(void) {
    int ready[2];
    pid_t children[2];
    pthread_mutexattr_t shared;
    pthread_mutex_t *mutex = mmap(NULL, sizeof *mutex, PROT_READ | PROT_WRITE,
                                  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (mutex == MAP_FAILED || pipe(ready)) fail("share");
    pthread_mutexattr_init(&shared);
    pthread_mutexattr_setpshared(&shared, PTHREAD_PROCESS_SHARED);
    pthread_mutex_init(mutex, &shared);
    for (int i = 0; i < 2; i++) {
        children[i] = child_of_ours();
        if (children[i] < 0) fail("fork");
        if (children[i]) continue;
        open_file();
        if (i == 0 ? flock_ex() : pthread_mutex_lock(mutex)) fail("first");
        tell(ready[1]);
        nap(50 * MS);
        if (i == 1 ? flock_ex() : pthread_mutex_lock(mutex)) fail("second");
        _exit(0);
    }
    hear(ready[0]);
    hear(ready[0]);
    until_asleep(children[0], "202 ");
    until_asleep(children[1], "73 ");
    printf("{\"what\":\"deadlock\",\"flock\":%d,\"mutex\":%d}\n", children[0], children[1]);
    fflush(stdout);
    until_told(children, 2);
}

/// One process has the lock, others wait for it in vain.
static void held(int (*take)(void), int (*want)(void), const char *call) {
    int ready[2];
    pid_t children[3];
    if (pipe(ready)) fail("pipe");
    for (int i = 0; i < 3; i++) {
        children[i] = child_of_ours();
        if (children[i] < 0) fail("fork");
        if (children[i] == 0) {
            open_file();
            if (i == 0) {
                if (take()) fail("take");
                tell(ready[1]);
                pause();
            }
            want();
            _exit(0);
        }
        if (i == 0) hear(ready[0]);
        else until_asleep(children[i], call);
    }
    printf("{\"what\":\"held\",\"holder\":%d,\"waiters\":[%d,%d]}\n", children[0], children[1],
           children[2]);
    fflush(stdout);
    until_told(children, 3);
}

static void ignore(int signal) { (void)signal; }

/// A wait that a signal ends, and a lock that outlives the process that took it: a child shares the
/// open file.
static void oddities(void) {
    int ready[2];
    pid_t child, heir;
    struct sigaction act = {.sa_handler = ignore};
    sigaction(SIGALRM, &act, NULL);
    if (pipe(ready)) fail("pipe");
    child = child_of_ours();
    if (child < 0) fail("fork");
    if (child == 0) {
        open_file();
        if (flock_ex()) fail("take");
        heir = fork();
        if (heir < 0) fail("fork");
        if (heir == 0) {
            tell(ready[1]);
            nap(300 * MS);
        }
        _exit(0);
    }
    waitpid(child, NULL, 0);
    hear(ready[0]);
    open_file();
    ualarm(60000, 0);
    u64 begin = now();
    if (!flock_ex() || errno != EINTR) fail("a signal did not end the wait");
    u64 end = now();
    printf("{\"what\":\"interrupted\",\"gone\":%d,\"begin\":%llu,\"end\":%llu}\n", child, begin,
           end);
    if (!flock_nb() || errno != EWOULDBLOCK) fail("the lock was not refused");
    fflush(stdout);
    if (flock_ex()) fail("take");
}

int main(int count, char **arguments) {
    if (count != 3) return 2;
    scene = arguments[1];
    path = arguments[2];
    struct stat seen;
    char *directory = strdup(path);
    if (!directory || chdir(dirname(directory))) fail("chdir");
    open_file();
    if (fstat(file, &seen)) fail("stat");
    close(file);
    set = semget(IPC_PRIVATE, 2, 0600);
    if (set < 0 || semctl(set, 1, SETVAL, 1)) fail("semget");
    printf("{\"what\":\"lock\",\"device\":%llu,\"inode\":%llu,\"set\":%d,\"pid\":%d}\n",
           (u64)seen.st_dev, (u64)seen.st_ino, set, getpid());
    fflush(stdout);
    for (unsigned i = 0; i < sizeof ways / sizeof *ways; i++)
        if (!strcmp(scene, ways[i].scene)) two_processes(&ways[i]);
    if (!strcmp(scene, "oddities")) oddities();
    if (!strcmp(scene, "deadlock")) deadlock();
    if (!strcmp(scene, "flock_held")) held(flock_ex, flock_ex, "73 ");
    if (!strcmp(scene, "posix_held")) held(posix_wr, posix_rd, "72 ");
    if (!strcmp(scene, "ofd_held")) held(ofd_wr, ofd_wr, "72 ");
    if (!strcmp(scene, "sysv_held")) held(sem_down, sem_down, "220 ");
    semctl(set, 0, IPC_RMID);
    return 0;
}
