#include "frontend/session/detokenizer.h"

#include <string.h>

#include "base/utf8.h"

static const char replacement[] = "\xEF\xBF\xBD";

/* Add bytes to the held ones until they are a character or proven to be none. Returns how many
 * of `bytes` were used; the one that disproves is not. */
static size_t resume_held(struct detokenizer *detokenizer, const char *bytes, size_t len,
                          struct strbuf *out)
{
    size_t used = 0;
    while (detokenizer->num_held > 0 && used < len) {
        uint32_t codepoint;
        detokenizer->held[detokenizer->num_held] = bytes[used];
        const int r = utf8_decode(detokenizer->held, detokenizer->num_held + 1u, &codepoint);
        if (r == UTF8_INVALID) {
            strbuf_append(out, replacement, 3);
            detokenizer->num_held = 0;
            break;
        }
        used++;
        detokenizer->num_held++;
        if (r > 0) {
            strbuf_append(out, detokenizer->held, (size_t)r);
            detokenizer->num_held = 0;
        }
    }
    return used;
}

void detokenizer_push(struct detokenizer *detokenizer, const char *bytes, size_t len,
                      struct strbuf *out)
{
    size_t at = resume_held(detokenizer, bytes, len, out);
    while (at < len) {
        uint32_t codepoint;
        const size_t valid = utf8_valid_prefix(bytes + at, len - at);
        strbuf_append(out, bytes + at, valid);
        at += valid;
        if (at == len)
            break;
        if (utf8_decode(bytes + at, len - at, &codepoint) == UTF8_INCOMPLETE) {
            detokenizer->num_held = (uint8_t)(len - at);
            memcpy(detokenizer->held, bytes + at, len - at);
            break;
        }
        strbuf_append(out, replacement, 3);
        at += utf8_invalid_len(bytes + at, len - at);
    }
}

void detokenizer_flush(struct detokenizer *detokenizer, struct strbuf *out)
{
    if (detokenizer->num_held > 0)
        strbuf_append(out, replacement, 3);
    detokenizer->num_held = 0;
}
