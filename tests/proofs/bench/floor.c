/* floor.c - attach a pod to OVN at the least possible cost on this machine: no agent, no observation, no recovery.
 *
 *   floor add NETNS HOST_LINK POD_LINK MAC ADDRESS/LENGTH GATEWAY MTU IFACE_ID
 *   floor del HOST_LINK
 *
 * ADD writes one OVSDB transaction, sends one rtnetlink batch for each end of the pair, and waits until a monitor shows
 * `ovn-installed`. The port's row comes before its link, since that causes fewer reconfigurations of ovs-vswitchd. DEL is
 * one transaction and one message. The result is the same network that ovnlet makes for a pod with one IPv4 address.
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
#include <unistd.h>

static char batch[8192];
static size_t used, messages;

static void fail(const char *what) {
    fprintf(stderr, "floor: %s: %s\n", what, strerror(errno));
    exit(1);
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
    struct nlmsghdr head = {0, kind, NLM_F_REQUEST | NLM_F_ACK | flags, (unsigned)++messages, 0};
    struct nlmsghdr *at = put(&head, sizeof head);
    return put(body, size), at;
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

static void send_batch(void) {
    char answer[8192];
    int fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
    if (fd < 0 || send(fd, batch, used, 0) < 0)
        fail("netlink send");
    while (messages > 0) {
        int left = (int)recv(fd, answer, sizeof answer, 0);
        if (left < 0)
            fail("netlink receive");
        for (struct nlmsghdr *at = (void *)answer; NLMSG_OK(at, (unsigned)left); at = NLMSG_NEXT(at, left), messages--)
            if (at->nlmsg_type == NLMSG_ERROR && (errno = -((struct nlmsgerr *)NLMSG_DATA(at))->error))
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

/* Receive until the sign arrives, and return everything received. The server sends nothing unsolicited. */
static char *await(int fd, const char *sign) {
    static char text[1 << 16];
    static size_t size;
    while (!memmem(text, size, sign, strlen(sign))) {
        ssize_t got = recv(fd, text + size, sizeof text - 1 - size, 0);
        if (got <= 0)
            fail("ovsdb-server");
        size += (size_t)got;
    }
    if (memmem(text, size, "\"details\"", 9))
        fail(text);
    return text;
}

static void send_text(int fd, const char *text) {
    if (send(fd, text, strlen(text), MSG_NOSIGNAL) < 0)
        fail("ovsdb-server");
}

static void add(char **word) {
    char *host = word[1], *pod = word[2], *slash = strchr(word[4], '/'), text[2048];
    unsigned char mac[6];
    for (int byte = 0; byte < 6; byte++)
        mac[byte] = (unsigned char)strtol(word[3] + 3 * byte, NULL, 16);
    *slash = 0;
    int db = ovsdb(), netns = open(word[0], O_RDONLY);
    snprintf(text, sizeof text,
        "{\"method\":\"monitor_cond\",\"id\":1,\"params\":[\"Open_vSwitch\",0,{\"Interface\":[{\"columns\":"
        "[\"external_ids\"],\"where\":[[\"name\",\"==\",\"%s\"]]}]}]}"
        "{\"method\":\"transact\",\"id\":2,\"params\":[\"Open_vSwitch\","
        "{\"op\":\"insert\",\"table\":\"Interface\",\"uuid-name\":\"i\",\"row\":{\"name\":\"%s\",\"external_ids\":"
        "[\"map\",[[\"iface-id\",\"%s\"]]]}},"
        "{\"op\":\"insert\",\"table\":\"Port\",\"uuid-name\":\"p\",\"row\":{\"name\":\"%s\",\"interfaces\":"
        "[\"named-uuid\",\"i\"]}},{\"op\":\"mutate\",\"table\":\"Bridge\",\"where\":[[\"name\",\"==\",\"br-int\"]],"
        "\"mutations\":[[\"ports\",\"insert\",[\"named-uuid\",\"p\"]]]}]}", host, host, word[7], host);
    send_text(db, text);
    await(db, "\"id\":2");
    make_pair(host, pod, mac, (unsigned)atoi(word[6]), netns);
    send_batch();
    if (setns(netns, CLONE_NEWNET))
        fail("setns");
    struct ethtool_value offload = {ETHTOOL_STXCSUM, 0};
    struct ifreq request = {0};
    strncpy(request.ifr_name, pod, IFNAMSIZ - 1), request.ifr_data = (void *)&offload;
    if (ioctl(socket(AF_INET, SOCK_DGRAM, 0), SIOCETHTOOL, &request))
        fail("ethtool");
    close_message(link_message(RTM_SETLINK, 0, pod, IFF_UP));
    give_address(if_nametoindex(pod), inet_addr(word[4]), (unsigned char)atoi(slash + 1), inet_addr(word[5]));
    send_batch();
    await(db, "[\"ovn-installed\",\"true\"]");
}

static void del(const char *host) {
    char text[1024];
    int db = ovsdb();
    snprintf(text, sizeof text,
        "{\"method\":\"transact\",\"id\":1,\"params\":[\"Open_vSwitch\",{\"op\":\"select\",\"table\":\"Port\","
        "\"where\":[[\"name\",\"==\",\"%s\"]],\"columns\":[\"_uuid\"]}]}", host);
    send_text(db, text);
    char *uuid = strstr(await(db, "\"id\":1"), "[\"uuid\",\"");
    if (uuid) {
        snprintf(text, sizeof text,
            "{\"method\":\"transact\",\"id\":2,\"params\":[\"Open_vSwitch\",{\"op\":\"mutate\",\"table\":\"Bridge\","
            "\"where\":[[\"name\",\"==\",\"br-int\"]],\"mutations\":[[\"ports\",\"delete\",%.47s]]}]}", uuid);
        send_text(db, text);
        await(db, "\"id\":2");
    }
    close_message(link_message(RTM_DELLINK, 0, host, 0));
    send_batch();
}

int main(int count, char **word) {
    if (count == 10 && !strcmp(word[1], "add"))
        return add(word + 2), 0;
    if (count == 3 && !strcmp(word[1], "del"))
        return del(word[2]), 0;
    return fprintf(stderr, "usage: see the head of floor.c\n"), 2;
}
