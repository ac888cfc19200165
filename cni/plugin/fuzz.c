/* fuzz.c - libFuzzer over the parts of the plugin that read bytes which others wrote: the JSON reader, the JSON
 * writer and the parser of the agent's answer. The first byte chooses the part. `make fuzz` builds it.
 */
#define main plugin_main
#include "ovnlet.c"
#undef main

static char scratch[MAX_REQUEST];

static void demand(bool held) {
    if (!held) abort();
}

/* Whatever the bytes are, the string written for them is JSON, and it is called clean only where it lost nothing. */
static void write_string(struct text bytes) {
    struct buffer out = {scratch, 0, sizeof scratch, false};
    append_text(&out, "{\"s\":");
    bool clean = append_string(&out, bytes);
    append(&out, "}", 1);
    demand(out.full || read_object((struct text){scratch, out.size}, NULL));
    demand(out.full || clean == (memmem(scratch, out.size, "\\ufffd", 6) == NULL) || memmem(bytes.at, bytes.size, "\\ufffd", 6));
}

/* What the reader remembers lies inside what it read, and is itself JSON. */
static void read_config(struct text bytes) {
    struct config found = {0};
    if (!read_object(bytes, &found) || found.socket.at == NULL) return;
    demand(found.socket.at > bytes.at && found.socket.at + found.socket.size < bytes.at + bytes.size);
    struct reader again = {found.socket.at, found.socket.at + found.socket.size};
    demand(read_value(&again, 0, NULL) && again.at == again.end);
    if (!take_ipam(&found) || found.socket.at == NULL) return;
    demand(found.socket.at > bytes.at && found.socket.at + found.socket.size < bytes.at + bytes.size);
}

/* A whole answer has its body inside the bytes, and no prefix of it is whole already with another body. */
static void read_answer(struct text bytes) {
    struct answer answer = {0}, earlier = {0};
    if (parse_answer(bytes, &answer) != WHOLE) return;
    demand(answer.body.at + answer.body.size <= bytes.at + bytes.size);
    demand(answer.status >= 0 && answer.status <= 999);
    if (parse_answer((struct text){bytes.at, bytes.size / 2}, &earlier) == WHOLE)
        demand(earlier.body.at == answer.body.at && earlier.body.size == answer.body.size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0 || size > MAX_STDIN) return 0;
    /* A copy of the exact size: the sanitizer then sees a single byte read too far. */
    char *copy = malloc(size - 1);
    memcpy(copy, data + 1, size - 1);
    struct text bytes = {copy, size - 1};
    switch (data[0] % 3) {
    case 0: write_string(bytes); break;
    case 1: read_config(bytes); break;
    default: read_answer(bytes); break;
    }
    free(copy);
    return 0;
}
