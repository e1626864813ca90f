/*
 * char_ids.h - the ids of a vocabulary's single characters, by code point
 *
 * Two stages, so that a look-up is two loads. Filled while loading, then immutable.
 */
#ifndef TEXT_CHAR_IDS_H
#define TEXT_CHAR_IDS_H

#include <stdint.h>

enum { CHAR_IDS_PAGE_BITS = 7, CHAR_IDS_NUM_PAGES = 0x110000 >> CHAR_IDS_PAGE_BITS };

struct char_ids {
    uint16_t pages[CHAR_IDS_NUM_PAGES];      /* page 0 holds no id */
    int32_t (*ids)[1 << CHAR_IDS_PAGE_BITS]; /* [num_pages], -1: no id */
    int32_t num_pages;
};

/* Returns 0 or -ENOMEM. */
int char_ids_create(struct char_ids **ret_chars);
void char_ids_destroy(struct char_ids *chars);

/* Returns 0 or -ENOMEM. `codepoint` <= 0x10FFFF. */
int char_ids_set(struct char_ids *chars, uint32_t codepoint, int32_t id);

/* Its id, or -1. */
static inline int32_t char_ids_get(const struct char_ids *chars, uint32_t codepoint)
{
    return chars->ids[chars->pages[codepoint >> CHAR_IDS_PAGE_BITS]]
                     [codepoint & ((1 << CHAR_IDS_PAGE_BITS) - 1)];
}

#endif
