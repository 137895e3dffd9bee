// Waits whose number and whose length this program knows: one thread has mutexes, others ask for
// one each, are seen asleep, and are let on. Nothing else sleeps on a lock.
//
// metrics ROUNDS LONG_EVERY LOCKS THREADS PAUSE: in each round, which come PAUSE us apart, so many threads wait, in every
// LONG_EVERY-th for 3 ms or more, else for 50 us or so; so many mutexes take turns. Writes one line
// of JSON and ends.
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { MOST = 256 };

static pthread_mutex_t *batons;
static atomic_int tids[MOST], asking[MOST], had;
static int go[2], rounds, long_every, locks, threads, pause_us;
static uint64_t waited_at_least;

static uint64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static pthread_mutex_t *baton(int round, int thread)
{
    return &batons[(round * threads + thread) % locks];
}

static void *waiter(void *which)
{
    int own = (int)(intptr_t)which;
    atomic_store(&tids[own], (int)syscall(SYS_gettid));
    for (int round = 1; round <= rounds; round++) {
        char byte;
        // A pipe is no lock.
        if (read(go[0], &byte, 1) != 1)
            exit(3);
        atomic_store(&asking[own], round);
        pthread_mutex_lock(baton(round, own));
        pthread_mutex_unlock(baton(round, own));
        atomic_fetch_add(&had, 1);
    }
    return which;
}

// Whether a thread that asks sleeps: the only place where it does is the mutex.
static int asleep(int stat)
{
    char line[512];
    ssize_t length = pread(stat, line, sizeof line - 1, 0);
    if (length <= 0)
        exit(4);
    line[length] = 0;
    char *state = strrchr(line, ')');
    return state && state[2] == 'S';
}

int main(int argc, char **argv)
{
    if (argc != 6)
        return 2;
    rounds = atoi(argv[1]);
    long_every = atoi(argv[2]);
    locks = atoi(argv[3]);
    threads = atoi(argv[4]);
    pause_us = atoi(argv[5]);
    batons = calloc((size_t)locks, sizeof *batons);
    if (threads > MOST || threads > locks || !batons || pipe(go))
        return 2;
    pthread_t ids[MOST];
    int stats[MOST], longer = 0;
    for (int i = 0; i < threads; i++) {
        pthread_create(&ids[i], 0, waiter, (void *)(intptr_t)i);
        while (!atomic_load(&tids[i]))
            sched_yield();
        char path[64];
        snprintf(path, sizeof path, "/proc/self/task/%d/stat", atomic_load(&tids[i]));
        stats[i] = open(path, O_RDONLY);
    }
    char bytes[MOST] = {0};
    for (int round = 1; round <= rounds; round++) {
        usleep((useconds_t)pause_us);
        for (int i = 0; i < threads; i++)
            pthread_mutex_lock(baton(round, i));
        if (write(go[1], bytes, (size_t)threads) != threads)
            return 5;
        for (int i = 0; i < threads; i++)
            while (atomic_load(&asking[i]) != round || !asleep(stats[i]))
                sched_yield();
        int is_long = round % long_every == 0;
        uint64_t begun = now();
        while (now() - begun < (is_long ? 3000000u : 50000u))
            ;
        longer += is_long * threads;
        waited_at_least += (now() - begun) * (uint64_t)threads;
        for (int i = 0; i < threads; i++)
            pthread_mutex_unlock(baton(round, i));
        while (atomic_load(&had) != round * threads)
            sched_yield();
    }
    for (int i = 0; i < threads; i++)
        pthread_join(ids[i], 0);
    printf("{\"pid\":%d,\"waits\":%d,\"long\":%d,\"waited_at_least\":%llu}\n", getpid(),
           rounds * threads, longer, (unsigned long long)waited_at_least);
    return 0;
}
