#include "text/splitter.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "text/regex.h"
#include "text/unicode.h"

enum {
    LETTER = UNICODE_LETTER,
    NUMBER = UNICODE_NUMBER,
    SPACE = UNICODE_SPACE,
    NEWLINE = UNICODE_NEWLINE,
    KNOWN = LETTER | NUMBER | SPACE
};

#define WORDS_FOLDED   "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|"
#define REST_WITH_ENDS "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

const char splitter_gpt2_pattern[] =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";
const char splitter_llama3_pattern[] = WORDS_FOLDED "\\p{N}{1,3}" REST_WITH_ENDS;
const char splitter_qwen2_pattern[] = WORDS_FOLDED "\\p{N}" REST_WITH_ENDS;

static const struct {
    const char *pattern;
    enum splitter_type type;
} patterns[] = {
    { splitter_gpt2_pattern, SPLITTER_GPT2 },
    { splitter_llama3_pattern, SPLITTER_LLAMA3 },
    { splitter_qwen2_pattern, SPLITTER_QWEN2 },
    { "\\p{N}", SPLITTER_DIGITS },
};

static enum splitter_type type_of(const char *pattern, size_t len)
{
    for (size_t i = 0; i < sizeof(patterns) / sizeof(patterns[0]); i++)
        if (strlen(patterns[i].pattern) == len && memcmp(patterns[i].pattern, pattern, len) == 0)
            return patterns[i].type;
    return SPLITTER_REGEX;
}

int splitter_init_pattern(struct splitter *splitter, const char *pattern, size_t len, bool by_hand,
                          struct error *err)
{
    *splitter = (struct splitter){ .type = by_hand ? type_of(pattern, len) : SPLITTER_REGEX };
    if (splitter->type != SPLITTER_REGEX)
        return 0;
    return regex_create(pattern, len, &splitter->regex, err);
}

int splitter_init_literal(struct splitter *splitter, const char *text, size_t len)
{
    *splitter = (struct splitter){ .type = SPLITTER_LITERAL, .literal_len = len };
    splitter->literal = malloc(len + 1);
    if (splitter->literal == NULL)
        return -ENOMEM;
    memcpy(splitter->literal, text, len);
    return 0;
}

void splitter_init_type(struct splitter *splitter, enum splitter_type type)
{
    *splitter = (struct splitter){ .type = type };
}

int splitter_read(const struct component *c, bool by_hand, struct splitter *splitter)
{
    struct component pattern;
    const int r = component_child(c, "pattern", &pattern);
    if (r < 0)
        return r;
    const json_t *regex = json_object_get(pattern.json, "Regex");
    const json_t *literal = json_object_get(pattern.json, "String");
    if (json_is_string(regex))
        return splitter_init_pattern(splitter, json_string_value(regex), json_string_length(regex),
                                     by_hand, c->err);
    if (json_is_string(literal))
        return splitter_init_literal(splitter, json_string_value(literal),
                                     json_string_length(literal));
    return error_set(c->err, -EINVAL, "tokenizer.json: %s holds no text called Regex or String",
                     pattern.where);
}

void splitter_finish(struct splitter *splitter)
{
    free(splitter->literal);
    regex_destroy(splitter->regex);
    *splitter = (struct splitter){ 0 };
}

bool splitter_covers(const struct splitter *splitter)
{
    return splitter->type <= SPLITTER_QWEN2;
}

/* End of the run of characters with (want) or without (!want) a class of `mask`. */
static inline const char *run(const char *at, const char *end, unsigned mask, bool want)
{
    while (at < end) {
        size_t n;
        if (((unicode_class_at(at, end, &n) & mask) != 0) != want)
            break;
        at += n;
    }
    return at;
}

static const char *previous(const char *at, const char *begin)
{
    do
        at--;
    while (at > begin && ((uint8_t)*at & 0xC0) == 0x80);
    return at;
}

static inline char lower(char c, bool fold)
{
    return fold && c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

/* Bytes of 's 't 'm 'd 're 've 'll at the apostrophe `at`, or 0. Folding takes U+017F for s. */
static size_t contraction(const char *at, const char *end, bool fold)
{
    if (end - at < 2)
        return 0;
    const char first = lower(at[1], fold);
    if (first == 's' || first == 't' || first == 'm' || first == 'd')
        return 2;
    if (end - at < 3)
        return 0;
    if (fold && memcmp(at + 1, "\xC5\xBF", 2) == 0)
        return 3;
    const char second = lower(at[2], fold);
    if (((first == 'r' || first == 'v') && second == 'e') || (first == 'l' && second == 'l'))
        return 3;
    return 0;
}

/* \s+(?!\S)|\s+ at whitespace whose run ends at `stop`: the last character of a run that text
 * follows stands alone, to go with the text if the next match takes it. */
static const char *spaces(const char *at, const char *stop, const char *end)
{
    if (stop == end)
        return stop;
    const char *last = previous(stop, at);
    return last > at ? last : stop;
}

static const char *next_gpt2(const char *at, const char *end)
{
    size_t n;
    if (*at == '\'' && (n = contraction(at, end, false)) > 0)
        return at + n;
    const char *word = at + (*at == ' ');
    const unsigned class = word < end ? unicode_class_at(word, end, &n) : SPACE;
    if ((class & SPACE) == 0)
        return (class & (LETTER | NUMBER)) != 0
                   ? run(word + n, end, class & (LETTER | NUMBER), true)
                   : run(word + n, end, KNOWN, false);
    return spaces(at, run(at, end, SPACE, true), end);
}

static const char *numbers(const char *at, const char *end, int max)
{
    size_t n;
    for (; max > 0 && at < end && (unicode_class_at(at, end, &n) & NUMBER) != 0; max--)
        at += n;
    return at;
}

/* \s*[\r\n]+|\s+(?!\S)|\s+ */
static const char *spaces_and_newlines(const char *at, const char *end)
{
    const char *stop = run(at, end, SPACE, true);
    for (const char *p = stop; p > at; p--)
        if (p[-1] == '\n' || p[-1] == '\r')
            return p;
    return spaces(at, stop, end);
}

/* The alternatives in their order; the first that matches wins, not the longest. */
static inline const char *next_folded(const char *at, const char *end, int max_numbers)
{
    size_t n, n2;
    const unsigned class = unicode_class_at(at, end, &n);
    if ((class & LETTER) != 0)
        return run(at + n, end, LETTER, true);
    if (*at == '\'' && (n2 = contraction(at, end, true)) > 0)
        return at + n2;
    if ((class & NUMBER) != 0)
        return numbers(at, end, max_numbers);
    if ((class & NEWLINE) == 0 && at + n < end &&
        (unicode_class_at(at + n, end, &n2) & LETTER) != 0)
        return run(at + n + n2, end, LETTER, true);
    const char *other = at + (*at == ' ');
    const char *stop = run(other, end, KNOWN, false);
    if (stop > other)
        return run(stop, end, NEWLINE, true);
    return spaces_and_newlines(at, end);
}

static const char *next_llama3(const char *at, const char *end)
{
    return next_folded(at, end, 3);
}

static const char *next_qwen2(const char *at, const char *end)
{
    return next_folded(at, end, 1);
}

const char *splitter_next(const struct splitter *splitter, const char *at, const char *end)
{
    static const char *(*const next[])(const char *, const char *) = {
        [SPLITTER_GPT2] = next_gpt2,
        [SPLITTER_LLAMA3] = next_llama3,
        [SPLITTER_QWEN2] = next_qwen2,
    };
    return next[splitter->type](at, end);
}

static int find_class(const char *text, size_t len, size_t from, unsigned mask,
                      struct splitter_match *ret_match)
{
    size_t n;
    for (; from < len; from += n)
        if ((unicode_class_at(text + from, text + len, &n) & mask) != 0) {
            *ret_match = (struct splitter_match){ from, from + n };
            return 1;
        }
    return 0;
}

static int find_word(const char *text, size_t len, size_t from, struct splitter_match *ret_match)
{
    const char *end = text + len, *at = run(text + from, end, SPACE, true);
    size_t n;
    if (at == end)
        return 0;
    const bool is_word = (unicode_class_at(at, end, &n) & UNICODE_WORD) != 0;
    const char *stop =
        is_word ? run(at, end, UNICODE_WORD, true) : run(at, end, UNICODE_WORD | SPACE, false);
    *ret_match = (struct splitter_match){ (size_t)(at - text), (size_t)(stop - text) };
    return 1;
}

static int find_literal(const struct splitter *splitter, const char *text, size_t len, size_t from,
                        struct splitter_match *ret_match)
{
    const char *found = splitter->literal_len > 0 ? memmem(text + from, len - from,
                                                           splitter->literal, splitter->literal_len)
                                                  : NULL;
    if (found == NULL)
        return 0;
    *ret_match = (struct splitter_match){ (size_t)(found - text),
                                          (size_t)(found - text) + splitter->literal_len };
    return 1;
}

int splitter_find(const struct splitter *splitter, struct regex_work *work, const char *text,
                  size_t len, size_t from, struct splitter_match *ret_match)
{
    switch (splitter->type) {
    case SPLITTER_DIGITS:
        return find_class(text, len, from, NUMBER, ret_match);
    case SPLITTER_SPACE:
        return find_class(text, len, from, SPACE, ret_match);
    case SPLITTER_PUNCTUATION:
        return find_class(text, len, from, UNICODE_PUNCTUATION, ret_match);
    case SPLITTER_WORDS:
        return find_word(text, len, from, ret_match);
    case SPLITTER_LITERAL:
        return find_literal(splitter, text, len, from, ret_match);
    case SPLITTER_REGEX:
        return regex_find(splitter->regex, work, text, len, from, &ret_match->start,
                          &ret_match->end);
    default:
        *ret_match = (struct splitter_match){
            from, (size_t)(splitter_next(splitter, text + from, text + len) - text)
        };
        return 1;
    }
}
