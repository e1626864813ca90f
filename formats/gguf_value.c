#include "formats/gguf_value.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static uint64_t join(const unsigned char *at, int num)
{
    uint64_t value = 0;
    for (int i = num - 1; i >= 0; i--)
        value = value << 8 | at[i];
    return value;
}

static int compare_keys(const void *left, const void *right)
{
    const struct gguf_value *a = left, *b = right;
    return strcmp(a->key, b->key);
}

const struct gguf_value *gguf_find(const struct gguf *gguf, const char *key)
{
    const struct gguf_value wanted = { .key = key };
    return bsearch(&wanted, gguf->values, (size_t)gguf->num_values, sizeof(wanted), compare_keys);
}

bool gguf_value_int(const struct gguf_value *value, uint64_t index, int64_t *ret)
{
    const unsigned char *at = value->at;
    if (index >= value->num)
        return false;
    switch (value->type) {
    case GGUF_U8:
        *ret = at[index];
        return true;
    case GGUF_I8:
        *ret = (int8_t)at[index];
        return true;
    case GGUF_U16:
        *ret = (int64_t)join(at + 2 * index, 2);
        return true;
    case GGUF_I16:
        *ret = (int16_t)join(at + 2 * index, 2);
        return true;
    case GGUF_U32:
        *ret = (int64_t)join(at + 4 * index, 4);
        return true;
    case GGUF_I32:
        *ret = (int32_t)join(at + 4 * index, 4);
        return true;
    case GGUF_U64:
        *ret = (int64_t)join(at + 8 * index, 8);
        return *ret >= 0;
    case GGUF_I64:
        *ret = (int64_t)join(at + 8 * index, 8);
        return true;
    default:
        return false;
    }
}

bool gguf_value_real(const struct gguf_value *value, uint64_t index, double *ret)
{
    if (index >= value->num)
        return false;
    if (value->type == GGUF_F32) {
        const uint32_t bits = (uint32_t)join(value->at + 4 * index, 4);
        float real;
        memcpy(&real, &bits, sizeof(real));
        *ret = (double)real;
        return true;
    }
    if (value->type == GGUF_F64) {
        const uint64_t bits = join(value->at + 8 * index, 8);
        memcpy(ret, &bits, sizeof(*ret));
        return true;
    }
    int64_t number;
    if (!gguf_value_int(value, index, &number))
        return false;
    *ret = (double)number;
    return true;
}

bool gguf_value_next(const struct gguf_value *value, const unsigned char **at, const char **ret,
                     size_t *ret_len)
{
    if (value->type != GGUF_STRING || *at >= value->end)
        return false;
    *ret_len = (size_t)join(*at, 8); /* checked by gguf_parse() */
    *ret = (const char *)*at + 8;
    *at += 8 + *ret_len;
    return true;
}

static int refuse_type(const struct gguf_value *value, const char *wanted, struct error *err)
{
    return error_set(err, -EINVAL, "%.120s is of value type %u%s, wanted %s", value->key,
                     value->type, value->is_array ? " (an array)" : "", wanted);
}

int gguf_int(const struct gguf *gguf, const char *key, int64_t min, int64_t max, int64_t *ret,
             struct error *err)
{
    const struct gguf_value *value = gguf_find(gguf, key);
    int64_t number;
    if (value == NULL)
        return 0;
    if (value->is_array || !gguf_value_int(value, 0, &number))
        return refuse_type(value, "an integer", err);
    if (number < min || number > max)
        return error_set(err, -EINVAL, "%.120s is %" PRId64 ", wanted %" PRId64 " to %" PRId64, key,
                         number, min, max);
    *ret = number;
    return 1;
}

int gguf_real(const struct gguf *gguf, const char *key, double *ret, struct error *err)
{
    const struct gguf_value *value = gguf_find(gguf, key);
    if (value == NULL)
        return 0;
    if (value->is_array || !gguf_value_real(value, 0, ret))
        return refuse_type(value, "a number", err);
    if (*ret - *ret != 0)
        return error_set(err, -EINVAL, "%.120s is not finite", key);
    return 1;
}

int gguf_bool(const struct gguf *gguf, const char *key, bool *ret, struct error *err)
{
    const struct gguf_value *value = gguf_find(gguf, key);
    if (value == NULL)
        return 0;
    if (value->is_array || value->type != GGUF_BOOL)
        return refuse_type(value, "a bool", err);
    *ret = value->at[0] != 0;
    return 1;
}

int gguf_text(const struct gguf *gguf, const char *key, const char **ret, size_t *ret_len,
              struct error *err)
{
    const struct gguf_value *value = gguf_find(gguf, key);
    if (value == NULL)
        return 0;
    if (value->is_array || value->type != GGUF_STRING)
        return refuse_type(value, "a string", err);
    const unsigned char *at = value->at;
    gguf_value_next(value, &at, ret, ret_len);
    return 1;
}
