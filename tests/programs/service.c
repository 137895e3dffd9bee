/* A service that does what it is told, a line on standard input each, and says that it did:
 *
 *   contend      a thread has a mutex for 60 ms, and another waits for it
 *   fork         a child does that, and stays for a while
 *   listen PORT  listens at that TCP port of the loopback; 0 for any
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

static void *wait_for_it(void *nothing) {
    pthread_mutex_lock(&mutex);
    pthread_mutex_unlock(&mutex);
    return nothing;
}

static void contend(void) {
    pthread_t waiter;
    pthread_mutex_lock(&mutex);
    if (pthread_create(&waiter, NULL, wait_for_it, NULL)) exit(1);
    struct timespec held = {0, 60 * 1000 * 1000};
    nanosleep(&held, NULL);
    pthread_mutex_unlock(&mutex);
    pthread_join(waiter, NULL);
}

static int in_a_child(void) {
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        contend();
        sleep(60);
        _exit(0);
    }
    return child;
}

static int listens(int port) {
    int server = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port)};
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof at;
    int one = 1;
    setsockopt(server, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(server, (struct sockaddr *)&at, size) || listen(server, 1)) exit(2);
    getsockname(server, (struct sockaddr *)&at, &size);
    return ntohs(at.sin_port);
}

int main(void) {
    char line[64];
    while (fgets(line, sizeof line, stdin)) {
        if (!strcmp(line, "contend\n")) {
            contend();
            printf("{\"pid\":%d}\n", getpid());
        } else if (!strcmp(line, "fork\n")) {
            printf("{\"pid\":%d}\n", in_a_child());
        } else if (!strncmp(line, "listen ", 7)) {
            printf("{\"port\":%d}\n", listens(atoi(line + 7)));
        }
        fflush(stdout);
    }
    return 0;
}
