#include "text/decoder.h"

#include <errno.h>
#include <string.h>

#include "text/byte_level.h"
#include "text/component.h"

static int add_stage(const struct component *c, void *target, enum decoder_type type)
{
    struct decoder *decoder = target;
    if (decoder->num_stages == DECODER_STAGES_MAX)
        return error_set(c->err, -EINVAL, "tokenizer.json: %s: more than %d stages", c->where,
                         DECODER_STAGES_MAX);
    decoder->stages[decoder->num_stages++].type = type;
    return 0;
}

static int read_byte_level(const struct component *c, void *target)
{
    return add_stage(c, target, DECODER_BYTE_LEVEL);
}

static const struct component_row rows[] = {
    { "ByteLevel", read_byte_level },
};

int decoder_read(struct decoder *decoder, const json_t *root, struct error *err)
{
    const int r = component_read(root, "decoder", "decoders", rows, sizeof(rows) / sizeof(rows[0]),
                                 decoder, err);
    if (r == 0 && decoder->num_stages == 0)
        return error_set(err, -ENOTSUP, "tokenizer.json: decoder is missing, wanted ByteLevel");
    if (r == 0 && decoder->num_stages > 1)
        return error_set(err, -ENOTSUP,
                         "tokenizer.json: decoder has %d stages, wanted one ByteLevel",
                         decoder->num_stages);
    return r;
}

size_t decoder_run(const struct decoder *decoder, const char *text, size_t len, char *out,
                   bool *ret_literal)
{
    (void)decoder; /* one stage of one type */
    const int64_t num = byte_level_decode(text, len, out);
    *ret_literal = num < 0;
    if (num >= 0)
        return (size_t)num;
    memcpy(out, text, len);
    return len;
}
