#include "text/char_ids.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int add_page(struct char_ids *chars)
{
    const size_t num = (size_t)chars->num_pages;
    if ((num & (num - 1)) == 0) { /* a power of two is full */
        void *bigger = reallocarray(chars->ids, num > 0 ? 2 * num : 1, sizeof(*chars->ids));
        if (bigger == NULL)
            return -ENOMEM;
        chars->ids = bigger;
    }
    memset(chars->ids[num], 0xFF, sizeof(*chars->ids));
    chars->num_pages++;
    return 0;
}

int char_ids_create(struct char_ids **ret_chars)
{
    struct char_ids *chars = calloc(1, sizeof(*chars));
    if (chars == NULL || add_page(chars) < 0) {
        free(chars);
        return -ENOMEM;
    }
    *ret_chars = chars;
    return 0;
}

void char_ids_destroy(struct char_ids *chars)
{
    if (chars == NULL)
        return;
    free(chars->ids);
    free(chars);
}

int char_ids_set(struct char_ids *chars, uint32_t codepoint, int32_t id)
{
    uint16_t *page = &chars->pages[codepoint >> CHAR_IDS_PAGE_BITS];
    if (*page == 0) {
        if (add_page(chars) < 0)
            return -ENOMEM;
        *page = (uint16_t)(chars->num_pages - 1);
    }
    chars->ids[*page][codepoint & ((1 << CHAR_IDS_PAGE_BITS) - 1)] = id;
    return 0;
}
