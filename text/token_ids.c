#include "text/token_ids.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void token_ids_finish(struct token_ids *ids)
{
    free(ids->ids);
    *ids = (struct token_ids){ 0 };
}

int token_ids_reserve(struct token_ids *ids, size_t num)
{
    if (num <= ids->cap - ids->num)
        return 0;
    size_t cap = ids->cap < 64 ? 64 : ids->cap;
    while (cap - ids->num < num)
        cap *= 2;
    int32_t *bigger = reallocarray(ids->ids, cap, sizeof(*bigger));
    if (bigger == NULL)
        return -ENOMEM;
    ids->ids = bigger;
    ids->cap = cap;
    return 0;
}

int token_ids_append(struct token_ids *ids, const int32_t *more, size_t num)
{
    const int r = token_ids_reserve(ids, num);
    if (r == 0 && num > 0)
        memcpy(ids->ids + ids->num, more, num * sizeof(*more));
    ids->num += r == 0 ? num : 0;
    return r;
}
