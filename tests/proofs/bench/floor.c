/* floor.c - attach pods to OVN at the least possible cost on this machine: no agent, no observation, no recovery.
 *
 *   floor add {NETNS HOST_LINK POD_LINK MAC ADDRESS/LENGTH GATEWAY MTU IFACE_ID}...
 *   floor del HOST_LINK...
 *
 * ADD writes one OVSDB transaction for all, sends one rtnetlink batch for all pairs and one for each pod's end, and waits
 * until a monitor shows `ovn-installed` for all. The rows come before the links, since that causes fewer reconfigurations of
 * ovs-vswitchd. DEL is one transaction, and one message or one group of links. The result is the same network that ovnlet
 * makes for a pod with one IPv4 address. For each pod the time of its end is printed, in seconds of CLOCK_MONOTONIC.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/ethtool.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>
#include <linux/veth.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { FACTS = 8, MOST = 512 }; /* words for each pod; pods */
enum { NETNS, HOST, POD, MAC, ADDRESS, GATEWAY, MTU, IFACE_ID };

static char batch[MOST * 512];
static size_t used;
static unsigned messages;
static struct nlmsghdr *last;

static void fail(const char *what) {
    fprintf(stderr, "floor: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void print_time(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    printf("%lld.%09ld\n", (long long)at.tv_sec, at.tv_nsec);
}

/* ---- rtnetlink ---- */

static void *put(const void *bytes, size_t size) {
    char *at = batch + used;
    used += (size + 3) & ~(size_t)3;
    return memcpy(at, bytes, size);
}

static struct rtattr *attribute(unsigned short kind, const void *bytes, size_t size) {
    struct rtattr head = {(unsigned short)(sizeof head + size), kind}, *at = put(&head, sizeof head);
    if (size)
        put(bytes, size);
    return at;
}

static void close_attribute(struct rtattr *at) { at->rta_len = (unsigned short)(batch + used - (char *)at); }

static struct nlmsghdr *message(unsigned short kind, unsigned short flags, const void *body, size_t size) {
    struct nlmsghdr head = {0, kind, NLM_F_REQUEST | flags, ++messages, 0};
    last = put(&head, sizeof head);
    return put(body, size), last;
}

static void close_message(struct nlmsghdr *at) { at->nlmsg_len = (unsigned)(batch + used - (char *)at); }

static struct nlmsghdr *link_message(unsigned short kind, unsigned short flags, const char *name, unsigned up) {
    struct ifinfomsg link = {.ifi_flags = up, .ifi_change = up};
    struct nlmsghdr *at = message(kind, flags, &link, sizeof link);
    return attribute(IFLA_IFNAME, name, strlen(name) + 1), at;
}

static void make_pair(const char *host, const char *pod, const unsigned char *mac, unsigned mtu, int netns) {
    struct ifinfomsg blank = {0};
    unsigned char none = 1;
    struct nlmsghdr *make = link_message(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, host, 0);
    attribute(IFLA_MTU, &mtu, 4);
    struct rtattr *info = attribute(IFLA_LINKINFO, NULL, 0);
    attribute(IFLA_INFO_KIND, "veth", 5);
    struct rtattr *data = attribute(IFLA_INFO_DATA, NULL, 0), *peer = attribute(VETH_INFO_PEER, &blank, sizeof blank);
    attribute(IFLA_IFNAME, pod, strlen(pod) + 1), attribute(IFLA_ADDRESS, mac, 6), attribute(IFLA_MTU, &mtu, 4);
    attribute(IFLA_NET_NS_FD, &netns, 4);
    close_attribute(peer), close_attribute(data), close_attribute(info), close_message(make);
    struct nlmsghdr *set = link_message(RTM_SETLINK, 0, host, 0); /* no IPv6 link-local address: fewer notifications */
    struct rtattr *spec = attribute(IFLA_AF_SPEC, NULL, 0), *family = attribute(AF_INET6, NULL, 0);
    attribute(IFLA_INET6_ADDR_GEN_MODE, &none, 1), close_attribute(family), close_attribute(spec), close_message(set);
    close_message(link_message(RTM_SETLINK, 0, host, IFF_UP));
}

static void give_address(unsigned index, in_addr_t ip, unsigned char length, in_addr_t gateway) {
    struct ifaddrmsg body = {AF_INET, length, 0, 0, index};
    struct nlmsghdr *add = message(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, &body, sizeof body);
    attribute(IFA_LOCAL, &ip, 4), attribute(IFA_ADDRESS, &ip, 4);
    close_message(add);
    struct rtmsg route = {AF_INET, 0, 0, 0, RT_TABLE_MAIN, 157, RT_SCOPE_UNIVERSE, RTN_UNICAST, 0};
    add = message(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, &route, sizeof route);
    attribute(RTA_GATEWAY, &gateway, 4), attribute(RTA_PREFSRC, &ip, 4), attribute(RTA_OIF, &index, 4);
    close_message(add);
}

/* The kernel answers each message that fails, and the last one always. */
static void send_batch(void) {
    char answer[8192];
    int fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
    last->nlmsg_flags |= NLM_F_ACK;
    if (fd < 0 || send(fd, batch, used, 0) < 0)
        fail("netlink send");
    for (unsigned answered = 0; answered != messages;) {
        int left = (int)recv(fd, answer, sizeof answer, 0);
        if (left < 0)
            fail("netlink receive");
        for (struct nlmsghdr *at = (void *)answer; NLMSG_OK(at, (unsigned)left); at = NLMSG_NEXT(at, left))
            if (answered = at->nlmsg_seq, (errno = -((struct nlmsgerr *)NLMSG_DATA(at))->error))
                fail("netlink answer");
    }
    used = 0;
}

/* ---- OVSDB ---- */

static int ovsdb(void) {
    struct sockaddr_un at = {AF_UNIX, "/run/openvswitch/db.sock"};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&at, sizeof at))
        fail(at.sun_path);
    return fd;
}

static char heard[1 << 20];
static size_t size;

static void receive(int fd) {
    ssize_t got = recv(fd, heard + size, sizeof heard - 1 - size, 0);
    if (got <= 0)
        fail("ovsdb-server");
    heard[size += (size_t)got] = 0;
    if (strstr(heard + size - got, "\"details\""))
        fail(heard);
}

/* Whether all that was received is whole messages. */
static int whole(void) {
    int depth = 0;
    for (const char *at = heard; *at; at++)
        depth += (*at == '{') - (*at == '}');
    return depth == 0;
}

static void await(int fd, const char *answer) {
    do
        receive(fd);
    while (!strstr(heard, answer) || !whole());
}

/* Print the time of each sign when it is received. */
static void await_signs(int fd, const char *sign, size_t count) {
    for (char *from = heard, *at; count > 0;)
        if ((at = strstr(from, sign)))
            from = at + 1, count--, print_time();
        else
            receive(fd);
}

/* Send an open_memstream. */
static void send_text(int fd, FILE *out, char **text) {
    fclose(out);
    for (size_t left = strlen(*text), done = 0; left > 0; left -= done, *text += done)
        if ((ssize_t)(done = (size_t)send(fd, *text, left, MSG_NOSIGNAL)) < 0)
            fail("ovsdb-server");
}

/* ---- pods ---- */

static void insert_rows(FILE *out, char *pod[][FACTS], size_t count) {
    fputs("{\"method\":\"monitor_cond\",\"id\":1,\"params\":[\"Open_vSwitch\",0,{\"Interface\":[{\"columns\":"
          "[\"external_ids\"],\"where\":[", out);
    for (size_t at = 0; at < count; at++)
        fprintf(out, "%s[\"name\",\"==\",\"%s\"]", at ? "," : "", pod[at][HOST]);
    fputs("]}]}]}{\"method\":\"transact\",\"id\":2,\"params\":[\"Open_vSwitch\"", out);
    for (size_t at = 0; at < count; at++)
        fprintf(out,
            ",{\"op\":\"insert\",\"table\":\"Interface\",\"uuid-name\":\"i%zu\",\"row\":{\"name\":\"%s\",\"external_ids\":"
            "[\"map\",[[\"iface-id\",\"%s\"]]]}},"
            "{\"op\":\"insert\",\"table\":\"Port\",\"uuid-name\":\"p%zu\",\"row\":{\"name\":\"%s\",\"interfaces\":"
            "[\"named-uuid\",\"i%zu\"]}}", at, pod[at][HOST], pod[at][IFACE_ID], at, pod[at][HOST], at);
    fputs(",{\"op\":\"mutate\",\"table\":\"Bridge\",\"where\":[[\"name\",\"==\",\"br-int\"]],"
          "\"mutations\":[[\"ports\",\"insert\",[\"set\",[", out);
    for (size_t at = 0; at < count; at++)
        fprintf(out, "%s[\"named-uuid\",\"p%zu\"]", at ? "," : "", at);
    fputs("]]]]}]}", out);
}

static void set_up_inside(char **fact, int netns) {
    char *slash = strchr(fact[ADDRESS], '/');
    struct ethtool_value offload = {ETHTOOL_STXCSUM, 0};
    struct ifreq request = {.ifr_data = (void *)&offload};
    *slash = 0;
    if (setns(netns, CLONE_NEWNET))
        fail("setns");
    strncpy(request.ifr_name, fact[POD], IFNAMSIZ - 1);
    if (ioctl(socket(AF_INET, SOCK_DGRAM, 0), SIOCETHTOOL, &request))
        fail("ethtool");
    close_message(link_message(RTM_SETLINK, 0, fact[POD], IFF_UP));
    give_address(if_nametoindex(fact[POD]), inet_addr(fact[ADDRESS]), (unsigned char)atoi(slash + 1),
        inet_addr(fact[GATEWAY]));
    send_batch();
}

static void add(char *pod[][FACTS], size_t count) {
    static int netns[MOST];
    char *text;
    size_t length;
    int db = ovsdb();
    FILE *out = open_memstream(&text, &length);
    insert_rows(out, pod, count);
    send_text(db, out, &text);
    for (size_t at = 0; at < count; at++) {
        unsigned char mac[6];
        for (int byte = 0; byte < 6; byte++)
            mac[byte] = (unsigned char)strtol(pod[at][MAC] + 3 * byte, NULL, 16);
        if ((netns[at] = open(pod[at][NETNS], O_RDONLY)) < 0)
            fail(pod[at][NETNS]);
        make_pair(pod[at][HOST], pod[at][POD], mac, (unsigned)atoi(pod[at][MTU]), netns[at]);
    }
    await(db, "\"id\":2");
    send_batch();
    for (size_t at = 0; at < count; at++)
        set_up_inside(pod[at], netns[at]);
    await_signs(db, "[\"ovn-installed\",\"true\"]", count);
}

static void delete_rows(int db, char **host, size_t count) {
    char *text, *uuid = heard;
    size_t length;
    FILE *out = open_memstream(&text, &length);
    fputs("{\"method\":\"transact\",\"id\":1,\"params\":[\"Open_vSwitch\"", out);
    for (size_t at = 0; at < count; at++)
        fprintf(out, ",{\"op\":\"select\",\"table\":\"Port\",\"where\":[[\"name\",\"==\",\"%s\"]],"
                     "\"columns\":[\"_uuid\"]}", host[at]);
    fputs("]}", out);
    send_text(db, out, &text);
    await(db, "\"id\":1");
    if (!strstr(heard, "[\"uuid\",\""))
        return;
    out = open_memstream(&text, &length);
    fputs("{\"method\":\"transact\",\"id\":2,\"params\":[\"Open_vSwitch\",{\"op\":\"mutate\",\"table\":\"Bridge\","
          "\"where\":[[\"name\",\"==\",\"br-int\"]],\"mutations\":[[\"ports\",\"delete\",[\"set\",[", out);
    for (const char *comma = ""; (uuid = strstr(uuid, "[\"uuid\",\"")); uuid++, comma = ",")
        fprintf(out, "%s%.47s", comma, uuid);
    fputs("]]]]}]}", out);
    send_text(db, out, &text);
    await(db, "\"id\":2");
}

/* Links that are deleted one by one each wait for RCU; those of one group wait together. */
static void delete_links(char **host, size_t count) {
    unsigned group = 1U << 30 | (unsigned)getpid();
    struct ifinfomsg any = {0};
    for (size_t at = 0; count > 1 && at < count; at++) {
        struct nlmsghdr *join = link_message(RTM_SETLINK, 0, host[at], 0);
        attribute(IFLA_GROUP, &group, 4), close_message(join);
    }
    struct nlmsghdr *remove = count > 1 ? message(RTM_DELLINK, 0, &any, sizeof any)
                                        : link_message(RTM_DELLINK, 0, host[0], 0);
    if (count > 1)
        attribute(IFLA_GROUP, &group, 4);
    close_message(remove);
    send_batch();
}

int main(int count, char **word) {
    int many = count - 2;
    if (many >= FACTS && many % FACTS == 0 && many / FACTS <= MOST && !strcmp(word[1], "add"))
        return add((void *)(word + 2), (size_t)(many / FACTS)), 0;
    if (many < 1 || many > MOST || strcmp(word[1], "del"))
        return fprintf(stderr, "usage: see the head of floor.c\n"), 2;
    delete_rows(ovsdb(), word + 2, (size_t)many);
    delete_links(word + 2, (size_t)many);
    for (; many > 0; many--)
        print_time();
    return 0;
}
