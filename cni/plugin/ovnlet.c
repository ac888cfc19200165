/* ovnlet.c - the executable that a container runtime starts as CNI plugin "ovnlet" or "kube-ovn", and as "loopback"
 * where the node has no plugin of that name.
 *
 * It sends its CNI_* environment and its stdin to the node's agent, in one HTTP request over a unix
 * socket, and prints the agent's answer. The agent decides what a request means. Only what must
 * work without an agent may go in here: VERSION, waiting while the agent is being replaced, the
 * file that a DEL leaves for an agent that does not run, and one JSON error object on stdout for
 * every failure. It uses no heap and no locale, and depends on nothing at run time.
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#ifndef RELEASE
#define RELEASE "unknown"
#endif
#define DEFAULT_SOCKET "/run/ovnlet/cni.sock"
#define NEWEST "\"1.1.0\""
#define VERSIONS "\"0.3.1\",\"0.4.0\",\"1.0.0\"," NEWEST

enum { MAX_STDIN = 1 << 20, MAX_REQUEST = 3 << 20, MAX_ANSWER = 2 << 20, MAX_DEPTH = 100, MAX_NOTES = 4096 };
enum { RETRY_EVERY_MS = 50 };
/* Error codes of the CNI specification. 999 is what Go's CNI library calls an internal error. */
enum { INCOMPATIBLE_VERSION = 1, INVALID_ENVIRONMENT = 4, IO_FAILURE = 5, DECODE = 6, INVALID_CONFIG = 7,
       INVALID_NETNS = 8, TRY_AGAIN = 11, UNAVAILABLE = 50, INTERNAL = 999 };

/* For each verb: how long it tries to connect to an agent, how long it then waits for the answer,
 * and the error code if there is none. containerd holds a lock during STATUS, so STATUS tries only
 * once. A DEL that finds no agent leaves a file for it and succeeds. */
struct verb { const char *name; int seek_ms, answer_ms, code; };
static const struct verb VERBS[] = {
    {"ADD", 20000, 230000, TRY_AGAIN}, {"DEL", 2000, 50000, TRY_AGAIN}, {"CHECK", 20000, 230000, TRY_AGAIN},
    {"GC", 20000, 230000, TRY_AGAIN},  {"STATUS", 50, 2000, UNAVAILABLE},
};

struct text { const char *at; size_t size; };
struct buffer { char *at; size_t size, room; bool full; };

static char stdin_bytes[MAX_STDIN + 1], request_bytes[MAX_REQUEST], answer_bytes[MAX_ANSWER];
static struct text config_version = {NEWEST, sizeof NEWEST - 1};

/* ---- JSON out ---- */

/* Append the bytes, or set `full` and append none of them if they do not fit. */
static void append(struct buffer *out, const char *bytes, size_t size) {
    if (size > out->room - out->size) {
        out->full = true;
        return;
    }
    memcpy(out->at + out->size, bytes, size);
    out->size += size;
}

static void append_text(struct buffer *out, const char *text) { append(out, text, strlen(text)); }

/* Return the length of the UTF-8 sequence at `at`, or 0 if there is none. RFC 3629 allows neither
 * surrogates nor overlong forms. */
static size_t utf8_length(const unsigned char *at, size_t left) {
    unsigned char first = at[0], low = 0x80, high = 0xbf;
    if (first < 0x80) return 1;
    size_t size = first >= 0xc2 && first <= 0xdf ? 2 : (first & 0xf0) == 0xe0 ? 3 : first >= 0xf0 && first <= 0xf4 ? 4 : 0;
    if (size == 0 || size > left) return 0;
    if (first == 0xe0) low = 0xa0;
    if (first == 0xed) high = 0x9f;
    if (first == 0xf0) low = 0x90;
    if (first == 0xf4) high = 0x8f;
    if (at[1] < low || at[1] > high) return 0;
    for (size_t i = 2; i < size; i++)
        if ((at[i] & 0xc0) != 0x80) return 0;
    return size;
}

/* Append a JSON string. Replace bytes that are not UTF-8 by U+FFFD, and return false if there are
 * any. */
static bool append_string(struct buffer *out, struct text text) {
    bool clean = true;
    append(out, "\"", 1);
    for (size_t i = 0, size; i < text.size; i += size) {
        const unsigned char *at = (const unsigned char *)text.at + i;
        char escape[8];
        size = utf8_length(at, text.size - i);
        if (size == 0) {
            clean = false;
            size = 1;
            append(out, "\\ufffd", 6);
        } else if (*at == '"' || *at == '\\') {
            append(out, (char[]){'\\', (char)*at}, 2);
        } else if (*at < 0x20 || *at == 0x7f) {
            append(out, escape, (size_t)snprintf(escape, sizeof escape, "\\u%04x", *at));
        } else {
            append(out, (const char *)at, size);
        }
    }
    append(out, "\"", 1);
    return clean;
}

/* Write all of the text to stdout. Return false if a write fails. */
static bool print(struct text text) {
    for (ssize_t done; text.size > 0; text.at += done, text.size -= (size_t)done)
        if ((done = write(STDOUT_FILENO, text.at, text.size)) <= 0) return false;
    return true;
}

static struct text text_of(const char *string) { return (struct text){string, strlen(string)}; }

/* Print the specification's error object on stdout and exit with code 1. Every failure that
 * the plugin finds itself goes this way. */
__attribute__((format(printf, 3, 4))) static _Noreturn void fail(int code, const char *details, const char *format, ...) {
    static char bytes[16384], message[2048], number[16];
    struct buffer out = {bytes, 0, sizeof bytes, false};
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    append_text(&out, "{\"cniVersion\":");
    append(&out, config_version.at, config_version.size);
    append(&out, number, (size_t)snprintf(number, sizeof number, ",\"code\":%d", code));
    append_text(&out, ",\"msg\":");
    append_string(&out, text_of(message));
    append_text(&out, ",\"details\":");
    append_string(&out, text_of(details));
    append_text(&out, "}\n");
    print((struct text){bytes, out.size});
    exit(1);
}

/* ---- JSON in: a strict reader of RFC 8259 that keeps five top-level values of an object ---- */

struct reader { const char *at, *end; };
struct config { struct text version, socket, type, ipam, previous; };

static bool take(struct reader *in, char wanted) {
    if (in->at == in->end || *in->at != wanted) return false;
    in->at++;
    return true;
}

static void skip_blanks(struct reader *in) {
    while (take(in, ' ') || take(in, '\n') || take(in, '\t') || take(in, '\r')) {}
}

static bool read_digits(struct reader *in) {
    const char *start = in->at;
    while (in->at < in->end && *in->at >= '0' && *in->at <= '9') in->at++;
    return in->at > start;
}

static bool read_number(struct reader *in) {
    take(in, '-');
    if (!take(in, '0') && !read_digits(in)) return false;
    if (take(in, '.') && !read_digits(in)) return false;
    if (!take(in, 'e') && !take(in, 'E')) return true;
    if (!take(in, '+')) take(in, '-');
    return read_digits(in);
}

static bool read_word(struct reader *in, const char *word) {
    while (*word && take(in, *word)) word++;
    return *word == '\0';
}

static bool read_escape(struct reader *in) {
    if (in->at == in->end) return false;
    char kind = *in->at++;
    if (kind != 'u') return kind != '\0' && strchr("\"\\/bfnrt", kind) != NULL;
    for (int i = 0; i < 4; i++, in->at++)
        if (in->at == in->end || *in->at == '\0' || !strchr("0123456789abcdefABCDEF", *in->at)) return false;
    return true;
}

static bool read_string(struct reader *in) {
    if (!take(in, '"')) return false;
    while (in->at < in->end && (unsigned char)*in->at >= 0x20) {
        char byte = *in->at++;
        if (byte == '"') return true;
        if (byte == '\\' && !read_escape(in)) return false;
    }
    return false;
}

static bool read_value(struct reader *in, int depth, struct config *found);

static bool is(struct text text, const char *wanted) {
    return text.size == strlen(wanted) && memcmp(text.at, wanted, text.size) == 0;
}

/* Read one member of an object. Keep its value in `found` if `found` is not NULL and wants it. */
static bool read_member(struct reader *in, int depth, struct config *found) {
    struct text key = {in->at, 0}, value;
    if (!read_string(in)) return false;
    key.size = (size_t)(in->at - key.at);
    skip_blanks(in);
    if (!take(in, ':')) return false;
    skip_blanks(in);
    value.at = in->at;
    if (!read_value(in, depth, NULL)) return false;
    value.size = (size_t)(in->at - value.at);
    if (found && is(key, "\"cniVersion\"")) found->version = value;
    if (found && is(key, "\"server_socket\"")) found->socket = value;
    if (found && is(key, "\"type\"")) found->type = value;
    if (found && is(key, "\"ipam\"")) found->ipam = value;
    if (found && is(key, "\"prevResult\"")) found->previous = value;
    return true;
}

/* Read the inside of an object or a list, up to and including its closing bracket. */
static bool read_items(struct reader *in, char close, int depth, struct config *found) {
    skip_blanks(in);
    if (take(in, close)) return true;
    do {
        skip_blanks(in);
        if (!(close == '}' ? read_member(in, depth, found) : read_value(in, depth, NULL))) return false;
        skip_blanks(in);
    } while (take(in, ','));
    return take(in, close);
}

static bool read_value(struct reader *in, int depth, struct config *found) {
    if (in->at == in->end || depth == MAX_DEPTH) return false;
    switch (*in->at) {
    case '{': in->at++; return read_items(in, '}', depth + 1, found);
    case '[': in->at++; return read_items(in, ']', depth + 1, NULL);
    case '"': return read_string(in);
    case 't': return read_word(in, "true");
    case 'f': return read_word(in, "false");
    case 'n': return read_word(in, "null");
    default: return read_number(in);
    }
}

/* Return whether the text is one JSON object and nothing else but blanks. */
static bool read_object(struct text text, struct config *found) {
    struct reader in = {text.at, text.at + text.size};
    skip_blanks(&in);
    bool whole = in.at < in.end && *in.at == '{' && read_value(&in, 0, found);
    skip_blanks(&in);
    return whole && in.at == in.end;
}

/* Return whether a `type` is one that we answer to. Without one it is not another plugin's. */
static bool is_ours(struct text type) { return type.at == NULL || is(type, "\"ovnlet\"") || is(type, "\"kube-ovn\""); }

/* Return whether another plugin has the interface and delegates its addresses to us, by a section
 * `ipam`. That has the socket then. */
static bool take_ipam(struct config *config) {
    struct config ipam = {0};
    if (is_ours(config->type) || config->ipam.at == NULL || !read_object(config->ipam, &ipam)) return false;
    if (ipam.type.at == NULL || !is_ours(ipam.type)) return false;
    config->socket = ipam.socket;
    return true;
}

/* ---- the request ---- */

static struct text read_stdin(void) {
    struct text text = {stdin_bytes, 0};
    for (ssize_t got; text.size < sizeof stdin_bytes; text.size += (size_t)got) {
        got = read(STDIN_FILENO, stdin_bytes + text.size, sizeof stdin_bytes - text.size);
        if (got < 0) fail(IO_FAILURE, "", "cannot read the configuration from stdin: %s", strerror(errno));
        if (got == 0) return text;
    }
    fail(DECODE, "shorten it", "the configuration on stdin is larger than 1 MiB");
}

/* Return the path that `server_socket` names. `value` is the JSON text of its value, which must
 * need no unescaping; without one, the path is DEFAULT_SOCKET. Fail if the value cannot be used. */
static const char *socket_path(struct text value) {
    static char path[sizeof((struct sockaddr_un *)0)->sun_path];
    if (value.at == NULL) return DEFAULT_SOCKET;
    if (value.size < 3 || value.size - 2 >= sizeof path || value.at[0] != '"' || value.at[1] != '/' ||
        memchr(value.at, '\\', value.size))
        fail(INVALID_CONFIG, "give an absolute path of at most 107 bytes without escapes, such as \"" DEFAULT_SOCKET "\"",
             "server_socket in the network configuration is %.*s", (int)(value.size < 200 ? value.size : 200), value.at);
    memcpy(path, value.at + 1, value.size - 2);
    return path;
}

/* Return the HTTP request with the CNI_* variables and the configuration. Fail if they are not
 * UTF-8 or too large. */
static struct text build_request(struct text config) {
    static char head[160];
    struct buffer out = {request_bytes, sizeof head, sizeof request_bytes, false};
    append_text(&out, "{\"env\":{");
    for (char **entry = environ, *comma = ""; *entry; entry++) {
        const char *equals = strchr(*entry, '=');
        if (strncmp(*entry, "CNI_", 4) != 0 || equals == NULL) continue;
        append_text(&out, comma);
        bool clean = append_string(&out, (struct text){*entry, (size_t)(equals - *entry)});
        append(&out, ":", 1);
        if (!append_string(&out, text_of(equals + 1)) || !clean)
            fail(INVALID_ENVIRONMENT, "the runtime must pass plain text", "%.200s holds bytes that are not UTF-8", *entry);
        comma = ",";
    }
    append_text(&out, "},\"config\":");
    if (!append_string(&out, config))
        fail(DECODE, "the runtime must pass JSON in UTF-8", "the configuration on stdin holds bytes that are not UTF-8");
    append(&out, "}", 1);
    if (out.full) fail(INVALID_ENVIRONMENT, "shorten them", "the CNI_ variables and stdin are larger than 3 MiB together");
    /* The length of the body, which the head has in it, is known only now. The head goes directly
     * before the body, at the end of the space left for it. */
    size_t size = (size_t)snprintf(head, sizeof head, "POST /cni HTTP/1.1\r\nHost: ovnlet\r\nConnection: close\r\n"
                                   "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n", out.size - sizeof head);
    char *start = request_bytes + sizeof head - size;
    memcpy(start, head, size);
    return (struct text){start, out.size - sizeof head + size};
}

/* ---- the answer ---- */

enum progress { PARTIAL, WHOLE, BROKEN };
struct answer { int status; struct text body; };

/* Parse the bytes received so far: PARTIAL if more must come, BROKEN if they are no HTTP answer
 * with a Content-Length. */
static enum progress parse_answer(struct text bytes, struct answer *answer) {
    const char *head_end = memmem(bytes.at, bytes.size, "\r\n\r\n", 4);
    if (head_end == NULL) return bytes.size < 16384 ? PARTIAL : BROKEN;
    if (bytes.size < 12 || memcmp(bytes.at, "HTTP/1.1 ", 9) != 0) return BROKEN;
    answer->status = 0;
    for (const char *digit = bytes.at + 9; digit < bytes.at + 12; digit++) {
        if (*digit < '0' || *digit > '9') return BROKEN;
        answer->status = answer->status * 10 + (*digit - '0');
    }
    static const char LENGTH[] = "\r\ncontent-length:";
    for (const char *at = bytes.at; at < head_end; at++) {
        if ((size_t)(head_end - at) < sizeof LENGTH || strncasecmp(at, LENGTH, sizeof LENGTH - 1) != 0) continue;
        size_t size = 0;
        for (at += sizeof LENGTH - 1; *at == ' '; at++) {}
        for (; *at >= '0' && *at <= '9' && size < MAX_ANSWER; at++) size = size * 10 + (size_t)(*at - '0');
        if (*at != '\r' || size >= MAX_ANSWER) return BROKEN;
        answer->body = (struct text){head_end + 4, size};
        return bytes.size - (size_t)(head_end + 4 - bytes.at) < size ? PARTIAL : WHOLE;
    }
    return BROKEN;
}

/* ---- talking to the agent ---- */

/* ABSENT: no agent accepts a connection. LOST: it closed without an answer. TORN: it closed in the
 * middle of one, or sent no HTTP. LATE: no answer in time. REFUSED: connect failed for a reason
 * that waiting does not change. */
enum outcome { ANSWERED, ABSENT, LOST, TORN, LATE, REFUSED };

static int64_t now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Return a connected socket, or -1 with errno set. Wait at most `within_ms` for a full backlog. */
static int connect_agent(const char *path, int64_t within_ms) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct timeval limit = {within_ms / 1000, within_ms % 1000 * 1000 + 1};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    strncpy(address.sun_path, path, sizeof address.sun_path - 1);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0) return fd;
    int reason = errno;
    close(fd);
    errno = reason;
    return -1;
}

/* Send one request on a connection and read its answer until `until` (ms of the monotonic clock).
 * A failed send decides nothing: the agent may have answered before it closed, so read in any
 * case. */
static enum outcome converse(int fd, struct text request, int64_t until, struct answer *answer) {
    struct text got = {answer_bytes, 0};
    for (ssize_t sent; request.size > 0; request.at += sent, request.size -= (size_t)sent)
        if ((sent = send(fd, request.at, request.size, MSG_NOSIGNAL)) <= 0) break;
    for (;;) {
        struct pollfd ready = {fd, POLLIN, 0};
        int64_t left = until - now_ms();
        int readiness = left > 0 ? poll(&ready, 1, (int)left) : 0;
        if (readiness == 0) return LATE;
        ssize_t size = readiness < 0 ? -1 : recv(fd, answer_bytes + got.size, sizeof answer_bytes - 1 - got.size, MSG_DONTWAIT);
        if (size < 0 && (errno == EINTR || errno == EAGAIN)) continue; /* SIGSTOP and SIGCONT */
        if (size <= 0) return got.size == 0 ? LOST : TORN;
        got.size += (size_t)size;
        enum progress progress = parse_answer(got, answer);
        if (progress != PARTIAL) return progress == WHOLE ? ANSWERED : TORN;
    }
}

/* Send the request until an agent answers or the verb's time is over. Every verb may be sent
 * twice, so try again if there is no agent yet, or if it ended before it answered. `reason` gets
 * the errno of the last attempt. */
static enum outcome ask(const struct verb *verb, const char *path, struct text request, struct answer *answer, int *reason) {
    int64_t until = now_ms() + verb->answer_ms, patience = now_ms() + verb->seek_ms;
    for (;;) {
        enum outcome outcome = ABSENT;
        int fd = connect_agent(path, verb->seek_ms);
        *reason = fd < 0 ? errno : ECONNRESET;
        if (fd >= 0) {
            outcome = converse(fd, request, until, answer);
            close(fd);
            if (outcome != LOST) return outcome;
            if (verb->seek_ms >= 1000) patience = now_ms() + verb->seek_ms;
        } else if (*reason != ENOENT && *reason != ECONNREFUSED && *reason != EAGAIN && *reason != EINTR) {
            return REFUSED;
        }
        if (now_ms() + RETRY_EVERY_MS > patience || now_ms() > until) return outcome;
        nanosleep(&(struct timespec){0, RETRY_EVERY_MS * 1000000L}, NULL);
    }
}

/* ---- a DEL without an agent ---- */

static bool is_container_id(const char *id) {
    for (const char *at = id; *at; at++)
        if (!isalnum((unsigned char)*at) && (at == id || !strchr("_.-", *at))) return false;
    return *id != '\0' && strlen(id) <= 200;
}

static bool is_interface_name(const char *name) {
    for (const char *at = name; *at; at++)
        if ((unsigned char)*at <= ' ' || *at == '/' || *at == ':' || *at == 0x7f) return false;
    return *name != '\0' && strlen(name) <= 15 && strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

static int count_entries(int directory) {
    int count = 0, copy = dup(directory);
    DIR *listing = copy < 0 ? NULL : fdopendir(copy);
    if (listing == NULL) return MAX_NOTES;
    while (readdir(listing)) count++;
    closedir(listing);
    return count;
}

/* Write `<directory of the socket>/deleted/<container id>.<interface>`, whole or not at all: the
 * agent carries out the deletion later. Return false, with errno set, if it cannot be written. The
 * directory holds at most MAX_NOTES such files. */
static bool leave_note(const char *socket, const char *id, const char *ifname) {
    char path[PATH_MAX], name[256], draft[300], line[256];
    int size = (int)(strrchr(socket, '/') - socket);
    snprintf(path, sizeof path, "%.*s", size, socket);
    mkdir(path, 0700);
    snprintf(path, sizeof path, "%.*s/deleted", size, socket);
    mkdir(path, 0700);
    snprintf(name, sizeof name, "%s.%s", id, ifname);
    snprintf(draft, sizeof draft, ".%s.%d", name, (int)getpid());
    int length = snprintf(line, sizeof line, "%s %s\n", id, ifname);
    int directory = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (directory < 0) return false;
    if (count_entries(directory) >= MAX_NOTES + 2) return errno = EDQUOT, false;
    int fd = openat(directory, draft, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0) return false;
    if (write(fd, line, (size_t)length) == length && renameat(directory, draft, directory, name) == 0) return true;
    int reason = errno;
    unlinkat(directory, draft, 0);
    return errno = reason, false;
}

/* Leave a file for the deletion that no agent has answered. Fail if the variables name no
 * attachment, or if the file cannot be written. */
static void note_deletion(const char *socket) {
    const char *id = getenv("CNI_CONTAINERID"), *ifname = getenv("CNI_IFNAME");
    if (id == NULL || !is_container_id(id))
        fail(INVALID_ENVIRONMENT, "letters, digits and _.- only, a letter or digit first", "CNI_CONTAINERID is missing or no container ID");
    if (ifname == NULL || !is_interface_name(ifname))
        fail(INVALID_ENVIRONMENT, "1 to 15 bytes without blanks, / and :", "CNI_IFNAME is missing or no interface name");
    if (!leave_note(socket, id, ifname))
        fail(TRY_AGAIN, "start the ovnlet pod of this node; the runtime tries again",
             "the ovnlet agent is away, and the deletion cannot be noted down for it: %s", strerror(errno));
}

/* ---- */

static _Noreturn void no_answer(enum outcome outcome, const struct verb *verb, const char *path, int reason) {
    const char *why = outcome == LATE ? "no answer in time" : outcome == TORN ? "its answer broke off" : strerror(reason);
    fail(verb->code, "see that the ovnlet pod of this node runs and that server_socket in the network configuration names "
         "its socket; the runtime tries again", "the ovnlet agent does not answer on %s: %s", path, why);
}

static int say_about(void) {
    static const char ABOUT[] = "CNI plugin ovnlet v" RELEASE "\nCNI protocol versions supported: 0.3.1, 0.4.0, 1.0.0, 1.1.0\n";
    return write(STDERR_FILENO, ABOUT, sizeof ABOUT - 1) < 0;
}

/* Read the configuration from stdin into `config`, and return its text. An error is rendered in its
 * version if we support that. Fail if it is not a JSON object. */
static struct text read_config_text(struct config *config) {
    struct text input = read_stdin();
    if (!read_object(input, config))
        fail(DECODE, "the runtime passes a network configuration there", "the configuration on stdin is not a JSON object");
    if (config->version.size == sizeof NEWEST - 1 && memmem(VERSIONS, sizeof VERSIONS, config->version.at, config->version.size))
        config_version = config->version;
    return input;
}

/* ---- the plugin "loopback" ---- */

/* Enter the network namespace of CNI_NETNS. Return false where it is gone; fail where the variable
 * is empty or names our own namespace. */
static bool enter_netns(void) {
    const char *path = getenv("CNI_NETNS"), *override = getenv("CNI_NETNS_OVERRIDE");
    struct stat theirs, own;
    if (path == NULL || *path == '\0')
        fail(INVALID_ENVIRONMENT, "the runtime sets it", "required env variables [CNI_NETNS] missing");
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &theirs) != 0) return false;
    bool ours = stat("/proc/self/ns/net", &own) == 0 && own.st_dev == theirs.st_dev && own.st_ino == theirs.st_ino;
    if (ours && (override == NULL || (strcmp(override, "1") != 0 && strcasecmp(override, "true") != 0)))
        fail(INVALID_NETNS, "the runtime must name the pod's", "CNI_NETNS=%.200s is the plugin's own network namespace", path);
    bool entered = setns(fd, CLONE_NEWNET) == 0;
    int reason = errno;
    close(fd);
    return errno = reason, entered;
}

/* Change the flag IFF_UP of lo in the current namespace to `up`, or only read it where `up` is
 * negative. Return whether lo was up before; fail if that is not possible. */
static bool loopback_up(int up) {
    struct ifreq link = {.ifr_name = "lo"};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    bool good = fd >= 0 && ioctl(fd, SIOCGIFFLAGS, &link) == 0, was = link.ifr_flags & IFF_UP;
    if (good && up >= 0 && up != was) {
        link.ifr_flags = (short)(link.ifr_flags ^ IFF_UP);
        good = ioctl(fd, SIOCSIFFLAGS, &link) == 0;
    }
    if (!good) fail(IO_FAILURE, "the runtime tries again", "lo of the pod: %s", strerror(errno));
    close(fd);
    return was;
}

/* Print the result of an ADD: that of the plugin before us, or lo with its addresses. Before
 * version 1.0.0 an address states its family. */
static bool print_loopback(const struct config *config) {
    static char bytes[PATH_MAX * 6 + 1024];
    struct buffer out = {bytes, 0, sizeof bytes, false};
    if (config->previous.at != NULL && !is(config->previous, "null")) return print(config->previous);
    bool old = config_version.at[1] == '0';
    append_text(&out, "{\"cniVersion\":");
    append(&out, config_version.at, config_version.size);
    append_text(&out, ",\"interfaces\":[{\"name\":\"lo\",\"mac\":\"00:00:00:00:00:00\",\"sandbox\":");
    append_string(&out, text_of(getenv("CNI_NETNS")));
    append_text(&out, old ? "}],\"ips\":[{\"version\":\"4\",\"interface\":0,\"address\":\"127.0.0.1/8\"},"
                            "{\"version\":\"6\",\"interface\":0,\"address\":\"::1/128\"}],\"dns\":{}}\n"
                          : "}],\"ips\":[{\"interface\":0,\"address\":\"127.0.0.1/8\"},"
                            "{\"interface\":0,\"address\":\"::1/128\"}],\"dns\":{}}\n");
    return print((struct text){bytes, out.size});
}

/* Carry out a verb of the plugin "loopback" and return the exit code. GC and STATUS have nothing to
 * do. A DEL succeeds if the namespace is gone. */
static int loopback(const char *verb) {
    struct config config = {0};
    read_config_text(&config);
    if (config.version.at != config_version.at)
        fail(INCOMPATIBLE_VERSION, "this plugin supports 0.3.1, 0.4.0, 1.0.0, 1.1.0", "cniVersion=%.*s is not supported",
             (int)(config.version.size < 40 ? config.version.size : 40), config.version.at ? config.version.at : "");
    if (strcmp(verb, "GC") == 0 || strcmp(verb, "STATUS") == 0) return 0;
    bool deletes = strcmp(verb, "DEL") == 0;
    const char *path = getenv("CNI_NETNS");
    if (deletes && (path == NULL || *path == '\0' || !enter_netns())) return 0;
    if (!deletes && !enter_netns())
        fail(IO_FAILURE, "the runtime tries again", "cannot enter the network namespace %.200s: %s", path, strerror(errno));
    if (deletes) return loopback_up(0), 0;
    if (strcmp(verb, "ADD") == 0) return loopback_up(1), !print_loopback(&config);
    if (!loopback_up(-1)) fail(TRY_AGAIN, "set it up, or create the pod again", "lo is down");
    return 0;
}

/* ---- */

/* Send stdin and the environment to the agent, print its answer, and return the exit code. */
static int relay(const struct verb *verb) {
    struct config config = {0};
    struct answer answer = {0};
    struct text input = read_config_text(&config);
    bool addresses_only = take_ipam(&config);
    const char *path = socket_path(config.socket);
    int reason;
    enum outcome outcome = ask(verb, path, build_request(input), &answer, &reason);
    if (outcome != ANSWERED && strcmp(verb->name, "DEL") == 0) {
        /* An agent looks for notes beside its own socket, not beside kube-ovn-cni's. */
        if (!addresses_only) note_deletion(is(config.type, "\"kube-ovn\"") ? DEFAULT_SOCKET : path);
        return 0;
    }
    if (outcome != ANSWERED) no_answer(outcome, verb, path, reason);
    bool good = answer.status == 200;
    if ((answer.body.size > 0 || !good) && !read_object(answer.body, NULL))
        fail(INTERNAL, "is another server listening there?", "the answer on %s is not a JSON object", path);
    return print(answer.body) && good ? 0 : 1;
}

int main(int count, char **arguments) {
    const char *command = getenv("CNI_COMMAND"), *slash = count > 0 ? strrchr(arguments[0], '/') : NULL;
    bool is_loopback = count > 0 && strcmp(slash ? slash + 1 : arguments[0], "loopback") == 0;
    if (command == NULL || *command == '\0') return say_about();
    if (strcmp(command, "VERSION") == 0)
        return !print(text_of("{\"cniVersion\":" NEWEST ",\"supportedVersions\":[" VERSIONS "]}\n"));
    for (size_t i = 0; i < sizeof VERBS / sizeof *VERBS; i++)
        if (strcmp(command, VERBS[i].name) == 0) return is_loopback ? loopback(command) : relay(&VERBS[i]);
    fail(INVALID_ENVIRONMENT, "it is one of ADD, DEL, CHECK, GC, STATUS and VERSION", "CNI_COMMAND is \"%.100s\"", command);
}
