/* route.c - what becomes of the default route of this network namespace, by raw rtnetlink.
 *
 *   route measure COUNT MS   delete it COUNT times, every MS milliseconds; print how many us each took to come back
 *   route restore            put back each that is deleted: the least that a repair can cost on this machine
 *   route fight              delete each that comes: somebody who undoes a repair at once
 *
 * `measure` gives up after 20 s without the route, and prints -1.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/rtnetlink.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <signal.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { SIZE = 65536, LOST_MS = 20000 };

static int events, requests;
static unsigned char route[2048]; /* the last default route that was seen, as a request's message */

static void fail(const char *what) {
    fprintf(stderr, "route: %s: %s\n", what, strerror(errno));
    exit(1);
}

static int open_socket(unsigned groups) {
    struct sockaddr_nl at = {.nl_family = AF_NETLINK, .nl_groups = groups};
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    if (fd < 0 || bind(fd, (void *)&at, sizeof at) < 0)
        fail("socket");
    return fd;
}

static long long now_us(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return at.tv_sec * 1000000LL + at.tv_nsec / 1000;
}

static int is_default(const struct nlmsghdr *at) {
    const struct rtmsg *body = NLMSG_DATA(at);
    return body->rtm_family == AF_INET && body->rtm_dst_len == 0 && body->rtm_table == RT_TABLE_MAIN;
}

/* Send the known route as this kind of request. A route that is there, or gone, already is no failure. */
static void request(unsigned short kind, unsigned short flags) {
    struct nlmsghdr *message = (void *)route;
    unsigned char answer[SIZE];
    message->nlmsg_type = kind;
    message->nlmsg_flags = (unsigned short)(NLM_F_REQUEST | NLM_F_ACK | flags);
    message->nlmsg_pid = 0;
    if (send(requests, route, message->nlmsg_len, 0) < 0 || recv(requests, answer, sizeof answer, 0) < 0)
        fail("request");
}

static void keep(const struct nlmsghdr *at) {
    if (at->nlmsg_len > sizeof route)
        fail("a route of this size");
    memcpy(route, at, at->nlmsg_len);
    ((struct rtmsg *)NLMSG_DATA((struct nlmsghdr *)route))->rtm_flags = 0;
}

/* Wait for a default route's notification of this kind, and keep it; 0 after the time. */
static int await(unsigned short kind, int ms) {
    unsigned char text[SIZE];
    for (long long end = now_us() + ms * 1000LL; ms < 0 || now_us() < end;) {
        struct pollfd ready = {events, POLLIN, 0};
        if (poll(&ready, 1, ms < 0 ? -1 : (int)((end - now_us()) / 1000 + 1)) <= 0)
            continue;
        int left = (int)recv(events, text, sizeof text, 0);
        if (left < 0 && errno != ENOBUFS)
            fail("receive");
        for (struct nlmsghdr *at = (void *)text; left > 0 && NLMSG_OK(at, (unsigned)left); at = NLMSG_NEXT(at, left))
            if (at->nlmsg_type == kind && is_default(at))
                return keep(at), 1;
    }
    return 0;
}

/* Dump the routes until the default one is there. */
static void find(void) {
    struct { struct nlmsghdr head; struct rtmsg body; } ask = {
        {sizeof ask, RTM_GETROUTE, NLM_F_REQUEST | NLM_F_DUMP, 1, 0}, {.rtm_family = AF_INET}};
    unsigned char text[SIZE];
    int fd = open_socket(0), found = 0;
    if (send(fd, &ask, sizeof ask, 0) < 0)
        fail("dump");
    for (int done = 0; !done;) {
        int left = (int)recv(fd, text, sizeof text, 0);
        if (left < 0)
            fail("dump");
        for (struct nlmsghdr *at = (void *)text; NLMSG_OK(at, (unsigned)left); at = NLMSG_NEXT(at, left)) {
            done |= at->nlmsg_type == NLMSG_DONE;
            if (at->nlmsg_type == RTM_NEWROUTE && is_default(at))
                keep(at), found = 1;
        }
    }
    close(fd);
    errno = ENOENT;
    if (!found)
        fail("default route");
}

static void measure(int count, int ms) {
    for (; count > 0; count--) {
        struct timespec pause = {ms / 1000, ms % 1000 * 1000000L};
        unsigned char rest[SIZE];
        nanosleep(&pause, NULL);
        while (recv(events, rest, sizeof rest, MSG_DONTWAIT) > 0) {
        }
        find();
        long long began = now_us();
        request(RTM_DELROUTE, 0);
        printf("%lld\n", await(RTM_NEWROUTE, LOST_MS) ? now_us() - began : -1);
        fflush(stdout);
    }
}

int main(int argc, char **argv) {
    const char *what = argc > 1 ? argv[1] : "";
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    events = open_socket(RTMGRP_IPV4_ROUTE), requests = open_socket(0);
    if (!strcmp(what, "measure") && argc == 4)
        return measure(atoi(argv[2]), atoi(argv[3])), 0;
    find();
    if (!strcmp(what, "restore"))
        while (await(RTM_DELROUTE, -1))
            request(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL);
    if (!strcmp(what, "fight")) {
        request(RTM_DELROUTE, 0);
        while (await(RTM_NEWROUTE, -1))
            request(RTM_DELROUTE, 0);
    }
    fprintf(stderr, "route measure COUNT MS | restore | fight\n");
    return 2;
}
