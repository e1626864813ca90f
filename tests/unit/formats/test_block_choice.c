/* Which type each matrix gets: llama.cpp's own choices (tests/golden/gguf_mixtures.py), and widths.
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/block_choice.h"
#include "tests/unit/runner.h"

enum { HEADS = 8 };

static const struct {
    const char *kind;
    enum block_role role;
} kinds[] = {
    { "attn_q", BLOCK_ROLE_OTHER },   { "attn_k", BLOCK_ROLE_KEYS },
    { "attn_v", BLOCK_ROLE_VALUES },  { "attn_output", BLOCK_ROLE_ATTN_OUT },
    { "ffn_gate", BLOCK_ROLE_OTHER }, { "ffn_down", BLOCK_ROLE_DOWN },
    { "output", BLOCK_ROLE_OUTPUT },
};
enum { NUM_KINDS = sizeof(kinds) / sizeof(kinds[0]) };

static enum block_type type_of_bits(char bits)
{
    static const enum block_type types[] = { BLOCK_Q2_K, BLOCK_Q3_K, BLOCK_Q4_K, BLOCK_Q5_K,
                                             BLOCK_Q6_K };
    ck_assert(bits >= '2' && (bits <= '6' || bits == '8'));
    return bits == '8' ? BLOCK_Q8_0 : types[bits - '2'];
}

static void check_line(const char *line)
{
    char name[16], kind[16], bits[128];
    int layers, kv_heads, experts;
    ck_assert_int_eq(
        sscanf(line, "%15s %d %d %d %15s %127s", name, &layers, &kv_heads, &experts, kind, bits),
        6);
    const struct block_choice *choice = block_choice_named(name);
    ck_assert_msg(choice != NULL, "%s", name);
    struct block_place place = { .num_layers = layers,
                                 .num_shared = HEADS / kv_heads,
                                 .num_experts = experts };
    int k = 0;
    while (strcmp(kinds[k].kind, kind) != 0)
        ck_assert_int_lt(++k, NUM_KINDS);
    place.role = kinds[k].role;
    for (; bits[place.layer] != '\0'; place.layer++)
        ck_assert_msg(block_choice_type(choice, &place) == type_of_bits(bits[place.layer]),
                      "layer %d of: %s", place.layer, line);
}

START_TEST(mixtures_are_those_of_llama_cpp)
{
    char line[256];
    int num = 0;
    FILE *file = fopen(GOLDEN "mixtures.txt", "r");
    ck_assert_ptr_nonnull(file);
    for (; fgets(line, sizeof(line), file) != NULL; num++)
        check_line(line);
    fclose(file);
    ck_assert_int_eq(num, 8 * 7 * NUM_KINDS);
}
END_TEST

START_TEST(a_type_alone_is_all_matrices_but_the_output)
{
    const struct block_choice *small = block_choice_named("q4_k"),
                              *large = block_choice_named("q8_0");
    struct block_place place = { .num_layers = 8, .num_shared = 8, .num_experts = 8 };
    for (int role = BLOCK_ROLE_OTHER; role <= BLOCK_ROLE_DOWN; role++) {
        place.role = (enum block_role)role;
        ck_assert_int_eq(block_choice_type(large, &place), BLOCK_Q8_0);
        ck_assert_int_eq(block_choice_type(small, &place),
                         role == BLOCK_ROLE_OUTPUT ? BLOCK_Q6_K : BLOCK_Q4_K);
    }
    ck_assert_ptr_null(block_choice_named("q4_k_x"));
}
END_TEST

START_TEST(narrow_widths_fall_back_as_llama_cpp_does)
{
    ck_assert_int_eq(block_choice_fit(BLOCK_Q4_K, 256), BLOCK_Q4_K);
    ck_assert_int_eq(block_choice_fit(BLOCK_Q4_K, 96), BLOCK_Q5_0);
    ck_assert_int_eq(block_choice_fit(BLOCK_Q5_K, 96), BLOCK_Q5_1);
    ck_assert_int_eq(block_choice_fit(BLOCK_Q6_K, 96), BLOCK_Q8_0);
    ck_assert_int_eq(block_choice_fit(BLOCK_Q2_K, 96), BLOCK_Q4_0);
    ck_assert_int_eq(block_choice_fit(BLOCK_Q3_K, 40), BLOCK_F16);
    ck_assert_int_eq(block_choice_fit(BLOCK_Q8_0, 40), BLOCK_F16);
    ck_assert_int_eq(block_choice_fit(BLOCK_BF16, 40), BLOCK_BF16);
}
END_TEST

int main(void)
{
    const struct suite_row rows[] = {
        ONCE(mixtures_are_those_of_llama_cpp),
        ONCE(a_type_alone_is_all_matrices_but_the_output),
        ONCE(narrow_widths_fall_back_as_llama_cpp_does),
    };
    return run_suite("block_choice", NULL, NULL, 10, rows, sizeof(rows) / sizeof(rows[0]));
}
