/*
 * make_checkpoint.c - a checkpoint of the list that made.py has kept of it
 *
 *     make_checkpoint FROM TO STAMP NAME...
 *
 * For each NAME the folder TO/NAME gets model.safetensors from the values that
 * FROM/NAME/tensors.txt describes, and copies of config.json, tokens.i32 and logits.f32; then STAMP
 * is written.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/half.h"

enum { MAX_TENSORS = 512, MAX_RANK = 4 };

struct tensor {
    char name[128], dtype[8];
    double scale, offset;
    int rank;
    long shape[MAX_RANK];
};

static struct tensor tensors[MAX_TENSORS];
static char header[MAX_TENSORS * 256];

__attribute__((noreturn, format(printf, 1, 2))) static void die(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("make_checkpoint: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    exit(EXIT_FAILURE);
}

static FILE *open_in(const char *dir, const char *name, const char *file, const char *mode)
{
    char path[4096];
    snprintf(path, sizeof(path), "%s/%s/%s", dir, name, file);
    FILE *stream = fopen(path, mode);
    if (stream == NULL)
        die("%s: %s", path, strerror(errno));
    return stream;
}

static void close_written(FILE *stream)
{
    if (ferror(stream) || fclose(stream) != 0)
        die("a file could not be written: %s", strerror(errno));
}

static void copy(const char *from, const char *to, const char *name, const char *file)
{
    char bytes[65536];
    size_t len;
    FILE *in = open_in(from, name, file, "rb"), *out = open_in(to, name, file, "wb");
    while ((len = fread(bytes, 1, sizeof(bytes), in)) > 0)
        fwrite(bytes, 1, len, out);
    fclose(in);
    close_written(out);
}

static void read_shape(struct tensor *t, const char *text)
{
    char *end;
    for (t->rank = 0; *text != '\n' && *text != '\0'; text = end) {
        if (t->rank == MAX_RANK)
            die("%s has more than %d dimensions", t->name, MAX_RANK);
        t->shape[t->rank++] = strtol(text, &end, 10);
        if (end == text)
            die("%s: its shape is no list of numbers", t->name);
    }
}

static int read_list(const char *from, const char *name, unsigned *ret_seed)
{
    char line[512];
    int num = 0, at = 0;
    FILE *in = open_in(from, name, "tensors.txt", "r");
    if (fgets(line, sizeof(line), in) == NULL || sscanf(line, "seed %u", ret_seed) != 1)
        die("%s/tensors.txt has no seed in its first line", name);
    for (; fgets(line, sizeof(line), in) != NULL; num++) {
        if (num == MAX_TENSORS)
            die("%s has more than %d tensors", name, MAX_TENSORS);
        struct tensor *t = &tensors[num];
        if (sscanf(line, "%127s %7s %lf %lf%n", t->name, t->dtype, &t->scale, &t->offset, &at) != 4)
            die("%s/tensors.txt, line %d: wanted name, dtype, scale, offset and shape", name,
                num + 2);
        read_shape(t, line + at);
    }
    fclose(in);
    return num;
}

static size_t size_of(const struct tensor *t)
{
    return strcmp(t->dtype, "I64") == 0 ? 8 : strcmp(t->dtype, "F32") == 0 ? 4 : 2;
}

static size_t count(const struct tensor *t)
{
    size_t num = 1;
    for (int i = 0; i < t->rank; i++)
        num *= (size_t)t->shape[i];
    return num;
}

static void write_header(FILE *out, int num)
{
    size_t at = 0, begin = 0;
    for (int i = 0; i < num; i++) {
        const struct tensor *t = &tensors[i];
        const size_t end = begin + count(t) * size_of(t);
        at += (size_t)snprintf(header + at, sizeof(header) - at,
                               "%c\"%s\":{\"dtype\":\"%s\",\"shape\":[", i > 0 ? ',' : '{', t->name,
                               t->dtype);
        for (int k = 0; k < t->rank; k++)
            at += (size_t)snprintf(header + at, sizeof(header) - at, "%s%ld", k > 0 ? "," : "",
                                   t->shape[k]);
        at += (size_t)snprintf(header + at, sizeof(header) - at, "],\"data_offsets\":[%zu,%zu]}",
                               begin, end);
        begin = end;
    }
    at += (size_t)snprintf(header + at, sizeof(header) - at, "}");
    const uint64_t len = at;
    fwrite(&len, sizeof(len), 1, out);
    fwrite(header, 1, at, out);
}

static uint32_t seed_of(const struct tensor *t, unsigned seed)
{
    char text[160];
    uint32_t x = 2166136261U;
    snprintf(text, sizeof(text), seed != 0 ? "%s#%u" : "%s", t->name, seed);
    for (const char *c = text; *c != '\0'; c++)
        x = (x ^ (unsigned char)*c) * 16777619U;
    return x;
}

/* To the nearest, ties to even. */
static uint16_t to_bf16(float value)
{
    const uint32_t bits = float_to_bits(value);
    return (uint16_t)((bits + 0x7FFFU + (bits >> 16 & 1)) >> 16);
}

static void write_value(FILE *out, const struct tensor *t, uint32_t raw)
{
    const float value = (float)(t->offset + t->scale * ((double)raw / 8388608.0 - 1.0));
    const uint16_t half = t->dtype[0] == 'B' ? to_bf16(value) : half_to_f16(value);
    if (size_of(t) == sizeof(int64_t)) {
        const int64_t whole = raw % (int64_t)t->scale;
        fwrite(&whole, sizeof(whole), 1, out);
    } else if (size_of(t) == sizeof(value)) {
        fwrite(&value, sizeof(value), 1, out);
    } else {
        fwrite(&half, sizeof(half), 1, out);
    }
}

static void make(const char *from, const char *to, const char *name)
{
    static const char *const copied[] = { "config.json", "tokens.i32", "logits.f32" };
    char path[4096];
    unsigned seed = 0;
    const int num = read_list(from, name, &seed);
    snprintf(path, sizeof(path), "%s/%s", to, name);
    if (mkdir(path, 0777) < 0 && errno != EEXIST)
        die("%s: %s", path, strerror(errno));
    FILE *out = open_in(to, name, "model.safetensors", "wb");
    write_header(out, num);
    for (int i = 0; i < num; i++) {
        uint32_t x = seed_of(&tensors[i], seed);
        for (size_t left = count(&tensors[i]); left > 0; left--) {
            x = 1664525U * x + 1013904223U;
            write_value(out, &tensors[i], x >> 8);
        }
    }
    close_written(out);
    for (size_t i = 0; i < sizeof(copied) / sizeof(copied[0]); i++)
        copy(from, to, name, copied[i]);
}

int main(int argc, char **argv)
{
    if (argc < 5)
        die("wanted FROM TO STAMP NAME...");
    if (mkdir(argv[2], 0777) < 0 && errno != EEXIST)
        die("%s: %s", argv[2], strerror(errno));
    for (int i = 4; i < argc; i++)
        make(argv[1], argv[2], argv[i]);
    FILE *stamp = fopen(argv[3], "w");
    if (stamp == NULL)
        die("%s: %s", argv[3], strerror(errno));
    close_written(stamp);
    return EXIT_SUCCESS;
}
