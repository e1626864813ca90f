/*
 * unicode.h - character classes of the tokenizer, one byte per code point
 *
 * A two-stage table made once per process from utf8proc's categories, so that the splitters'
 * inner loops are two loads and a mask. The Unicode version is utf8proc's. The classes are
 * those of the regular expressions in tokenizer.json: \p{L}, \p{N}, \s (White_Space), \w.
 * Any thread, once unicode_load() has returned 0.
 */
#ifndef TEXT_UNICODE_H
#define TEXT_UNICODE_H

#include <stddef.h>
#include <stdint.h>

enum unicode_class {
    UNICODE_LETTER = 1,
    UNICODE_NUMBER = 2,
    UNICODE_SPACE = 4,
    UNICODE_NEWLINE = 8,      /* CR and LF; also UNICODE_SPACE */
    UNICODE_WORD = 16,        /* letters, marks, digits, connectors, joiners, enclosed letters */
    UNICODE_NFC_MAYBE = 32,   /* text that holds one may have another NFC; without any it has not */
    UNICODE_PUNCTUATION = 64, /* \p{P}, and what is printable in ASCII but no letter or digit */
};

enum { UNICODE_PAGE_BITS = 7, UNICODE_NUM_PAGES = 0x110000 >> UNICODE_PAGE_BITS };

struct unicode_table {
    uint8_t ascii[128];
    uint16_t pages[UNICODE_NUM_PAGES];
    uint8_t (*classes)[1 << UNICODE_PAGE_BITS]; /* [number of distinct pages] */
};

extern struct unicode_table unicode_table;

/* Make the table unless it is made. Returns 0 or -ENOMEM. */
int unicode_load(void);

static inline unsigned unicode_class(uint32_t codepoint)
{
    const unsigned page = unicode_table.pages[codepoint >> UNICODE_PAGE_BITS];
    return unicode_table.classes[page][codepoint & ((1 << UNICODE_PAGE_BITS) - 1)];
}

/*
 * The code point at `text`, with its length in bytes; `text` is valid UTF-8. Of bytes that are
 * not, the result is some code point, and nothing at or behind `end` is read.
 */
static inline uint32_t unicode_decode(const char *text, const char *end, size_t *ret_len)
{
    const uint8_t *b = (const uint8_t *)text;
    const size_t left = (size_t)(end - text);
    const size_t len = b[0] < 0xC0 ? 1 : b[0] < 0xE0 ? 2 : b[0] < 0xF0 ? 3 : 4;
    *ret_len = len <= left ? len : 1;
    switch (*ret_len) {
    case 1:
        return b[0];
    case 2:
        return (b[0] & 0x1Fu) << 6 | (b[1] & 0x3Fu);
    case 3:
        return (b[0] & 0x0Fu) << 12 | (b[1] & 0x3Fu) << 6 | (b[2] & 0x3Fu);
    default: {
        const uint32_t c =
            (b[0] & 0x07u) << 18 | (b[1] & 0x3Fu) << 12 | (b[2] & 0x3Fu) << 6 | (b[3] & 0x3Fu);
        return c < 0x110000 ? c : 0xFFFD;
    }
    }
}

/* Class of the character at `text` (before `end`), with its length. */
static inline unsigned unicode_class_at(const char *text, const char *end, size_t *ret_len)
{
    const uint8_t byte = (uint8_t)*text;
    if (byte < 0x80) {
        *ret_len = 1;
        return unicode_table.ascii[byte];
    }
    return unicode_class(unicode_decode(text, end, ret_len));
}

#endif
