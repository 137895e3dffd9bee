// Small scenes for lockprobe to watch: scene MODE [ARGUMENT].
//
//     brief MS     one thread holds a mutex for MS milliseconds while another waits; ends
//     rounds MS N  the same, a hundred times, and stays for N milliseconds more (0 if not given)
//     named MS     the same as brief, by a thread whose name is a terminal's control sequence
//     begin MS     the same as brief, once told to
//     linger MS    the same as brief, and ends when told to
//     stay MS      the same as brief, once told to, and ends when told to again
//     blocked      a thread waits for a mutex until told; says so; ends when told
//     timed        the same, with a time-out that is far away
//     condition    a thread waits for a condition variable until told
//     deadlock     two threads wait for each other; ends when told
//     exec         a thread waits for a mutex; once told, another turns the process into `linger 300`
//
// What happens is said as JSON lines; a line on standard input is what "told" means.
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static pthread_mutex_t first = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t second = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t event = PTHREAD_COND_INITIALIZER;
static volatile int waiter, other, timed, condition, happened;
static const char *name = "waiter";

static int tid(void) { return syscall(SYS_gettid); }

static void nap(long ns) {
    struct timespec t = {ns / 1000000000, ns % 1000000000};
    nanosleep(&t, NULL);
}

static void told(void) {
    char byte;
    while (read(0, &byte, 1) == 1 && byte != '\n') {}
}

/// Until a thread sleeps in a futex call: system call 202 on x86-64, 98 on arm64.
static void await_sleep(volatile int *thread, pthread_mutex_t *mutex) {
    while (!*thread || (mutex && __atomic_load_n(&mutex->__data.__lock, __ATOMIC_RELAXED) != 2)) nap(50000);
    char path[64], line[256];
    snprintf(path, sizeof path, "/proc/self/task/%d/syscall", *thread);
    for (;;) {
        FILE *file = fopen(path, "r");
        if (!file) exit(99);
        int asleep = fgets(line, sizeof line, file) && atol(line) == SYS_futex;
        fclose(file);
        if (asleep) return;
        nap(50000);
    }
}

static void *wait_for_first(void *with) {
    (void)with;
    prctl(PR_SET_NAME, name);
    waiter = tid();
    if (condition) {
        pthread_mutex_lock(&second);
        while (!happened) pthread_cond_wait(&event, &second);
        pthread_mutex_unlock(&second);
        return NULL;
    }
    if (timed) {
        struct timespec until = {time(NULL) + 1000, 0};
        pthread_mutex_timedlock(&first, &until);
    } else {
        pthread_mutex_lock(&first);
    }
    pthread_mutex_unlock(&first);
    return NULL;
}

static pthread_t start(void *(*body)(void *), void *with) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, body, with)) exit(99);
    return thread;
}

static void brief(long ms) {
    waiter = 0;
    pthread_mutex_lock(&first);
    pthread_t thread = start(wait_for_first, NULL);
    await_sleep(&waiter, &first);
    nap(ms * 1000000);
    pthread_mutex_unlock(&first);
    pthread_join(thread, NULL);
}

static void say(void) {
    printf("{\"holder\":%d,\"waiter\":%d,\"lock\":\"%p\"}\n", tid(), waiter, (void *)&first);
    fflush(stdout);
}

static void blocked(void) {
    pthread_mutex_lock(&first);
    pthread_t thread = start(wait_for_first, NULL);
    await_sleep(&waiter, condition ? NULL : &first);
    say();
    told();
    if (condition) {
        pthread_mutex_lock(&second);
        happened = 1;
        pthread_mutex_unlock(&second);
        pthread_cond_signal(&event);
    }
    pthread_mutex_unlock(&first);
    pthread_join(thread, NULL);
    told();
}

static pthread_barrier_t both;

static void *opposite(void *with) {
    pthread_mutex_t *mutexes[] = {&first, &second};
    int which = with != NULL;
    *(which ? &other : &waiter) = tid();
    pthread_mutex_lock(mutexes[which]);
    pthread_barrier_wait(&both);
    pthread_mutex_lock(mutexes[!which]);
    return NULL;
}

static void deadlock(void) {
    pthread_barrier_init(&both, NULL, 2);
    told();
    start(opposite, NULL);
    start(opposite, &both);
    await_sleep(&waiter, &second);
    await_sleep(&other, &first);
    printf("{\"threads\":[%d,%d]}\n", waiter, other);
    fflush(stdout);
    told();
    _exit(0);
}

int main(int argc, char **argv) {
    const char *mode = argc > 1 ? argv[1] : "";
    long ms = argc > 2 ? atol(argv[2]) : 0;
    if (!strcmp(mode, "named")) name = "\x1b[2J\x07red";
    timed = !strcmp(mode, "timed");
    condition = !strcmp(mode, "condition");
    int begins = !strcmp(mode, "begin"), lingers = !strcmp(mode, "linger");
    int stays = !strcmp(mode, "stay");
    if (begins || stays) told();
    if (!strcmp(mode, "brief") || !strcmp(mode, "named") || begins || lingers || stays) {
        brief(ms);
        if (lingers || stays) told();
    } else if (!strcmp(mode, "rounds")) {
        for (int i = 0; i < 100; i++) brief(ms);
        if (argc > 3) nap(atol(argv[3]) * 1000000);
    } else if (!strcmp(mode, "blocked") || timed || condition) {
        blocked();
    } else if (!strcmp(mode, "deadlock")) {
        deadlock();
    } else if (!strcmp(mode, "exec")) {
        pthread_mutex_lock(&first);
        start(wait_for_first, NULL);
        await_sleep(&waiter, &first);
        say();
        told();
        execl("/proc/self/exe", argv[0], "linger", "300", (char *)NULL);
        return 99;
    } else {
        return 99;
    }
    return 0;
}
