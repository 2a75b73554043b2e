// What an access log says: the busiest clients, the kinds of answers, and how long they took. ../README.md has the rules.

#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TOP_CLIENTS 10

// The log says why, and the exit code that the task failed.
static _Noreturn void fail(const char *why) {
    fprintf(stderr, "%s\n", why);
    exit(1);
}

// A piece of the input, which is neither copied nor ended by a zero.
struct text {
    const char *at;
    size_t length;
};

static bool skip(struct text *rest, const char *expected) {
    size_t length = strlen(expected);
    if (rest->length < length || memcmp(rest->at, expected, length) != 0) return false;
    rest->at += length;
    rest->length -= length;
    return true;
}

static bool is_digit(char c) { return c >= '0' && c <= '9'; }
static bool is_upper(char c) { return c >= 'A' && c <= 'Z'; }
static bool in_address(char c) {
    return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F') || c == ':' || c == '.';
}
static bool in_time(char c) { return c != ']' && c != '"'; }
static bool in_target(char c) { return c != ' ' && c != '"'; }
static bool in_version(char c) { return is_digit(c) || c == '.'; }

// Takes all characters that are wanted: one at least, `most` at most.
static bool take(struct text *rest, bool (*wanted)(char), size_t most, struct text *taken) {
    size_t length = 0;
    while (length < rest->length && wanted(rest->at[length])) length++;
    *taken = (struct text){rest->at, length};
    rest->at += length;
    rest->length -= length;
    return length >= 1 && length <= most;
}

// Ten digits at most fit without a check for overflow.
static bool number(struct text *rest, size_t most_digits, uint64_t *value) {
    struct text digits;
    if (!take(rest, is_digit, most_digits, &digits)) return false;
    *value = 0;
    for (size_t i = 0; i < digits.length; i++) *value = *value * 10 + (uint64_t)(digits.at[i] - '0');
    return true;
}

// A line of the log, and after folding a client with all its lines.
struct entry {
    struct text client;
    uint64_t requests, bytes;
};

static bool parse(struct text line, struct entry *entry, uint64_t *status, uint64_t *duration) {
    struct text unused;
    *entry = (struct entry){.requests = 1};
    if (!take(&line, in_address, 45, &entry->client) || !skip(&line, " - - [")) return false;
    if (!take(&line, in_time, SIZE_MAX, &unused) || !skip(&line, "] \"")) return false;
    if (!take(&line, is_upper, 16, &unused) || !skip(&line, " ")) return false;
    if (!take(&line, in_target, SIZE_MAX, &unused) || !skip(&line, " HTTP/")) return false;
    if (!take(&line, in_version, 8, &unused) || !skip(&line, "\" ")) return false;
    if (!number(&line, 3, status) || *status < 100 || *status > 599 || !skip(&line, " ")) return false;
    if (!skip(&line, "-") && !number(&line, 10, &entry->bytes)) return false;
    return skip(&line, " ") && number(&line, 9, duration) && line.length == 0;
}

static int by_client(const void *a, const void *b) {
    const struct text *x = &((const struct entry *)a)->client, *y = &((const struct entry *)b)->client;
    int order = memcmp(x->at, y->at, x->length < y->length ? x->length : y->length);
    return order ? order : (x->length > y->length) - (x->length < y->length);
}

static int by_requests(const void *a, const void *b) {
    const struct entry *x = a, *y = b;
    return x->requests == y->requests ? by_client(a, b) : x->requests < y->requests ? 1 : -1;
}

static int by_value(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static struct text read_all(FILE *file) {
    size_t capacity = 1 << 16, used = 0;
    char *data = malloc(capacity);
    while (data) {
        used += fread(data + used, 1, capacity - used, file);
        if (used < capacity) {
            if (ferror(file)) fail("cannot read the input");
            return (struct text){data, used};
        }
        capacity *= 2;
        data = realloc(data, capacity);
    }
    fail("out of memory");
}

// Takes the next line, without what ends it. False at the end of the input.
static bool next_line(struct text *rest, struct text *line) {
    if (rest->length == 0) return false;
    const char *end = memchr(rest->at, '\n', rest->length);
    *line = (struct text){rest->at, end ? (size_t)(end - rest->at) : rest->length};
    size_t consumed = line->length + (end ? 1 : 0);
    rest->at += consumed;
    rest->length -= consumed;
    if (line->length && line->at[line->length - 1] == '\r') line->length--;
    return true;
}

int main(void) {
    struct text input = read_all(stdin), rest = input, line;
    size_t all = 0, valid = 0, clients = 0;
    while (next_line(&rest, &line)) all += line.length > 0;

    struct entry *entries = calloc(all + 1, sizeof *entries);
    uint64_t *durations = calloc(all + 1, sizeof *durations);
    if (!entries || !durations) fail("out of memory");
    uint64_t classes[6] = {0};
    for (rest = input; next_line(&rest, &line);) {
        uint64_t status;
        // There is room: no more lines are valid than are not empty.
        if (parse(line, &entries[valid], &status, &durations[valid])) {
            classes[status / 100]++;
            valid++;
        }
    }

    // Equal clients lie side by side: fold them into one.
    qsort(entries, valid, sizeof *entries, by_client);
    for (size_t i = 0; i < valid; i++) {
        if (clients && by_client(&entries[clients - 1], &entries[i]) == 0) {
            entries[clients - 1].requests += entries[i].requests;
            entries[clients - 1].bytes += entries[i].bytes;
        } else {
            entries[clients++] = entries[i];
        }
    }
    qsort(entries, clients, sizeof *entries, by_requests);
    qsort(durations, valid, sizeof *durations, by_value);

    printf("{\"lines\":%zu,\"malformed\":%zu,\"clients\":[", all, all - valid);
    for (size_t i = 0; i < clients && i < TOP_CLIENTS; i++)
        printf("%s{\"client\":\"%.*s\",\"requests\":%" PRIu64 ",\"bytes\":%" PRIu64 "}", i ? "," : "",
               (int)entries[i].client.length, entries[i].client.at, entries[i].requests, entries[i].bytes);
    printf("],\"status\":{");
    for (int i = 1; i <= 5; i++) printf("%s\"%dxx\":%" PRIu64, i > 1 ? "," : "", i, classes[i]);
    if (valid)
        printf("},\"p95_ms\":%" PRIu64 "}\n", durations[((uint64_t)95 * valid + 99) / 100 - 1]);
    else
        printf("},\"p95_ms\":null}\n");
    if (fflush(stdout)) fail("cannot write the output");
    return 0;
}
