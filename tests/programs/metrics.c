// Waits whose number and whose length this program knows: one thread has a mutex, the other asks
// for it, is seen asleep, and is let on. Nothing else sleeps on a lock.
//
// metrics ROUNDS LONG_EVERY: every LONG_EVERY-th wait lasts 3 ms or more, the others 50 us or so.
// Writes one line of JSON when told to by a byte on its standard input, and ends with that.
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static pthread_mutex_t baton = PTHREAD_MUTEX_INITIALIZER;
static atomic_int asked, had, tid;
static int rounds, long_every;
static uint64_t waited_at_least;

static uint64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void *waiter(void *nothing)
{
    atomic_store(&tid, (int)syscall(SYS_gettid));
    for (int round = 1; round <= rounds; round++) {
        while (atomic_load(&asked) != round)
            sched_yield();
        pthread_mutex_lock(&baton);
        pthread_mutex_unlock(&baton);
        atomic_store(&had, round);
    }
    return nothing;
}

// Whether the waiter sleeps: the only place it does is the mutex.
static int asleep(int stat)
{
    char line[512];
    ssize_t length = pread(stat, line, sizeof line - 1, 0);
    if (length <= 0)
        exit(3);
    line[length] = 0;
    char *state = strrchr(line, ')');
    return state && state[2] == 'S';
}

int main(int argc, char **argv)
{
    if (argc != 3)
        return 2;
    rounds = atoi(argv[1]);
    long_every = atoi(argv[2]);
    pthread_t thread;
    pthread_create(&thread, 0, waiter, 0);
    while (!atomic_load(&tid))
        sched_yield();
    char path[64];
    snprintf(path, sizeof path, "/proc/self/task/%d/stat", atomic_load(&tid));
    int stat = open(path, O_RDONLY);
    int longer = 0;
    for (int round = 1; round <= rounds; round++) {
        pthread_mutex_lock(&baton);
        atomic_store(&asked, round);
        while (!asleep(stat))
            ;
        int is_long = round % long_every == 0;
        uint64_t begun = now();
        while (now() - begun < (is_long ? 3000000u : 50000u))
            ;
        longer += is_long;
        waited_at_least += now() - begun;
        pthread_mutex_unlock(&baton);
        while (atomic_load(&had) != round)
            sched_yield();
    }
    pthread_join(thread, 0);
    char byte;
    if (read(0, &byte, 1) < 0)
        return 4;
    printf("{\"pid\":%d,\"waits\":%d,\"long\":%d,\"waited_at_least\":%llu}\n", getpid(), rounds, longer,
           (unsigned long long)waited_at_least);
    return 0;
}
