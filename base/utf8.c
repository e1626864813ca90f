#include "base/utf8.h"

struct lead {
    uint8_t first, last; /* range of the lead byte */
    uint8_t len;         /* bytes in the character */
    uint8_t low, high;   /* range of the second byte */
};

static const struct lead leads[] = {
    { 0xC2, 0xDF, 2, 0x80, 0xBF }, { 0xE0, 0xE0, 3, 0xA0, 0xBF }, { 0xE1, 0xEC, 3, 0x80, 0xBF },
    { 0xED, 0xED, 3, 0x80, 0x9F }, { 0xEE, 0xEF, 3, 0x80, 0xBF }, { 0xF0, 0xF0, 4, 0x90, 0xBF },
    { 0xF1, 0xF3, 4, 0x80, 0xBF }, { 0xF4, 0xF4, 4, 0x80, 0x8F },
};

static const struct lead *find_lead(uint8_t byte)
{
    for (size_t i = 0; i < sizeof(leads) / sizeof(leads[0]); i++)
        if (byte >= leads[i].first && byte <= leads[i].last)
            return &leads[i];
    return NULL;
}

/* How many of the bytes belong to the character begun at `b`; *ret_len is its full length. */
static size_t good_bytes(const uint8_t *b, size_t len, int *ret_len)
{
    const struct lead *lead = find_lead(b[0]);
    if (lead == NULL)
        return 0;
    *ret_len = lead->len;
    for (size_t i = 1; i < lead->len; i++) {
        const uint8_t low = i == 1 ? lead->low : 0x80, high = i == 1 ? lead->high : 0xBF;
        if (i == len || b[i] < low || b[i] > high)
            return i;
    }
    return lead->len;
}

int utf8_decode(const char *text, size_t len, uint32_t *ret_codepoint)
{
    const uint8_t *b = (const uint8_t *)text;
    int want = 0;
    if (b[0] < 0x80) {
        *ret_codepoint = b[0];
        return 1;
    }
    const size_t good = good_bytes(b, len, &want);
    if (good == 0 || (good < (size_t)want && good < len))
        return UTF8_INVALID;
    if (good < (size_t)want)
        return UTF8_INCOMPLETE;
    uint32_t codepoint = b[0] & (0x7Fu >> want);
    for (int i = 1; i < want; i++)
        codepoint = codepoint << 6 | (b[i] & 0x3Fu);
    *ret_codepoint = codepoint;
    return want;
}

int utf8_encode(uint32_t c, char out[4])
{
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    if (c < 0x800) {
        out[0] = (char)(0xC0 | c >> 6);
        out[1] = (char)(0x80 | (c & 0x3F));
        return 2;
    }
    if (c >= 0xD800 && c < 0xE000)
        return 0;
    if (c < 0x10000) {
        out[0] = (char)(0xE0 | c >> 12);
        out[1] = (char)(0x80 | (c >> 6 & 0x3F));
        out[2] = (char)(0x80 | (c & 0x3F));
        return 3;
    }
    if (c > 0x10FFFF)
        return 0;
    out[0] = (char)(0xF0 | c >> 18);
    out[1] = (char)(0x80 | (c >> 12 & 0x3F));
    out[2] = (char)(0x80 | (c >> 6 & 0x3F));
    out[3] = (char)(0x80 | (c & 0x3F));
    return 4;
}

size_t utf8_valid_prefix(const char *text, size_t len)
{
    size_t at = 0;
    while (at < len) {
        uint32_t codepoint;
        if ((unsigned char)text[at] < 0x80) {
            at++;
            continue;
        }
        const int n = utf8_decode(text + at, len - at, &codepoint);
        if (n <= 0)
            break;
        at += (size_t)n;
    }
    return at;
}

size_t utf8_invalid_len(const char *text, size_t len)
{
    int want = 0;
    const size_t good = good_bytes((const uint8_t *)text, len, &want);
    return good == 0 ? 1 : good;
}

size_t utf8_count(const char *text, size_t len)
{
    size_t n = 0;
    for (size_t i = 0; i < len; i++)
        n += ((unsigned char)text[i] & 0xC0) != 0x80;
    return n;
}
