#include "text/byte_level.h"

#include <stdbool.h>

#include "text/unicode.h"

enum { FIRST_SHIFTED = 0x100, NUM_SHIFTED = 68 };

static bool is_itself(uint32_t byte)
{
    return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) ||
           (byte >= 0xAE && byte <= 0xFF);
}

/* The shifted bytes are three runs: 00-20, 7F-A0, AD. */
static int shifted_byte(uint32_t index)
{
    if (index <= 0x20)
        return (int)index;
    return index < NUM_SHIFTED - 1 ? (int)(index - 0x21 + 0x7F) : 0xAD;
}

static int byte_of(uint32_t codepoint)
{
    if (is_itself(codepoint))
        return (int)codepoint;
    if (codepoint < FIRST_SHIFTED || codepoint >= FIRST_SHIFTED + NUM_SHIFTED)
        return -1;
    return shifted_byte(codepoint - FIRST_SHIFTED);
}

int64_t byte_level_decode(const char *text, size_t len, char *out)
{
    const char *end = text + len;
    int64_t num = 0;
    while (text < end) {
        size_t n;
        const int byte = byte_of(unicode_decode(text, end, &n));
        if (byte < 0)
            return -1;
        out[num++] = (char)byte;
        text += n;
    }
    return num;
}

uint32_t byte_level_codepoint(uint8_t byte)
{
    if (is_itself(byte))
        return byte;
    if (byte == 0xAD)
        return FIRST_SHIFTED + NUM_SHIFTED - 1;
    return byte <= 0x20 ? FIRST_SHIFTED + byte : FIRST_SHIFTED + 0x21 + byte - 0x7F;
}
