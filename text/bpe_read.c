/* The reading half of bpe.h: vocabulary and merges of a tokenizer.json to tables. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/strbuf.h"
#include "base/utf8.h"
#include "text/bpe.h"
#include "text/bpe_pairs.h"
#include "text/byte_level.h"
#include "text/char_ids.h"
#include "text/component.h"
#include "text/unicode.h"

struct side {
    const char *text;
    size_t len;
};

struct reading {
    struct bpe *bpe;
    const struct pieces *texts;
    struct strbuf joined;
    bool odd_sides; /* some merge has unk or a byte's token for a side */
    struct error *err;
};

/* Both spellings: "a b", cut at the first space, and ["a", "b"]. */
static bool split_merge(const json_t *merge, struct side sides[2])
{
    if (json_is_string(merge)) {
        const char *text = json_string_value(merge);
        const size_t len = json_string_length(merge);
        const char *space = memchr(text, ' ', len);
        if (space == NULL)
            return false;
        sides[0] = (struct side){ text, (size_t)(space - text) };
        sides[1] = (struct side){ space + 1, len - sides[0].len - 1 };
        return true;
    }
    if (json_array_size(merge) != 2)
        return false;
    for (size_t i = 0; i < 2; i++) {
        const json_t *side = json_array_get(merge, i);
        if (!json_is_string(side))
            return false;
        sides[i] = (struct side){ json_string_value(side), json_string_length(side) };
    }
    return true;
}

static int refuse_merge(const struct reading *reading, size_t rank, const char *what,
                        const char *text, size_t len)
{
    return error_set(reading->err, -EINVAL,
                     "tokenizer.json: model.merges[%zu]: %s \"%.*s\" is not in model.vocab", rank,
                     what, len < 80 ? (int)len : 80, text);
}

/* Which characters does this token join with a U+2581 behind them? */
static void note_joins(struct reading *reading, const char *token, size_t len)
{
    for (size_t i = 1; i + 3 <= len; i++)
        if (memcmp(token + i, "\xE2\x96\x81", 3) == 0)
            reading->bpe->joins[(uint8_t)token[i - 1]] = true;
}

/* A token that may stand for other text than its own. */
static bool is_odd(const struct bpe *bpe, int32_t id, const struct side *side)
{
    return id == bpe->unk_id || (side->len == 6 && memcmp(side->text, "<0x", 3) == 0);
}

static int read_merge(struct reading *reading, size_t rank, const json_t *merge)
{
    struct side sides[2];
    if (!split_merge(merge, sides))
        return error_set(reading->err, -EINVAL,
                         "tokenizer.json: model.merges[%zu] is neither "
                         "\"left right\" nor a list of two strings",
                         rank);
    const int32_t left = pieces_find(reading->texts, sides[0].text, sides[0].len);
    const int32_t right = pieces_find(reading->texts, sides[1].text, sides[1].len);
    if (left < 0 || right < 0)
        return refuse_merge(reading, rank, left < 0 ? "left side" : "right side",
                            sides[left >= 0].text, sides[left >= 0].len);
    strbuf_reset(&reading->joined);
    strbuf_append(&reading->joined, sides[0].text, sides[0].len);
    strbuf_append(&reading->joined, sides[1].text, sides[1].len);
    if (reading->joined.failed)
        return -ENOMEM;
    const char *joined = reading->joined.data != NULL ? reading->joined.data : "";
    const int32_t id = pieces_find(reading->texts, joined, reading->joined.len);
    if (id < 0)
        return refuse_merge(reading, rank, "result", joined, reading->joined.len);
    const uint64_t key = bpe_pairs_key(left, right);
    *bpe_pairs_slot(reading->bpe, key) = key << BPE_PAIRS_RANK_BITS | rank;
    reading->bpe->merged[rank] = id;
    note_joins(reading, joined, reading->joined.len);
    reading->odd_sides |=
        is_odd(reading->bpe, left, &sides[0]) || is_odd(reading->bpe, right, &sides[1]);
    return 0;
}

static int alloc_pairs(struct bpe *bpe, size_t num)
{
    bpe->num_slots = 16;
    while (bpe->num_slots < 2 * num)
        bpe->num_slots *= 2;
    bpe->pairs = malloc(bpe->num_slots * sizeof(*bpe->pairs));
    bpe->merged = malloc((num + 1) * sizeof(*bpe->merged));
    if (bpe->pairs == NULL || bpe->merged == NULL)
        return -ENOMEM;
    memset(bpe->pairs, 0xFF, bpe->num_slots * sizeof(*bpe->pairs));
    return 0;
}

static int read_merges(struct reading *reading, const struct component *c)
{
    json_t *merges;
    int r = component_get(c, "merges", JSON_ARRAY, &merges);
    const size_t num = r == 0 ? json_array_size(merges) : 0;
    if (num >= BPE_PAIRS_NONE)
        return error_set(c->err, -EINVAL,
                         "tokenizer.json: model.merges holds %zu, at most %u are "
                         "read",
                         num, BPE_PAIRS_NONE - 1);
    if (r == 0)
        r = alloc_pairs(reading->bpe, num);
    for (size_t i = 0; r == 0 && i < num; i++)
        r = read_merge(reading, i, json_array_get(merges, i));
    return r;
}

static void read_bytes(struct reading *reading, bool byte_level)
{
    char text[8];
    for (int byte = 0; byte < 256; byte++) {
        const int len = byte_level ? utf8_encode(byte_level_codepoint((uint8_t)byte), text)
                                   : snprintf(text, sizeof(text), "<0x%02X>", (unsigned)byte);
        reading->bpe->byte_ids[byte] = pieces_find(reading->texts, text, (size_t)len);
    }
}

static bool lacks_bytes(const struct bpe *bpe)
{
    bool missing = false;
    for (int byte = 0; byte < 256; byte++)
        missing = missing || bpe->byte_ids[byte] < 0;
    return missing;
}

static int read_chars(struct bpe *bpe, const struct pieces *texts)
{
    int r = char_ids_create(&bpe->chars);
    for (int32_t id = 0; r == 0 && id < texts->num_ids; id++) {
        size_t len, char_len;
        const char *text = pieces_bytes(texts, id, &len);
        if (len == 0)
            continue;
        const uint32_t codepoint = unicode_decode(text, text + len, &char_len);
        if (char_len == len)
            r = char_ids_set(bpe->chars, codepoint, pieces_find(texts, text, len));
    }
    return r;
}

static int read_unk(struct reading *reading, const struct component *c)
{
    const json_t *unk = json_object_get(c->json, "unk_token");
    reading->bpe->unk_id = -1;
    if (unk == NULL || json_is_null(unk))
        return 0;
    if (!json_is_string(unk))
        return component_wrong(c, "unk_token", unk, "a string or null");
    reading->bpe->unk_id =
        pieces_find(reading->texts, json_string_value(unk), json_string_length(unk));
    return 0; /* as in HF, one outside the vocabulary is as good as none */
}

static int read_options(struct bpe *bpe, const struct component *c)
{
    static const char *const refused[] = { "dropout", "continuing_subword_prefix",
                                           "end_of_word_suffix" };
    int r = component_bool(c, "ignore_merges", false, &bpe->ignore_merges);
    if (r == 0)
        r = component_bool(c, "fuse_unk", false, &bpe->fuse_unk);
    if (r == 0)
        r = component_bool(c, "byte_fallback", false, &bpe->byte_fallback);
    for (size_t i = 0; r == 0 && i < sizeof(refused) / sizeof(refused[0]); i++)
        r = component_unset(c, refused[i]);
    return r;
}

static int read_all(struct reading *reading, const struct component *c, bool byte_level)
{
    struct bpe *bpe = reading->bpe;
    int r = read_options(bpe, c);
    if (r == 0)
        r = read_unk(reading, c);
    if (r < 0)
        return r;
    read_bytes(reading, byte_level);
    if (byte_level && bpe->byte_fallback && lacks_bytes(bpe))
        return error_set(c->err, -ENOTSUP,
                         "tokenizer.json: model.byte_fallback is set, and bytes of the ByteLevel "
                         "alphabet are not in model.vocab");
    if (!byte_level)
        r = read_chars(bpe, reading->texts);
    if (r == 0)
        r = read_merges(reading, c);
    bpe->cuts = !byte_level && !bpe->ignore_merges && !reading->odd_sides &&
                pieces_find(reading->texts, "\xE2\x96\x81", 3) >= 0;
    return r;
}

int bpe_read(struct bpe *bpe, const json_t *model, const struct pieces *texts, bool byte_level,
             struct error *err)
{
    const struct component c = { .json = model, .where = "model", .err = err };
    struct bpe local = { 0 };
    struct reading reading = { .bpe = &local, .texts = texts, .err = err };
    const int r = read_all(&reading, &c, byte_level);
    strbuf_finish(&reading.joined);
    if (r < 0)
        bpe_finish(&local);
    else
        *bpe = local;
    return r;
}

void bpe_finish(struct bpe *bpe)
{
    free(bpe->pairs);
    free(bpe->merged);
    char_ids_destroy(bpe->chars);
    *bpe = (struct bpe){ 0 };
}
