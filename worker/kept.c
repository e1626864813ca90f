#include "worker/kept.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "shm/status.h"

void kept_write(const struct kept *kept, char *text, size_t size)
{
    snprintf(text, size,
             "stamp=%016" PRIx64 "\nnum_blocks=%d\nmax_num_batched_tokens=%d\nfirst_ns=%" PRId64
             "\neach_ns=%" PRId64 "\n",
             kept->stamp, kept->num_blocks, kept->max_num_batched_tokens, kept->first_ns,
             kept->each_ns);
}

static bool read_number(const char *text, const char *key, int64_t least, int64_t most,
                        int64_t *ret_value)
{
    return status_fact_int(text, key, ret_value) && *ret_value >= least && *ret_value <= most;
}

bool kept_read(const char *text, struct kept *ret_kept)
{
    const int64_t hour_ns = INT64_C(3600) * 1000 * 1000 * 1000;
    int64_t num_blocks, tokens, first_ns, each_ns;
    char stamp[32];
    if (!status_fact_text(text, "stamp", stamp, sizeof(stamp)) ||
        !read_number(text, "num_blocks", 1, INT32_MAX / 64, &num_blocks) ||
        !read_number(text, "max_num_batched_tokens", 1, INT32_MAX, &tokens) ||
        !read_number(text, "first_ns", 0, hour_ns, &first_ns) ||
        !read_number(text, "each_ns", 0, hour_ns, &each_ns))
        return false;
    *ret_kept = (struct kept){ .stamp = strtoull(stamp, NULL, 16),
                               .num_blocks = (int32_t)num_blocks,
                               .max_num_batched_tokens = (int32_t)tokens,
                               .first_ns = first_ns,
                               .each_ns = each_ns };
    return true;
}
