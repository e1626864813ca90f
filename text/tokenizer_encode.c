/* The encoding half of tokenizer.h. */
#include <errno.h>
#include <string.h>

#include "text/tokenizer_parts.h"

struct encoding {
    const struct tokenizer *tokenizer;
    struct tokenizer_scratch *scratch;
    struct token_ids *ids;
    size_t max_ids;
    bool parse_special;
    const char *mark; /* NULL: the text has none */
    size_t mark_len;
};

static int check_max(const struct encoding *e)
{
    if (e->ids->num <= e->max_ids)
        return 0;
    e->ids->num = e->max_ids;
    return -E2BIG;
}

static int add_ids(const struct encoding *e, const int32_t *ids, int32_t num)
{
    const int r = token_ids_append(e->ids, ids, (size_t)num);
    return r < 0 ? r : check_max(e);
}

/* --- pieces ------------------------------------------------------------------------------- */

static int encode_piece(void *context, const char *piece, size_t len)
{
    const struct encoding *e = context;
    const int r = model_encode(&e->tokenizer->model, &e->tokenizer->pieces, &e->scratch->model,
                               piece, len, e->ids);
    return r < 0 ? r : check_max(e);
}

static const char *find_mark(const struct encoding *e, const char *text, size_t len)
{
    return e->mark != NULL ? memmem(text, len, e->mark, e->mark_len) : NULL;
}

/* A piece with its marks: what lies between them is encoded alone. */
static int encode_cut_piece(void *context, const char *piece, size_t len)
{
    const struct encoding *e = context;
    const char *end = piece + len;
    int r = 0;
    while (r == 0 && piece < end) {
        const char *mark = find_mark(e, piece, (size_t)(end - piece));
        const char *stop = mark != NULL ? mark : end;
        r = stop > piece ? encode_piece(context, piece, (size_t)(stop - piece)) : 0;
        piece = mark != NULL ? mark + e->mark_len : end;
    }
    return r;
}

/* --- text between added tokens ------------------------------------------------------------ */

static int cut(struct encoding *e, const char *text, size_t len, bool first,
               pre_tokenizer_sink *sink)
{
    return pre_tokenizer_run(&e->tokenizer->pre_tokenizer, &e->scratch->pre_tokenizer, text, len,
                             first, sink, e);
}

static int drop_marks(const struct encoding *e, const char *text, size_t len, struct strbuf *out)
{
    const char *end = text + len, *mark;
    strbuf_reset(out);
    while ((mark = find_mark(e, text, (size_t)(end - text))) != NULL) {
        strbuf_append(out, text, (size_t)(mark - text));
        text = mark + e->mark_len;
    }
    strbuf_append(out, text, (size_t)(end - text));
    return out->failed ? -ENOMEM : 0;
}

/* Some models have control tokens among the pieces that they put together. */
static bool has_control(const struct encoding *e, size_t from)
{
    const int32_t unk_id = model_unk_id(&e->tokenizer->model);
    for (size_t i = from; i < e->ids->num; i++)
        if (e->ids->ids[i] != unk_id && tokenizer_is_special(e->tokenizer, e->ids->ids[i]))
            return true;
    return false;
}

static int encode_segment(struct encoding *e, const char *text, size_t len, bool first)
{
    struct strbuf *unmarked = &e->scratch->unmarked;
    const size_t before = e->ids->num;
    if (find_mark(e, text, len) == NULL)
        return cut(e, text, len, first, encode_piece);
    int r = drop_marks(e, text, len, unmarked);
    if (r == 0 && unmarked->len > 0)
        r = cut(e, unmarked->data, unmarked->len, first, encode_piece);
    if (r < 0 || !has_control(e, before))
        return r;
    e->ids->num = before;
    return cut(e, text, len, first, encode_cut_piece);
}

static void begin(const struct encoding *e, struct added_tokens_cursor *cursor,
                  const struct added_tokens *added, const char *text, size_t len)
{
    added_tokens_begin(cursor, added, text, len, e->parse_special);
    cursor->mark = e->mark;
    cursor->mark_len = e->mark_len;
}

/* Text between the tokens found before normalizing: a string of its own. */
static int encode_between(struct encoding *e, const char *text, size_t len, bool first)
{
    const struct tokenizer *t = e->tokenizer;
    struct added_tokens_cursor cursor;
    struct added_tokens_segment segment;
    int r = normalizer_run(&t->normalizer, &e->scratch->normalizer, text, len, &text, &len);
    if (r < 0)
        return r;
    begin(e, &cursor, &t->added_normalized, text, len);
    while (r == 0 && added_tokens_next(&cursor, &segment))
        r = segment.id >= 0
                ? add_ids(e, &segment.id, 1)
                : encode_segment(e, text + segment.start, segment.len, first && segment.start == 0);
    return r;
}

static int encode_text(struct encoding *e, const char *text, size_t len)
{
    struct added_tokens_cursor cursor;
    struct added_tokens_segment segment;
    int r = 0;
    begin(e, &cursor, &e->tokenizer->added_raw, text, len);
    while (r == 0 && added_tokens_next(&cursor, &segment))
        r = segment.id >= 0
                ? add_ids(e, &segment.id, 1)
                : encode_between(e, text + segment.start, segment.len, segment.start == 0);
    return r;
}

int tokenizer_encode(const struct tokenizer *tokenizer, struct tokenizer_scratch *scratch,
                     const char *text, size_t len, unsigned flags, size_t max_ids,
                     struct token_ids *ids)
{
    return tokenizer_encode_marked(tokenizer, scratch, text, len, NULL, flags, max_ids, ids);
}

int tokenizer_encode_marked(const struct tokenizer *tokenizer, struct tokenizer_scratch *scratch,
                            const char *text, size_t len, const char *mark, unsigned flags,
                            size_t max_ids, struct token_ids *ids)
{
    const struct post_processor *post = &tokenizer->post_processor;
    const bool add_special = (flags & TOKENIZER_ADD_SPECIAL) != 0;
    struct encoding e = { .tokenizer = tokenizer,
                          .scratch = scratch,
                          .ids = ids,
                          .max_ids = max_ids > 0 ? max_ids : SIZE_MAX,
                          .parse_special = (flags & TOKENIZER_PARSE_SPECIAL) != 0,
                          .mark = mark,
                          .mark_len = mark != NULL ? strlen(mark) : 0 };
    if (len > INT32_MAX / 4) /* positions are 32 bits, and normalizing may lengthen */
        return -E2BIG;
    int r = add_special ? add_ids(&e, post->before, post->num_before) : 0;
    if (r == 0)
        r = encode_text(&e, text, len);
    if (r == 0 && add_special)
        r = add_ids(&e, post->behind, post->num_behind);
    return r;
}
