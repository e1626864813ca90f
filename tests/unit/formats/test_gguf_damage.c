/* Every kind of damage to a header: an error with a sentence, never a crash. */
#include <check.h>
#include <errno.h>
#include <stdlib.h>

#include "formats/gguf_value.h"
#include "tests/unit/runner.h"

static unsigned char bytes[1 << 16];
static size_t len;
static struct gguf gguf;
static struct error err;

static void put(const void *data, size_t num)
{
    ck_assert_uint_le(num, sizeof(bytes) - len);
    memcpy(bytes + len, data, num);
    len += num;
}

static void put_u32(uint32_t value)
{
    put(&value, 4);
}

static void put_u64(uint64_t value)
{
    put(&value, 8);
}

static void put_text(const char *text)
{
    put_u64(strlen(text));
    put(text, strlen(text));
}

static void begin(uint32_t version, uint64_t tensors, uint64_t keys)
{
    len = 0;
    put("GGUF", 4);
    put_u32(version);
    put_u64(tensors);
    put_u64(keys);
}

static void put_u32_key(const char *key, uint32_t value)
{
    put_text(key);
    put_u32(GGUF_U32);
    put_u32(value);
}

static void put_tensor(const char *name, uint64_t dim, uint32_t type, uint64_t offset)
{
    put_text(name);
    put_u32(1);
    put_u64(dim);
    put_u32(type);
    put_u64(offset);
}

/* `num` bytes of data, behind the padding. */
static void put_data(size_t num)
{
    const size_t at = (len + 31) / 32 * 32;
    memset(bytes + len, 0, at + num - len);
    len = at + num;
}

static int parse(void)
{
    arena_finish(&gguf.arena);
    gguf = (struct gguf){ .fd = -1 };
    arena_init(&gguf.arena, 0);
    return gguf_parse(bytes, len, len, &gguf, &err);
}

static void teardown(void)
{
    arena_finish(&gguf.arena);
}

#define EXPECT(code, text)                                                                         \
    do {                                                                                           \
        ck_assert_int_eq(parse(), code);                                                           \
        ck_assert_msg(strstr(err.message, text) != NULL, "%s", err.message);                       \
    } while (0)

START_TEST(a_whole_file_of_either_version_is_accepted)
{
    for (uint32_t version = 2; version <= 3; version++) {
        begin(version, 2, 1);
        put_u32_key("a.b", 5);
        put_tensor("x", 3, BLOCK_F32, 0);
        put_tensor("y", 32, BLOCK_Q8_0, 32);
        put_data(32 + 34);
        ck_assert_int_eq(parse(), 0);
        ck_assert_int_eq(gguf.num_tensors, 2);
        ck_assert_uint_eq(gguf.data_bytes, 66);
        ck_assert_uint_eq(gguf.tensors[1].bytes, 34);
    }
}
END_TEST

START_TEST(other_magic_versions_and_byte_orders_are_refused)
{
    begin(3, 0, 0);
    bytes[0] = 'g';
    EXPECT(-EINVAL, "does not begin with GGUF");
    begin(1, 0, 0);
    EXPECT(-ENOTSUP, "version 1, supported are 2 and 3");
    begin(4, 0, 0);
    EXPECT(-ENOTSUP, "version 4");
    begin(3u << 24, 0, 0);
    EXPECT(-ENOTSUP, "big-endian");
}
END_TEST

START_TEST(counts_that_the_file_cannot_hold_are_refused)
{
    begin(3, UINT64_C(1) << 63, 0);
    EXPECT(-EINVAL, "the number of tensors at byte 8");
    begin(3, 0, UINT64_C(1) << 63);
    EXPECT(-EINVAL, "the number of keys at byte 16");
    begin(3, 0, 1000);
    EXPECT(-EINVAL, "1000, but only 0 bytes follow");
    begin(3, 1000, 0);
    EXPECT(-EINVAL, "1000, but only 8 bytes follow");
}
END_TEST

START_TEST(lengths_of_texts_are_refused_before_they_are_used)
{
    const uint64_t lengths[] = { 0, 65536, UINT64_C(1) << 63, UINT64_MAX };
    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        begin(3, 0, 1);
        put_u64(lengths[i]);
        put_data(64);
        EXPECT(-EINVAL, "a key at byte 24: a text of");
    }
    begin(3, 0, 1);
    put_u64(1000);
    put_data(64);
    EXPECT(-EINVAL, "a key at byte 32: 1000 bytes are wanted");
    begin(3, 0, 1);
    put_text("a.text");
    put_u32(GGUF_STRING);
    put_u64(UINT64_MAX);
    put_data(64);
    EXPECT(-EINVAL, "a.text at byte 42: a text of 18446744073709551615 bytes");
}
END_TEST

static void begin_array(uint32_t type, uint64_t num)
{
    begin(3, 0, 1);
    put_text("a");
    put_u32(GGUF_ARRAY);
    put_u32(type);
    put_u64(num);
    put_data(256);
}

START_TEST(arrays_are_bounded_by_the_file)
{
    begin_array(GGUF_STRING, UINT64_C(1) << 60);
    EXPECT(-EINVAL, "a at byte");
    begin_array(GGUF_F64, UINT64_C(1) << 61);
    EXPECT(-EINVAL, "wanted at most 16777216");
    begin_array(GGUF_U8, 1 << 20);
    EXPECT(-EINVAL, "but only");
    begin_array(GGUF_ARRAY, 1);
    EXPECT(-EINVAL, "an array of arrays");
    begin_array(13, 1);
    EXPECT(-EINVAL, "value type 13");
    begin_array(GGUF_STRING, 32); /* the zeros behind are 32 texts of no bytes, at most */
    ck_assert_int_eq(parse(), 0);
}
END_TEST

START_TEST(values_of_no_type_and_bools_of_two_are_refused)
{
    begin(3, 0, 1);
    put_text("a");
    put_u32(UINT32_MAX);
    put_data(64);
    EXPECT(-EINVAL, "value type 4294967295");
    begin(3, 0, 1);
    put_text("a.flag");
    put_u32(GGUF_BOOL);
    put("\2", 1);
    EXPECT(-EINVAL, "a.flag at byte 42: bool 2");
}
END_TEST

START_TEST(names_are_printable_and_there_once)
{
    begin(3, 0, 1);
    put_u32_key("a\nb", 1);
    EXPECT(-EINVAL, "byte 1 of it is 0x0a");
    begin(3, 0, 2);
    put_u32_key("twice", 1);
    put_u32_key("twice", 2);
    EXPECT(-EINVAL, "key twice is there twice");
    begin(3, 2, 0);
    put_tensor("t", 8, BLOCK_F32, 0);
    put_tensor("t", 8, BLOCK_F32, 32);
    put_data(64);
    EXPECT(-EINVAL, "tensor t is there twice");
    begin(3, 1, 0);
    put_tensor("a.name.of.more.than.sixty-three.bytes.is.more.than.ggml.itself.has", 8, 0, 0);
    put_data(64);
    EXPECT(-EINVAL, "wanted 1 to 63");
}
END_TEST

START_TEST(alignments_are_powers_of_two)
{
    const uint32_t bad[] = { 0, 3, 4, 48, UINT32_C(1) << 31 };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        begin(3, 0, 1);
        put_u32_key("general.alignment", bad[i]);
        EXPECT(-EINVAL, "wanted a power of two from 8 to 65536");
    }
    begin(3, 0, 1);
    put_text("general.alignment");
    put_u32(GGUF_U64);
    put_u64(32);
    EXPECT(-EINVAL, "wanted a u32");
    begin(3, 2, 1);
    put_u32_key("general.alignment", 8);
    put_tensor("x", 1, BLOCK_F32, 0);
    put_tensor("y", 1, BLOCK_F32, 8);
    put("\0\0\0\0\0\0\0\0", (8 - len % 8) % 8);
    put("\0\0\0\0\0\0\0\0\0\0\0\0", 12);
    ck_assert_int_eq(parse(), 0);
}
END_TEST

static void begin_dims(uint32_t num, const uint64_t *dims, uint32_t type)
{
    begin(3, 1, 0);
    put_text("t");
    put_u32(num);
    put(dims, (num > 4 ? 4 : num) * 8);
    put_u32(type);
    put_u64(0);
    put_data(256);
}

START_TEST(dimensions_are_bounded_and_their_product_does_not_overflow)
{
    const uint64_t none[4] = { 0 }, huge[4] = { UINT64_C(1) << 63, 1, 1, 1 };
    const uint64_t large[4] = { UINT64_C(1) << 40, UINT64_C(1) << 40, 1, 1 };
    const uint64_t wide[4] = { UINT64_C(1) << 31, UINT64_C(1) << 31, 1, 1 };
    begin_dims(0, none, BLOCK_F32);
    EXPECT(-EINVAL, "0 dimensions, wanted 1 to 4");
    begin_dims(5, none, BLOCK_F32);
    EXPECT(-EINVAL, "5 dimensions");
    begin_dims(UINT32_MAX, none, BLOCK_F32);
    EXPECT(-EINVAL, "4294967295 dimensions");
    begin_dims(1, none, BLOCK_F32);
    EXPECT(-EINVAL, "dimension 0 is 0");
    begin_dims(1, huge, BLOCK_F32);
    EXPECT(-EINVAL, "dimension 0 is 9223372036854775808");
    begin_dims(2, large, BLOCK_F32);
    EXPECT(-EINVAL, "product passes 2^63");
    begin_dims(2, wide, BLOCK_F32); /* 2^62 elements of 4 bytes */
    EXPECT(-EINVAL, "its size passes 2^63 bytes");
}
END_TEST

START_TEST(types_and_rows_of_blocks_are_checked)
{
    const uint64_t dims[4] = { 48, 1, 1, 1 };
    begin_dims(1, dims, BLOCK_Q8_0);
    EXPECT(-EINVAL, "rows of 48 elements, wanted whole blocks of Q8_0, 32 elements each");
    begin_dims(1, dims, 4);
    EXPECT(-EINVAL, "block type 4 is not known");
    begin_dims(1, dims, UINT32_MAX);
    EXPECT(-EINVAL, "block type 4294967295 is not known");
    begin_dims(1, dims, 23);
    EXPECT(-ENOTSUP, "IQ4_XS, which is not supported");
}
END_TEST

START_TEST(tensors_lie_next_to_each_other_within_the_file)
{
    const uint64_t offsets[] = { 33, 64, 0, UINT64_MAX - 31 };
    for (size_t i = 0; i < sizeof(offsets) / sizeof(offsets[0]); i++) {
        begin(3, 2, 0);
        put_tensor("x", 8, BLOCK_F32, 0);
        put_tensor("y", 8, BLOCK_F32, offsets[i]);
        put_data(128);
        EXPECT(-EINVAL, "tensor y begins at byte");
    }
    begin(3, 2, 0);
    put_tensor("x", 8, BLOCK_F32, 0);
    put_tensor("y", 8, BLOCK_F32, 32);
    put_data(63);
    EXPECT(-EINVAL, "tensor y needs 32 bytes at byte 32 of the data, which has 63");
    begin(3, 1, 0);
    put_tensor("x", 8, BLOCK_F32, 0);
    EXPECT(-EINVAL, "the data would begin at byte");
}
END_TEST

START_TEST(every_shorter_file_is_refused_and_every_shorter_buffer_asks_for_more)
{
    begin(3, 1, 2);
    put_u32_key("a.number", 5);
    put_text("a.text");
    put_u32(GGUF_STRING);
    put_text("some text");
    put_tensor("x", 32, BLOCK_Q4_0, 0);
    const size_t header = len;
    put_data(18);
    const size_t whole = len;
    ck_assert_int_eq(parse(), 0);
    for (len = 0; len < whole; len++)
        ck_assert_int_eq(parse(), -EINVAL);
    for (size_t part = 0; part < header; part++) {
        arena_reset(&gguf.arena);
        ck_assert_int_eq(gguf_parse(bytes, part, whole, &gguf, &err), -EAGAIN);
    }
}
END_TEST

RUN_SUITE_AROUND("gguf_damage", NULL, teardown, a_whole_file_of_either_version_is_accepted,
                 other_magic_versions_and_byte_orders_are_refused,
                 counts_that_the_file_cannot_hold_are_refused,
                 lengths_of_texts_are_refused_before_they_are_used, arrays_are_bounded_by_the_file,
                 values_of_no_type_and_bools_of_two_are_refused, names_are_printable_and_there_once,
                 alignments_are_powers_of_two,
                 dimensions_are_bounded_and_their_product_does_not_overflow,
                 types_and_rows_of_blocks_are_checked,
                 tensors_lie_next_to_each_other_within_the_file,
                 every_shorter_file_is_refused_and_every_shorter_buffer_asks_for_more)
