#include "base/arena.h"

#include <stdint.h>
#include <string.h>

#include "tests/unit/runner.h"

START_TEST(memory_is_zeroed_and_aligned)
{
    struct arena arena;
    arena_init(&arena, 0);

    for (size_t size = 1; size < 200; size++) {
        unsigned char *memory = arena_alloc(&arena, size);
        ck_assert_ptr_nonnull(memory);
        ck_assert_uint_eq((uintptr_t)memory % _Alignof(max_align_t), 0);
        for (size_t i = 0; i < size; i++)
            ck_assert_uint_eq(memory[i], 0);
        memset(memory, 0xAA, size);
    }
    arena_finish(&arena);
}
END_TEST

START_TEST(a_limit_refuses_what_would_pass_it)
{
    struct arena arena;
    arena_init(&arena, 1000);

    ck_assert_ptr_nonnull(arena_alloc(&arena, 900));
    ck_assert_ptr_null(arena_alloc(&arena, 200));
    ck_assert_ptr_nonnull(arena_alloc(&arena, 50));
    arena_finish(&arena);
}
END_TEST

START_TEST(sizes_that_overflow_give_null)
{
    struct arena arena;
    arena_init(&arena, 0);

    ck_assert_ptr_null(arena_alloc(&arena, SIZE_MAX));
    ck_assert_ptr_null(arena_alloc_array(&arena, SIZE_MAX / 2, 4));
    ck_assert_ptr_null(arena_strndup(&arena, "x", SIZE_MAX));
    arena_finish(&arena);
}
END_TEST

START_TEST(reset_starts_anew_and_large_blocks_fit)
{
    struct arena arena;
    arena_init(&arena, 0);

    for (int round = 0; round < 3; round++) {
        char *large = arena_alloc(&arena, 1 << 20);
        ck_assert_ptr_nonnull(large);
        ck_assert_int_eq(large[(1 << 20) - 1], 0);
        memset(large, 1, 1 << 20);
        ck_assert_str_eq(arena_strndup(&arena, "ring", 4), "ring");
        arena_reset(&arena);
        ck_assert_uint_eq(arena.used_bytes, 0);
    }
    arena_finish(&arena);
    arena_finish(&arena);
}
END_TEST

RUN_SUITE("arena", memory_is_zeroed_and_aligned, a_limit_refuses_what_would_pass_it,
          sizes_that_overflow_give_null, reset_starts_anew_and_large_blocks_fit)
