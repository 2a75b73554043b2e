// Counts the words of a text: how many, how many different ones, and the five most frequent. A word is made of letters
// and digits, where every byte beyond ASCII counts as a letter; whether the text is UTF-8 is not looked at.
//
// The task's input is standard input, its output standard output, its log standard error.

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// The log says why, and the exit code that the task failed.
static _Noreturn void fail(const char *why) {
    fprintf(stderr, "%s\n", why);
    exit(1);
}

static char *read_all(FILE *file, size_t *length) {
    size_t capacity = 1 << 16, used = 0;
    char *text = malloc(capacity);
    while (text) {
        used += fread(text + used, 1, capacity - used, file);
        if (used < capacity) {
            if (ferror(file)) fail("cannot read the input");
            *length = used;
            return text;
        }
        capacity *= 2;
        text = realloc(text, capacity);
    }
    fail("out of memory");
}

struct word {
    const char *text;
    size_t length, count;
};

static int by_text(const void *a, const void *b) {
    const struct word *x = a, *y = b;
    size_t shorter = x->length < y->length ? x->length : y->length;
    int order = memcmp(x->text, y->text, shorter);
    return order ? order : (x->length > y->length) - (x->length < y->length);
}

static int by_count(const void *a, const void *b) {
    const struct word *x = a, *y = b;
    return x->count == y->count ? by_text(a, b) : (x->count < y->count) - (x->count > y->count);
}

int main(void) {
    size_t length, total = 0, unique = 0;
    char *text = read_all(stdin, &length);
    // A word and what ends it are two bytes at least.
    struct word *words = calloc(length / 2 + 1, sizeof *words);
    if (!words) fail("out of memory");
    for (size_t i = 0; i < length;) {
        size_t start = i;
        for (; i < length && (isalnum((unsigned char)text[i]) || (unsigned char)text[i] >= 0x80); i++)
            text[i] = (char)tolower((unsigned char)text[i]);
        if (i > start)
            words[total++] = (struct word){text + start, i - start, 1};
        else
            i++;
    }
    // Equal words lie side by side: fold them into one with their count.
    qsort(words, total, sizeof *words, by_text);
    for (size_t i = 0; i < total; i++) {
        if (unique && by_text(&words[unique - 1], &words[i]) == 0)
            words[unique - 1].count++;
        else
            words[unique++] = words[i];
    }
    qsort(words, unique, sizeof *words, by_count);
    printf("{\"words\":%zu,\"unique\":%zu,\"top\":[", total, unique);
    for (size_t i = 0; i < unique && i < 5; i++)
        printf("%s{\"word\":\"%.*s\",\"count\":%zu}", i ? "," : "", (int)words[i].length, words[i].text, words[i].count);
    printf("]}\n");
    if (fflush(stdout)) fail("cannot write the output");
    return 0;
}
