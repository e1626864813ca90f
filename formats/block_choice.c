#include "formats/block_choice.h"

#include <string.h>

/* Of which layers, or models, a rule speaks. */
enum scope {
    ALWAYS,
    FIRST_TWO,
    FIRST_FOUR,
    FIRST_EIGHTH,
    FIRST_SIXTEENTH,
    SPREAD,         /* the first eighth, the last, and every third layer between */
    SHARED_BY_FOUR, /* four query heads or more share a KV head */
    EIGHT_EXPERTS,
};

struct rule {
    enum block_role role;
    enum scope scope;
    enum block_type type;
};

enum { MAX_RULES = 6 };

/* clang-format off */
#define V    BLOCK_ROLE_VALUES
#define O    BLOCK_ROLE_ATTN_OUT
#define DOWN BLOCK_ROLE_DOWN

static const struct block_choice {
    const char *name;
    enum block_type type;
    uint32_t file_type;
    bool is_small; /* the output is Q6_K */
    bool is_mixture;
    struct rule rules[MAX_RULES]; /* the first that applies counts; the end has no role */
} choices[] = {
    { .name = "f32", .type = BLOCK_F32, .file_type = 0 },
    { .name = "f16", .type = BLOCK_F16, .file_type = 1 },
    { .name = "bf16", .type = BLOCK_BF16, .file_type = 32 },
    { .name = "q8_0", .type = BLOCK_Q8_0, .file_type = 7 },
    { .name = "q4_0", .type = BLOCK_Q4_0, .file_type = 2, .is_small = true },
    { .name = "q4_1", .type = BLOCK_Q4_1, .file_type = 3, .is_small = true },
    { .name = "q5_0", .type = BLOCK_Q5_0, .file_type = 8, .is_small = true },
    { .name = "q5_1", .type = BLOCK_Q5_1, .file_type = 9, .is_small = true },
    { .name = "q3_k", .type = BLOCK_Q3_K, .file_type = 11, .is_small = true },
    { .name = "q4_k", .type = BLOCK_Q4_K, .file_type = 14, .is_small = true },
    { .name = "q5_k", .type = BLOCK_Q5_K, .file_type = 16, .is_small = true },
    { .name = "q6_k", .type = BLOCK_Q6_K, .file_type = 18 },
    { .name = "q2_k", .type = BLOCK_Q2_K, .file_type = 10, .is_small = true, .is_mixture = true,
      .rules = { { V, SHARED_BY_FOUR, BLOCK_Q4_K }, { V, ALWAYS, BLOCK_Q3_K }, { DOWN, ALWAYS, BLOCK_Q3_K },
                 { O, EIGHT_EXPERTS, BLOCK_Q5_K }, { O, ALWAYS, BLOCK_Q3_K } } },
    { .name = "q3_k_s", .type = BLOCK_Q3_K, .file_type = 11, .is_small = true, .is_mixture = true,
      .rules = { { O, EIGHT_EXPERTS, BLOCK_Q5_K } } },
    { .name = "q3_k_m", .type = BLOCK_Q3_K, .file_type = 12, .is_small = true, .is_mixture = true,
      .rules = { { V, FIRST_TWO, BLOCK_Q5_K }, { V, ALWAYS, BLOCK_Q4_K }, { DOWN, FIRST_SIXTEENTH, BLOCK_Q5_K },
                 { DOWN, ALWAYS, BLOCK_Q4_K }, { O, EIGHT_EXPERTS, BLOCK_Q5_K }, { O, ALWAYS, BLOCK_Q4_K } } },
    { .name = "q3_k_l", .type = BLOCK_Q3_K, .file_type = 13, .is_small = true, .is_mixture = true,
      .rules = { { V, ALWAYS, BLOCK_Q5_K }, { DOWN, ALWAYS, BLOCK_Q5_K }, { O, EIGHT_EXPERTS, BLOCK_Q3_K },
                 { O, ALWAYS, BLOCK_Q5_K } } },
    { .name = "q4_k_s", .type = BLOCK_Q4_K, .file_type = 14, .is_small = true, .is_mixture = true,
      .rules = { { V, FIRST_FOUR, BLOCK_Q5_K }, { DOWN, FIRST_EIGHTH, BLOCK_Q5_K }, { O, EIGHT_EXPERTS, BLOCK_Q5_K } } },
    { .name = "q4_k_m", .type = BLOCK_Q4_K, .file_type = 15, .is_small = true, .is_mixture = true,
      .rules = { { V, SPREAD, BLOCK_Q6_K }, { DOWN, SPREAD, BLOCK_Q6_K }, { O, EIGHT_EXPERTS, BLOCK_Q5_K } } },
    { .name = "q5_k_s", .type = BLOCK_Q5_K, .file_type = 16, .is_small = true, .is_mixture = true },
    { .name = "q5_k_m", .type = BLOCK_Q5_K, .file_type = 17, .is_small = true, .is_mixture = true,
      .rules = { { V, SPREAD, BLOCK_Q6_K }, { DOWN, SPREAD, BLOCK_Q6_K } } },
};

/* What takes a type's place where the widths are no whole blocks of it. */
static const struct {
    enum block_type type, narrow;
} narrower[] = {
    { BLOCK_Q2_K, BLOCK_Q4_0 }, { BLOCK_Q3_K, BLOCK_Q4_0 }, { BLOCK_Q4_K, BLOCK_Q5_0 }, { BLOCK_Q5_K, BLOCK_Q5_1 },
    { BLOCK_Q6_K, BLOCK_Q8_0 },
};
/* clang-format on */
enum { NUM_CHOICES = sizeof(choices) / sizeof(choices[0]) };

const struct block_choice *block_choice_named(const char *name)
{
    for (int i = 0; i < NUM_CHOICES; i++)
        if (strcmp(choices[i].name, name) == 0)
            return &choices[i];
    return NULL;
}

static bool is_within(enum scope scope, const struct block_place *place)
{
    const int32_t layer = place->layer, num = place->num_layers;
    switch (scope) {
    case ALWAYS:
        return true;
    case FIRST_TWO:
        return layer < 2;
    case FIRST_FOUR:
        return layer < 4;
    case FIRST_EIGHTH:
        return layer < num / 8;
    case FIRST_SIXTEENTH:
        return layer < num / 16;
    case SPREAD:
        return layer < num / 8 || layer >= 7 * num / 8 || (layer - num / 8) % 3 == 2;
    case SHARED_BY_FOUR:
        return place->num_shared >= 4;
    case EIGHT_EXPERTS:
        return place->num_experts == 8;
    }
    return false;
}

static enum block_type type_by_rules(const struct block_choice *choice,
                                     const struct block_place *place)
{
    for (int i = 0; i < MAX_RULES && choice->rules[i].role != BLOCK_ROLE_OTHER; i++)
        if (choice->rules[i].role == place->role && is_within(choice->rules[i].scope, place))
            return choice->rules[i].type;
    return choice->type;
}

/* Keys and values of few heads beside many large experts, and of models of 80 layers whose heads
 * are shared by eight, cost next to nothing. */
static enum block_type type_of_mixture(const struct block_choice *choice,
                                       const struct block_place *place)
{
    const bool is_values = place->role == BLOCK_ROLE_VALUES;
    if (place->num_experts == 8 && (is_values || place->role == BLOCK_ROLE_KEYS))
        return BLOCK_Q8_0;
    const enum block_type type = type_by_rules(choice, place);
    const bool is_huge = place->num_layers == 80 && place->num_shared == 8;
    return is_huge && is_values && (type == BLOCK_Q3_K || type == BLOCK_Q4_K) ? BLOCK_Q5_K : type;
}

enum block_type block_choice_type(const struct block_choice *choice,
                                  const struct block_place *place)
{
    if (place->role == BLOCK_ROLE_OUTPUT)
        return choice->is_small ? BLOCK_Q6_K : choice->type;
    return choice->is_mixture ? type_of_mixture(choice, place) : choice->type;
}

enum block_type block_choice_fit(enum block_type type, int64_t width)
{
    for (size_t i = 0; i < sizeof(narrower) / sizeof(narrower[0]); i++)
        if (narrower[i].type == type && width % block_info(type)->elements != 0)
            type = narrower[i].narrow;
    return width % block_info(type)->elements != 0 ? BLOCK_F16 : type;
}

uint32_t block_choice_file_type(const struct block_choice *choice)
{
    return choice->file_type;
}
