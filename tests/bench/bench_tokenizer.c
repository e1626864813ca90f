/*
 * bench_tokenizer.c - MB/s of splitting and encoding texts
 *
 *     bench_tokenizer split TEXT            the splitters by hand and in PCRE2
 *     bench_tokenizer encode MODEL TEXT...  each text in prompts of 4 KiB; and single pieces of 1
 * MiB
 *
 * The word cache is empty at the beginning of each text. Best of five, one thread.
 * tests/bench/tokenizer.py calls it with texts and models, and HF tokenizers beside it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/utf8.h"
#include "text/regex.h"
#include "text/splitter.h"
#include "text/tokenizer.h"
#include "text/unicode.h"

enum { RUNS = 5, TEXT_BYTES_MAX = 256 << 20, ONE_PIECE_BYTES = 1 << 20, PROMPT_BYTES = 4096 };

static struct regex_work *regex_work;

static size_t split(const struct splitter *splitter, const char *text, size_t len)
{
    struct splitter_match match = { 0 };
    size_t num = 0;
    while (match.end < len && splitter_find(splitter, regex_work, text, len, match.end, &match) > 0)
        num++;
    return num;
}

static double best_split(const struct splitter *splitter, const char *text, size_t len,
                         size_t *ret_num)
{
    double best = 0;
    for (int run = 0; run < RUNS; run++) {
        const int64_t start = clock_now_us();
        *ret_num = split(splitter, text, len);
        const double rate = (double)len / (double)(clock_now_us() - start + 1);
        best = rate > best ? rate : best;
    }
    return best;
}

static int bench_pattern(const char *name, const char *pattern, const char *text, size_t len)
{
    struct splitter by_hand, in_pcre2;
    struct error err;
    size_t pieces = 0, same = 0;
    int r = splitter_init_pattern(&by_hand, pattern, strlen(pattern), true, &err);
    if (r == 0)
        r = splitter_init_pattern(&in_pcre2, pattern, strlen(pattern), false, &err);
    if (r < 0)
        return r;
    const double hand = best_split(&by_hand, text, len, &pieces);
    const double pcre2 = best_split(&in_pcre2, text, len, &same);
    printf("split %-10s %10.1f %10.1f %8.1fx %12zu%s\n", name, hand, pcre2, hand / pcre2, pieces,
           same == pieces ? "" : " PIECES DIFFER");
    splitter_finish(&by_hand);
    splitter_finish(&in_pcre2);
    return 0;
}

/* Bytes up to the line's end behind the first PROMPT_BYTES. */
static size_t next_prompt(const char *text, size_t len)
{
    if (len <= PROMPT_BYTES)
        return len;
    const char *end = memchr(text + PROMPT_BYTES, '\n', len - PROMPT_BYTES);
    return end != NULL ? (size_t)(end - text) + 1 : len;
}

static int encode(const struct tokenizer *tokenizer, const char *text, size_t len,
                  struct token_ids *ids)
{
    struct tokenizer_scratch *scratch;
    int r = tokenizer_scratch_create(tokenizer, &scratch);
    if (r < 0)
        return r;
    ids->num = 0;
    for (size_t at = 0, n; r == 0 && at < len; at += n) {
        n = next_prompt(text + at, len - at);
        r = tokenizer_encode(tokenizer, scratch, text + at, n, TOKENIZER_PARSE_SPECIAL, 0, ids);
    }
    tokenizer_scratch_destroy(scratch);
    return r;
}

static int bench_encode(const char *name, const struct tokenizer *tokenizer, const char *text,
                        size_t len)
{
    struct token_ids ids = { 0 };
    double best = 0;
    int r = 0;
    for (int run = 0; r == 0 && run < RUNS; run++) {
        const int64_t start = clock_now_us();
        r = encode(tokenizer, text, len, &ids);
        const double rate = (double)len / (double)(clock_now_us() - start + 1);
        best = rate > best ? rate : best;
    }
    printf("  %-24s %8.1f MB/s %10zu tokens\n", name, best, ids.num);
    token_ids_finish(&ids);
    return r;
}

static int bench_one_piece(const struct tokenizer *tokenizer)
{
    char *text = malloc(ONE_PIECE_BYTES);
    if (text == NULL)
        return -1;
    memset(text, 'a', ONE_PIECE_BYTES);
    int r = bench_encode("1 MiB of one letter", tokenizer, text, ONE_PIECE_BYTES);
    for (size_t i = 0; i < ONE_PIECE_BYTES; i++)
        text[i] = (char)('a' + (i * i >> 3) % 26);
    if (r == 0)
        r = bench_encode("1 MiB of letters", tokenizer, text, ONE_PIECE_BYTES);
    free(text);
    return r;
}

static int read_text(const char *path, char **ret_text, size_t *ret_len)
{
    struct error err;
    const int r = file_read(path, TEXT_BYTES_MAX, ret_text, ret_len, &err);
    if (r < 0)
        fprintf(stderr, "%s\n", err.message);
    else
        *ret_len = utf8_valid_prefix(*ret_text, *ret_len);
    return r;
}

static int bench_model(const char *dir, char **paths, int num)
{
    struct tokenizer *tokenizer;
    struct error err;
    const int64_t start = clock_now_us();
    int r = tokenizer_open(dir, &tokenizer, &err);
    if (r < 0) {
        fprintf(stderr, "%s\n", err.message);
        return r;
    }
    printf("%s: opened in %.1f ms\n", dir, (double)(clock_now_us() - start) / 1e3);
    for (int i = 0; r == 0 && i < num; i++) {
        const char *slash = strrchr(paths[i], '/');
        char *text = NULL;
        size_t len;
        r = read_text(paths[i], &text, &len);
        if (r == 0)
            r = bench_encode(slash != NULL ? slash + 1 : paths[i], tokenizer, text, len);
        free(text);
    }
    if (r == 0)
        r = bench_one_piece(tokenizer);
    tokenizer_close(tokenizer);
    return r;
}

static int bench_patterns(const char *path)
{
    char *text;
    size_t len;
    int r = read_text(path, &text, &len);
    if (r < 0)
        return r;
    r = unicode_load();
    if (r == 0)
        r = regex_work_create(&regex_work);
    printf("%-16s %10s %10s %9s %12s\n", "MB/s", "by hand", "PCRE2", "ratio", "pieces");
    if (r == 0)
        r = bench_pattern("GPT-2", splitter_gpt2_pattern, text, len);
    if (r == 0)
        r = bench_pattern("Llama 3", splitter_llama3_pattern, text, len);
    if (r == 0)
        r = bench_pattern("Qwen2", splitter_qwen2_pattern, text, len);
    regex_work_destroy(regex_work);
    free(text);
    return r;
}

int main(int argc, char **argv)
{
    int r = -1;
    if (argc == 3 && strcmp(argv[1], "split") == 0)
        r = bench_patterns(argv[2]);
    else if (argc > 3 && strcmp(argv[1], "encode") == 0)
        r = bench_model(argv[2], argv + 3, argc - 3);
    else
        fprintf(stderr, "usage: %s split TEXT | encode MODEL TEXT...\n", argv[0]);
    return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
