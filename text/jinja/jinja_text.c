#include "text/jinja/jinja_text.h"

#include <ctype.h>
#include <string.h>
#include <utf8proc.h>

#include "base/utf8.h"
#include "text/jinja/jinja_case.h"

bool jinja_text_is_space(uint32_t codepoint)
{
    if (codepoint < 0x80)
        return (codepoint >= 9 && codepoint <= 13) || (codepoint >= 0x1c && codepoint <= 0x20);
    return codepoint == 0x85 || codepoint == 0xa0 || codepoint == 0x1680 ||
           (codepoint >= 0x2000 && codepoint <= 0x200a) || codepoint == 0x2028 ||
           codepoint == 0x2029 || codepoint == 0x202f || codepoint == 0x205f || codepoint == 0x3000;
}

bool jinja_text_is_line_end(uint32_t codepoint)
{
    return (codepoint >= 10 && codepoint <= 13) || (codepoint >= 0x1c && codepoint <= 0x1e) ||
           codepoint == 0x85 || codepoint == 0x2028 || codepoint == 0x2029;
}

/* The character at `at`; what is not UTF-8 counts as one byte. */
static size_t decode(const char *text, size_t len, size_t at, uint32_t *ret_codepoint)
{
    const int n = utf8_decode(text + at, len - at, ret_codepoint);
    if (n > 0)
        return (size_t)n;
    *ret_codepoint = 0xfffd;
    return 1;
}

size_t jinja_text_leading_space(const char *text, size_t len)
{
    uint32_t codepoint;
    size_t at = 0;
    while (at < len) {
        const size_t n = decode(text, len, at, &codepoint);
        if (!jinja_text_is_space(codepoint))
            break;
        at += n;
    }
    return at;
}

size_t jinja_text_trimmed(const char *text, size_t len)
{
    while (len > 0) {
        uint32_t codepoint;
        size_t at = len - 1;
        while (at > 0 && ((unsigned char)text[at] & 0xc0) == 0x80)
            at--;
        decode(text, len, at, &codepoint);
        if (!jinja_text_is_space(codepoint))
            break;
        len = at;
    }
    return len;
}

static bool is_letter(uint32_t codepoint)
{
    switch (utf8proc_category((utf8proc_int32_t)codepoint)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
        return true;
    default:
        return false;
    }
}

static bool is_decimal(uint32_t codepoint)
{
    return utf8proc_category((utf8proc_int32_t)codepoint) == UTF8PROC_CATEGORY_ND;
}

static bool is_numeric(uint32_t codepoint)
{
    const utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)codepoint);
    return category == UTF8PROC_CATEGORY_ND || category == UTF8PROC_CATEGORY_NL ||
           category == UTF8PROC_CATEGORY_NO;
}

size_t jinja_text_name_len(const char *text, size_t len)
{
    size_t at = 0;
    while (at < len) {
        uint32_t codepoint;
        const size_t n = decode(text, len, at, &codepoint);
        const bool letter = codepoint == '_' || is_letter(codepoint);
        if (!letter && (at == 0 || !is_decimal(codepoint)))
            break;
        at += n;
    }
    return at;
}

static void append_codepoint(struct strbuf *out, uint32_t codepoint)
{
    char bytes[4];
    strbuf_append(out, bytes, (size_t)utf8_encode(codepoint, bytes));
}

static void append_upper(struct strbuf *out, uint32_t codepoint, bool title)
{
    const char *special = codepoint < 0x80 ? NULL : jinja_case_special(codepoint, title);
    const utf8proc_int32_t c = (utf8proc_int32_t)codepoint;
    if (special != NULL)
        strbuf_append_text(out, special);
    else
        append_codepoint(out, (uint32_t)(title ? utf8proc_totitle(c) : utf8proc_toupper(c)));
}

static bool is_cased(uint32_t codepoint)
{
    const utf8proc_int32_t c = (utf8proc_int32_t)codepoint;
    return utf8proc_category(c) == UTF8PROC_CATEGORY_LT || utf8proc_islower(c) ||
           utf8proc_isupper(c) || utf8proc_tolower(c) != c || utf8proc_toupper(c) != c;
}

static bool is_case_ignorable(uint32_t codepoint)
{
    switch (utf8proc_category((utf8proc_int32_t)codepoint)) {
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_SK:
        return true;
    default:
        return codepoint == '\'' || codepoint == '.' || codepoint == ':' || codepoint == 0xb7 ||
               codepoint == 0x2018 || codepoint == 0x2019 || codepoint == 0x2024 ||
               codepoint == 0x2027;
    }
}

/* A sigma is final where a cased letter stands before it and none behind it. */
static bool is_final_sigma(const char *text, size_t len, size_t at)
{
    uint32_t codepoint = 0;
    size_t before = at;
    bool cased = false;
    while (before > 0) {
        do
            before--;
        while (before > 0 && ((unsigned char)text[before] & 0xc0) == 0x80);
        decode(text, len, before, &codepoint);
        if (is_case_ignorable(codepoint))
            continue;
        cased = is_cased(codepoint);
        break;
    }
    for (size_t after = at + 2; cased && after < len;) {
        after += decode(text, len, after, &codepoint);
        if (!is_case_ignorable(codepoint))
            return !is_cased(codepoint);
    }
    return cased;
}

static void append_lower(struct strbuf *out, const char *text, size_t len, size_t at,
                         uint32_t codepoint)
{
    if (codepoint == 0x3a3)
        append_codepoint(out, is_final_sigma(text, len, at) ? 0x3c2 : 0x3c3);
    else if (codepoint == 0x130)
        strbuf_append_text(out, "i\xcc\x87");
    else
        append_codepoint(out, (uint32_t)utf8proc_tolower((utf8proc_int32_t)codepoint));
}

static bool goes_up(enum jinja_case to, uint32_t codepoint, size_t at, bool after_cased)
{
    switch (to) {
    case JINJA_LOWER:
        return false;
    case JINJA_UPPER:
        return true;
    case JINJA_CAPITALIZE:
        return at == 0;
    case JINJA_TITLE:
        return !after_cased;
    case JINJA_SWAPCASE:
        return !utf8proc_isupper((utf8proc_int32_t)codepoint);
    }
    return false;
}

void jinja_text_convert(struct strbuf *out, const char *text, size_t len, enum jinja_case to)
{
    bool after_cased = false;
    for (size_t at = 0; at < len && !out->failed;) {
        uint32_t codepoint;
        const size_t n = decode(text, len, at, &codepoint);
        if (goes_up(to, codepoint, at, after_cased))
            append_upper(out, codepoint, to == JINJA_TITLE || to == JINJA_CAPITALIZE);
        else
            append_lower(out, text, len, at, codepoint);
        after_cased = is_cased(codepoint);
        at += n;
    }
}

bool jinja_text_is_printable(uint32_t codepoint)
{
    if (codepoint < 0x7f)
        return codepoint >= 0x20;
    switch (utf8proc_category((utf8proc_int32_t)codepoint)) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
    case UTF8PROC_CATEGORY_ZS:
        return false;
    default:
        return true;
    }
}

static bool char_is(uint32_t codepoint, enum jinja_class wanted)
{
    switch (wanted) {
    case JINJA_ALPHA:
        return is_letter(codepoint);
    case JINJA_ALNUM:
        return is_letter(codepoint) || is_numeric(codepoint);
    case JINJA_DIGIT:
        return is_decimal(codepoint);
    case JINJA_SPACE:
        return jinja_text_is_space(codepoint);
    case JINJA_ASCII:
        return codepoint < 0x80;
    default:
        return jinja_text_is_printable(codepoint);
    }
}

/* islower() and isupper(): no letter of the other case, and one of this at least. */
static bool is_all_case(const char *text, size_t len, bool upper)
{
    bool seen = false;
    for (size_t at = 0; at < len;) {
        uint32_t codepoint;
        at += decode(text, len, at, &codepoint);
        const utf8proc_int32_t c = (utf8proc_int32_t)codepoint;
        const bool title = utf8proc_category(c) == UTF8PROC_CATEGORY_LT;
        if (title || (upper ? utf8proc_islower(c) : utf8proc_isupper(c)))
            return false;
        seen = seen || (upper ? utf8proc_isupper(c) : utf8proc_islower(c));
    }
    return seen;
}

static bool is_title(const char *text, size_t len)
{
    bool after_cased = false, seen = false;
    for (size_t at = 0; at < len;) {
        uint32_t codepoint;
        at += decode(text, len, at, &codepoint);
        const utf8proc_int32_t c = (utf8proc_int32_t)codepoint;
        const bool up = utf8proc_isupper(c) || utf8proc_category(c) == UTF8PROC_CATEGORY_LT;
        const bool low = utf8proc_islower(c);
        if ((up && after_cased) || (low && !after_cased))
            return false;
        after_cased = up || low;
        seen = seen || after_cased;
    }
    return seen;
}

bool jinja_text_is(const char *text, size_t len, enum jinja_class wanted)
{
    if (wanted == JINJA_IS_LOWER || wanted == JINJA_IS_UPPER)
        return is_all_case(text, len, wanted == JINJA_IS_UPPER);
    if (wanted == JINJA_IS_TITLE)
        return is_title(text, len);
    if (len == 0)
        return wanted == JINJA_ASCII || wanted == JINJA_PRINTABLE;
    for (size_t at = 0; at < len;) {
        uint32_t codepoint;
        at += decode(text, len, at, &codepoint);
        if (!char_is(codepoint, wanted))
            return false;
    }
    return true;
}
