#include "text/decoder.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "text/byte_level.h"
#include "text/component.h"
#include "text/regex.h"

enum { BYTE_TOKEN_LEN = 6, STRIP_MAX = 1 << 20 };

/* --- reading ------------------------------------------------------------------------------ */

static bool has(const struct decoder *decoder, enum decoder_type type)
{
    for (int32_t i = 0; i < decoder->num_stages; i++)
        if (decoder->stages[i].type == type)
            return true;
    return false;
}

static int refuse(const struct component *c, const char *why)
{
    return error_set(c->err, -ENOTSUP, "tokenizer.json: %s %s", c->where, why);
}

/* Stages in an order in which each can look at one token alone. */
static int add_stage(const struct component *c, struct decoder *decoder, enum decoder_type type,
                     struct decoder_stage **ret_stage)
{
    if (decoder->num_stages == DECODER_STAGES_MAX)
        return error_set(c->err, -EINVAL, "tokenizer.json: %s: more than %d stages", c->where,
                         DECODER_STAGES_MAX);
    if (decoder->fuses)
        return refuse(c, "stands behind Fuse, wanted only one Strip there");
    if (has(decoder, DECODER_BYTE_FALLBACK))
        return refuse(c, "stands behind ByteFallback, wanted Fuse next");
    if (decoder->num_stages > 0 && (type == DECODER_BYTE_LEVEL || has(decoder, DECODER_BYTE_LEVEL)))
        return refuse(c, "stands beside a ByteLevel, wanted one ByteLevel alone");
    *ret_stage = &decoder->stages[decoder->num_stages++];
    (*ret_stage)->type = type;
    return 0;
}

static int read_byte_level(const struct component *c, void *target)
{
    struct decoder_stage *stage;
    return add_stage(c, target, DECODER_BYTE_LEVEL, &stage);
}

static int read_byte_fallback(const struct component *c, void *target)
{
    struct decoder_stage *stage;
    return add_stage(c, target, DECODER_BYTE_FALLBACK, &stage);
}

static int read_fuse(const struct component *c, void *target)
{
    struct decoder *decoder = target;
    (void)c;
    decoder->fuses = true;
    return 0;
}

static int read_replace(const struct component *c, void *target)
{
    struct decoder_stage *stage = NULL;
    const int r = add_stage(c, target, DECODER_REPLACE, &stage);
    return r < 0 ? r : replace_read(c, &stage->replace);
}

static int read_char(const struct component *c, const char *key, char mark[4], size_t *ret_len)
{
    json_t *text;
    uint32_t codepoint;
    const int r = component_get(c, key, JSON_STRING, &text);
    if (r < 0)
        return r;
    const size_t len = json_string_length(text);
    if (len == 0 || utf8_decode(json_string_value(text), len, &codepoint) != (int)len)
        return error_set(c->err, -EINVAL,
                         "tokenizer.json: %s.%s is \"%.40s\", wanted one character", c->where, key,
                         json_string_value(text));
    memcpy(mark, json_string_value(text), len);
    *ret_len = len;
    return 0;
}

static int read_whole_strip(const struct component *c, struct decoder *decoder)
{
    int64_t stop = 0;
    int r = read_char(c, "content", decoder->lead, &decoder->lead_len);
    if (decoder->lead_max > 0)
        return refuse(c, "is a second Strip behind Fuse, wanted one");
    if (r == 0)
        r = component_int(c, "start", STRIP_MAX, &decoder->lead_max);
    if (r == 0)
        r = component_int(c, "stop", STRIP_MAX, &stop);
    if (r == 0 && stop > 0)
        return refuse(c, "strips the end of a text, which a stream does not know");
    return r;
}

static int read_strip(const struct component *c, void *target)
{
    struct decoder *decoder = target;
    struct decoder_stage *stage = NULL;
    if (decoder->fuses)
        return read_whole_strip(c, decoder);
    int r = add_stage(c, decoder, DECODER_STRIP, &stage);
    if (r == 0)
        r = read_char(c, "content", stage->mark, &stage->mark_len);
    if (r == 0)
        r = component_int(c, "start", STRIP_MAX, &stage->start);
    return r < 0 ? r : component_int(c, "stop", STRIP_MAX, &stage->stop);
}

static int read_metaspace(const struct component *c, void *target)
{
    struct decoder *decoder = target;
    struct decoder_stage *stage = NULL;
    char mark[4];
    size_t len;
    const json_t *scheme = json_object_get(c->json, "prepend_scheme");
    bool prefix = true;
    int r = add_stage(c, decoder, DECODER_METASPACE, &stage);
    if (r == 0)
        r = read_char(c, "replacement", mark, &len);
    if (r == 0)
        r = component_bool(c, "add_prefix_space", true, &prefix);
    if (r < 0)
        return r;
    decoder->first_has_no_marks =
        json_is_string(scheme) ? strcmp(json_string_value(scheme), "never") != 0 : prefix;
    stage->replace.content = strdup(" ");
    stage->replace.content_len = 1;
    if (stage->replace.content == NULL)
        return -ENOMEM;
    return splitter_init_literal(&stage->replace.splitter, mark, len);
}

static const struct component_row rows[] = {
    { "ByteLevel", read_byte_level },
    { "Replace", read_replace },
    { "Strip", read_strip },
    { "ByteFallback", read_byte_fallback },
    { "Fuse", read_fuse },
    { "Metaspace", read_metaspace },
};

int decoder_read(struct decoder *decoder, const json_t *root, struct error *err)
{
    const int r = component_read(root, "decoder", "decoders", rows, sizeof(rows) / sizeof(rows[0]),
                                 decoder, err);
    if (r == 0 && decoder->num_stages == 0 && !decoder->fuses)
        return error_set(err, -ENOTSUP,
                         "tokenizer.json: decoder is missing, wanted ByteLevel, ByteFallback, "
                         "Metaspace or a Sequence");
    return r;
}

void decoder_finish(struct decoder *decoder)
{
    for (int32_t i = 0; i < decoder->num_stages; i++)
        replace_finish(&decoder->stages[i].replace);
    *decoder = (struct decoder){ 0 };
}

void decoder_work_finish(struct decoder_work *work)
{
    strbuf_finish(&work->out[0]);
    strbuf_finish(&work->out[1]);
    regex_work_destroy(work->regex);
    *work = (struct decoder_work){ 0 };
}

bool decoder_is_byte_level(const struct decoder *decoder)
{
    return has(decoder, DECODER_BYTE_LEVEL);
}

/* --- running ------------------------------------------------------------------------------ */

static void strip(const struct decoder_stage *stage, const char **text, size_t *len)
{
    const size_t n = stage->mark_len;
    for (int64_t i = 0; i < stage->start && *len >= n && memcmp(*text, stage->mark, n) == 0; i++) {
        *text += n;
        *len -= n;
    }
    for (int64_t i = 0;
         i < stage->stop && *len >= n && memcmp(*text + *len - n, stage->mark, n) == 0; i++)
        *len -= n;
}

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The byte that "<0x0A>" stands for, or -1. */
static int byte_token(const char *text, size_t len)
{
    if (len != BYTE_TOKEN_LEN || memcmp(text, "<0x", 3) != 0 || text[5] != '>' ||
        hex(text[3]) < 0 || hex(text[4]) < 0)
        return -1;
    return hex(text[3]) * 16 + hex(text[4]);
}

static int run_replace(const struct decoder_stage *stage, struct decoder_work *work, bool first,
                       struct strbuf *out, const char **text, size_t *len)
{
    struct replace replace = stage->replace;
    if (first && stage->type == DECODER_METASPACE)
        replace.content_len = 0;
    if (replace.splitter.type == SPLITTER_REGEX && work->regex == NULL &&
        regex_work_create(&work->regex) < 0)
        return -ENOMEM;
    strbuf_reset(out);
    strbuf_append(out, "", 0);
    const int r = replace_run(&replace, work->regex, *text, *len, out);
    *text = out->data;
    *len = out->len;
    return r;
}

static int run_bytes(struct strbuf *out, const char **text, size_t *len)
{
    if (!strbuf_reserve(out, *len))
        return -ENOMEM;
    const int64_t num = byte_level_decode(*text, *len, out->data);
    if (num < 0)
        return DECODER_LITERAL;
    *text = out->data;
    *len = (size_t)num;
    return DECODER_TEXT;
}

static int run_byte_token(struct strbuf *out, const char **text, size_t *len)
{
    const int byte = byte_token(*text, *len);
    if (byte < 0)
        return DECODER_TEXT;
    strbuf_reset(out);
    strbuf_append_char(out, (char)byte);
    *text = out->data;
    *len = 1;
    return out->failed ? -ENOMEM : DECODER_BYTE;
}

int decoder_run(const struct decoder *decoder, struct decoder_work *work, bool first,
                const char *text, size_t len, const char **ret_bytes, size_t *ret_len)
{
    int r = DECODER_TEXT, next = 0;
    first = first && decoder->first_has_no_marks;
    for (int32_t i = 0; r == DECODER_TEXT && i < decoder->num_stages; i++) {
        const struct decoder_stage *stage = &decoder->stages[i];
        struct strbuf *out = &work->out[next];
        next ^= stage->type != DECODER_STRIP; /* which stays where it is */
        if (stage->type == DECODER_BYTE_LEVEL)
            r = run_bytes(out, &text, &len);
        else if (stage->type == DECODER_BYTE_FALLBACK)
            r = run_byte_token(out, &text, &len);
        else if (stage->type == DECODER_STRIP)
            strip(stage, &text, &len);
        else
            r = run_replace(stage, work, first, out, &text, &len);
    }
    *ret_bytes = text;
    *ret_len = len;
    return r;
}
