/* Values of blocks against those of the `gguf` Python package, recorded by
 * tests/golden/gguf_files.py. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"
#include "formats/block.h"
#include "tests/unit/formats/seeded.h"
#include "tests/unit/runner.h"

enum { NUM_SEEDED = 2000, MAX_BYTES = 210 };

static json_t *record;

static void setup(void)
{
    struct error err;
    ck_assert_int_eq(
        json_read_file(GOLDEN "blocks.json", 1 << 20, &json_limits_file, &record, &err), 0);
}

static void teardown(void)
{
    json_decref(record);
}

static uint32_t type_named(const char *name)
{
    for (uint32_t type = 0; type < BLOCK_MAX_TYPES; type++)
        if (block_info(type) != NULL && strcmp(block_info(type)->name, name) == 0)
            return type;
    ck_abort_msg("no type %s", name);
    return 0;
}

static uint64_t hex(const json_t *value)
{
    return strtoull(json_string_value(value), NULL, 16);
}

static void read_bytes(const json_t *text, unsigned char *to, size_t num)
{
    const char *digits = json_string_value(text);
    ck_assert_uint_eq(strlen(digits), 2 * num);
    for (size_t i = 0; i < num; i++) {
        const char pair[3] = { digits[2 * i], digits[2 * i + 1], '\0' };
        to[i] = (unsigned char)strtoul(pair, NULL, 16);
    }
}

START_TEST(seeded_blocks_of_every_type_have_the_recorded_bits)
{
    const char *name;
    json_t *entry;
    static unsigned char bytes[NUM_SEEDED * MAX_BYTES];
    static float values[NUM_SEEDED * BLOCK_MAX_ELEMENTS];
    ck_assert_uint_eq(json_object_size(record), 13);
    json_object_foreach(record, name, entry)
    {
        const uint32_t type = type_named(name);
        const struct block_info *info = block_info(type);
        seeded_bytes((uint64_t)json_integer_value(json_object_get(entry, "seed")), bytes,
                     NUM_SEEDED * (size_t)info->bytes);
        block_widen(type, bytes, values, NUM_SEEDED);
        ck_assert_msg(seeded_hash(values, NUM_SEEDED * (size_t)info->elements) ==
                          hex(json_object_get(entry, "hash")),
                      "%s: other values than recorded", name);
    }
}
END_TEST

/* Scales of zero, subnormal, largest, infinite; quants all zero, all ones, counting. */
START_TEST(written_blocks_have_the_recorded_bits)
{
    const char *name;
    json_t *entry, *block;
    size_t i;
    json_object_foreach(record, name, entry)
    {
        const uint32_t type = type_named(name);
        const struct block_info *info = block_info(type);
        json_array_foreach(json_object_get(entry, "blocks"), i, block)
        {
            unsigned char bytes[MAX_BYTES];
            float values[BLOCK_MAX_ELEMENTS];
            read_bytes(json_object_get(block, "bytes"), bytes, (size_t)info->bytes);
            block_widen(type, bytes, values, 1);
            ck_assert_msg(seeded_hash(values, (size_t)info->elements) ==
                              hex(json_object_get(block, "hash")),
                          "%s: other values than recorded in block %zu", name, i);
        }
    }
}
END_TEST

START_TEST(each_value_of_one_block_is_the_recorded_one)
{
    const char *name;
    json_t *entry, *value;
    size_t i;
    json_object_foreach(record, name, entry)
    {
        const uint32_t type = type_named(name);
        const struct block_info *info = block_info(type);
        const json_t *values_wanted = json_object_get(entry, "values");
        unsigned char bytes[MAX_BYTES];
        float values[BLOCK_MAX_ELEMENTS];
        read_bytes(json_object_get(json_array_get(json_object_get(entry, "blocks"), 2), "bytes"),
                   bytes, (size_t)info->bytes);
        block_widen(type, bytes, values, 1);
        ck_assert_uint_eq(json_array_size(values_wanted), (size_t)info->elements);
        json_array_foreach(values_wanted, i, value)
        {
            uint32_t bits;
            memcpy(&bits, &values[i], sizeof(bits));
            ck_assert_msg(bits == hex(value), "%s: element %zu is %g", name, i, (double)values[i]);
        }
    }
}
END_TEST

START_TEST(types_out_of_use_or_unknown_have_no_info)
{
    const uint32_t removed[] = { 4, 5, 31, 32, 33, 36, 37, 38, 40, 99, UINT32_MAX };
    for (size_t i = 0; i < sizeof(removed) / sizeof(removed[0]); i++)
        ck_assert_ptr_null(block_info(removed[i]));
}
END_TEST

RUN_SUITE_AROUND("block", setup, teardown, seeded_blocks_of_every_type_have_the_recorded_bits,
                 written_blocks_have_the_recorded_bits, each_value_of_one_block_is_the_recorded_one,
                 types_out_of_use_or_unknown_have_no_info)
