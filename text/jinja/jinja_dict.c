#include <errno.h>
#include <math.h>
#include <string.h>

#include "text/jinja/jinja_value.h"

/* Below this many entries a walk beats a table. */
enum { SMALL_DICT = 8 };

struct jinja_dict *jinja_dict_create(struct jinja_run *run)
{
    return jinja_run_alloc(run, 1, sizeof(struct jinja_dict));
}

static uint64_t mix(uint64_t hash, uint64_t word)
{
    hash = (hash ^ word) * 0x9e3779b97f4a7c15u;
    return hash ^ (hash >> 29);
}

static uint64_t hash_bytes(struct jinja_run *run, const char *data, size_t len)
{
    uint64_t hash = mix(run->seed, len);
    uint64_t word = 0;

    jinja_run_charge(run, len);
    for (; len >= sizeof(word); data += sizeof(word), len -= sizeof(word)) {
        memcpy(&word, data, sizeof(word));
        hash = mix(hash, word);
    }
    word = 0;
    if (len > 0)
        memcpy(&word, data, len);
    return mix(hash, word);
}

static uint64_t hash_real(const struct jinja_run *run, double real)
{
    uint64_t bits;
    if (real >= -9223372036854775808.0 && real < 9223372036854775808.0 && floor(real) == real)
        return mix(run->seed, (uint64_t)(int64_t)real); /* 1.0 and 1 are one key */
    memcpy(&bits, &real, sizeof(bits));
    return mix(run->seed, bits);
}

/* False for what Python cannot hash: a list, or a tuple with one inside. */
static bool hash_value(struct jinja_run *run, struct jinja_value key, uint64_t *ret_hash)
{
    uint64_t hash = run->seed, part;
    switch (key.type) {
    case JINJA_LIST:
    case JINJA_DICT:
        return false;
    case JINJA_VIEW:
        return key.of.view->kind == JINJA_VIEW_VALUES;
    case JINJA_STRING:
        hash = hash_bytes(run, key.of.string->data, key.of.string->len);
        break;
    case JINJA_BOOL:
    case JINJA_INT:
        hash = mix(run->seed, (uint64_t)key.of.integer);
        break;
    case JINJA_FLOAT:
        hash = hash_real(run, key.of.real);
        break;
    case JINJA_TUPLE:
        if (!jinja_run_enter(run))
            return true;
        bool fine = true;
        for (size_t i = 0; fine && i < key.of.list->num; i++) {
            fine = hash_value(run, key.of.list->items[i], &part);
            hash = fine ? mix(hash, part) : hash;
        }
        jinja_run_leave(run);
        if (!fine)
            return false;
        break;
    default:
        break;
    }
    *ret_hash = hash;
    return true;
}

static bool entry_is(struct jinja_run *run, const struct jinja_entry *entry, uint64_t hash,
                     struct jinja_value key)
{
    return entry->hash == hash && jinja_equal(run, entry->key, key);
}

static struct jinja_entry *find_hashed(struct jinja_run *run, const struct jinja_dict *dict,
                                       uint64_t hash, struct jinja_value key)
{
    if (dict->slots == NULL) {
        for (size_t i = 0; i < dict->num; i++)
            if (entry_is(run, &dict->entries[i], hash, key))
                return &dict->entries[i];
        return NULL;
    }
    for (size_t at = hash & (dict->num_slots - 1); dict->slots[at] != 0;
         at = (at + 1) & (dict->num_slots - 1))
        if (entry_is(run, &dict->entries[dict->slots[at] - 1], hash, key))
            return &dict->entries[dict->slots[at] - 1];
    return NULL;
}

static void put_slot(struct jinja_dict *dict, size_t index)
{
    size_t at = dict->entries[index].hash & (dict->num_slots - 1);
    while (dict->slots[at] != 0)
        at = (at + 1) & (dict->num_slots - 1);
    dict->slots[at] = (uint32_t)(index + 1);
}

/* The table stays at most half full. */
static bool index_entries(struct jinja_run *run, struct jinja_dict *dict)
{
    if (dict->num <= SMALL_DICT)
        return true;
    if (dict->num * 2 <= dict->num_slots) {
        put_slot(dict, dict->num - 1);
        return true;
    }
    const size_t num_slots = dict->num_slots == 0 ? (size_t)SMALL_DICT * 8 : dict->num_slots * 2;
    uint32_t *slots = jinja_run_alloc(run, num_slots, sizeof(*slots));
    if (slots == NULL)
        return false;
    dict->slots = slots;
    dict->num_slots = num_slots;
    for (size_t i = 0; i < dict->num; i++)
        put_slot(dict, i);
    return true;
}

void jinja_dict_set(struct jinja_run *run, struct jinja_dict *dict, struct jinja_value key,
                    struct jinja_value value)
{
    uint64_t hash = 0;
    if (dict == NULL || !jinja_run_charge(run, 0))
        return;
    if (!hash_value(run, key, &hash)) {
        jinja_run_fail(run, -EINVAL, "a %s cannot be a key", jinja_type_name(key));
        return;
    }
    struct jinja_entry *entry = find_hashed(run, dict, hash, key);
    if (entry != NULL) {
        entry->value = value;
        return;
    }
    struct jinja_entry *entries =
        jinja_run_grow(run, dict->entries, dict->num, &dict->cap, sizeof(*entries));
    if (entries == NULL)
        return;
    dict->entries = entries;
    entries[dict->num++] = (struct jinja_entry){ key, value, hash };
    if (!index_entries(run, dict))
        dict->num--;
}

struct jinja_entry *jinja_dict_find(struct jinja_run *run, const struct jinja_dict *dict,
                                    struct jinja_value key)
{
    uint64_t hash = 0;
    if (!hash_value(run, key, &hash))
        return NULL;
    return find_hashed(run, dict, hash, key);
}

struct jinja_entry *jinja_dict_find_text(struct jinja_run *run, const struct jinja_dict *dict,
                                         const char *text, size_t len)
{
    struct jinja_string string = { .data = text, .len = len };
    return jinja_dict_find(run, dict,
                           (struct jinja_value){ .type = JINJA_STRING, .of.string = &string });
}
