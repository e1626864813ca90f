#include "text/unicode.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

enum { PAGE = 1 << UNICODE_PAGE_BITS, NUM_CODEPOINTS = 0x110000, MAX_DECOMPOSED = 18 };

struct unicode_table unicode_table;

static pthread_mutex_t load_mutex = PTHREAD_MUTEX_INITIALIZER;

static const uint8_t category_classes[32] = {
    [UTF8PROC_CATEGORY_LU] = UNICODE_LETTER | UNICODE_WORD,
    [UTF8PROC_CATEGORY_LL] = UNICODE_LETTER | UNICODE_WORD,
    [UTF8PROC_CATEGORY_LT] = UNICODE_LETTER | UNICODE_WORD,
    [UTF8PROC_CATEGORY_LM] = UNICODE_LETTER | UNICODE_WORD,
    [UTF8PROC_CATEGORY_LO] = UNICODE_LETTER | UNICODE_WORD,
    [UTF8PROC_CATEGORY_MN] = UNICODE_WORD,
    [UTF8PROC_CATEGORY_MC] = UNICODE_WORD,
    [UTF8PROC_CATEGORY_ME] = UNICODE_WORD,
    [UTF8PROC_CATEGORY_ND] = UNICODE_NUMBER | UNICODE_WORD,
    [UTF8PROC_CATEGORY_NL] = UNICODE_NUMBER | UNICODE_WORD,
    [UTF8PROC_CATEGORY_NO] = UNICODE_NUMBER,
    [UTF8PROC_CATEGORY_PC] = UNICODE_WORD | UNICODE_PUNCTUATION,
    [UTF8PROC_CATEGORY_PD] = UNICODE_PUNCTUATION,
    [UTF8PROC_CATEGORY_PE] = UNICODE_PUNCTUATION,
    [UTF8PROC_CATEGORY_PF] = UNICODE_PUNCTUATION,
    [UTF8PROC_CATEGORY_PI] = UNICODE_PUNCTUATION,
    [UTF8PROC_CATEGORY_PO] = UNICODE_PUNCTUATION,
    [UTF8PROC_CATEGORY_PS] = UNICODE_PUNCTUATION,
    [UTF8PROC_CATEGORY_ZS] = UNICODE_SPACE,
    [UTF8PROC_CATEGORY_ZL] = UNICODE_SPACE,
    [UTF8PROC_CATEGORY_ZP] = UNICODE_SPACE,
};

/* Letters in circles and squares: Other_Alphabetic of the category So. */
static bool is_enclosed_letter(int32_t c)
{
    return (c >= 0x24B6 && c <= 0x24E9) || (c >= 0x1F130 && c <= 0x1F149) ||
           (c >= 0x1F150 && c <= 0x1F169) || (c >= 0x1F170 && c <= 0x1F189);
}

/* White_Space, Join_Control, Other_Alphabetic and ASCII punctuation outside the categories. */
static unsigned extra_classes(int32_t c)
{
    if (c == '\r' || c == '\n')
        return UNICODE_SPACE | UNICODE_NEWLINE;
    if ((c >= 9 && c <= 13) || c == 0x85)
        return UNICODE_SPACE;
    if (c < 0x80 && strchr("$+<=>^`|~", c) != NULL)
        return c == 0 ? 0 : UNICODE_PUNCTUATION;
    return c == 0x200C || c == 0x200D || is_enclosed_letter(c) ? UNICODE_WORD : 0;
}

static uint8_t base_class(int32_t c)
{
    const utf8proc_property_t *property = utf8proc_get_property(c);
    const unsigned maybe = property->combining_class != 0 ? UNICODE_NFC_MAYBE : 0;
    return (uint8_t)(category_classes[property->category & 31] | extra_classes(c) | maybe);
}

/*
 * What composing can join to the character before it stands second or later in some canonical
 * decomposition; what NFC replaces is a character whose decomposition does not compose back.
 */
static void mark_decomposition(uint8_t *classes, int32_t c)
{
    utf8proc_int32_t parts[MAX_DECOMPOSED];
    int boundary = 0;
    const utf8proc_ssize_t num =
        utf8proc_decompose_char(c, parts, MAX_DECOMPOSED, UTF8PROC_DECOMPOSE, &boundary);
    if (num < 1 || num > MAX_DECOMPOSED || (num == 1 && parts[0] == c))
        return;
    for (utf8proc_ssize_t i = 1; i < num; i++)
        classes[parts[i]] |= UNICODE_NFC_MAYBE;
    if (utf8proc_normalize_utf32(parts, num, UTF8PROC_STABLE | UTF8PROC_COMPOSE) != 1 ||
        parts[0] != c)
        classes[c] |= UNICODE_NFC_MAYBE;
}

static void classify(uint8_t *classes)
{
    for (int32_t c = 0; c < NUM_CODEPOINTS; c++)
        classes[c] = base_class(c);
    for (int32_t c = 0x80; c < NUM_CODEPOINTS; c++)
        if (utf8proc_category(c) != UTF8PROC_CATEGORY_CN)
            mark_decomposition(classes, c);
}

/* Move each distinct page to the front of `classes`; returns their number. */
static size_t share_pages(uint8_t *classes)
{
    size_t num = 0;
    for (size_t p = 0; p < UNICODE_NUM_PAGES; p++) {
        size_t same = 0;
        while (same < num && memcmp(classes + same * PAGE, classes + p * PAGE, PAGE) != 0)
            same++;
        if (same == num)
            memmove(classes + num++ * PAGE, classes + p * PAGE, PAGE);
        unicode_table.pages[p] = (uint16_t)same;
    }
    return num;
}

static int make_table(void)
{
    uint8_t *classes = malloc(NUM_CODEPOINTS);
    if (classes == NULL)
        return -ENOMEM;
    classify(classes);
    memcpy(unicode_table.ascii, classes, sizeof(unicode_table.ascii));
    const size_t num = share_pages(classes);
    void *smaller = realloc(classes, num * PAGE);
    unicode_table.classes = smaller != NULL ? smaller : (void *)classes;
    return 0;
}

int unicode_load(void)
{
    pthread_mutex_lock(&load_mutex);
    const int r = unicode_table.classes == NULL ? make_table() : 0;
    pthread_mutex_unlock(&load_mutex);
    return r;
}
