/*
 * block_choice.h - which type each matrix gets when a model is quantized
 *
 * A choice is one type for all matrices ("q4_k"), or one of llama.cpp's mixtures under its name
 * ("q4_k_m"), in which the matrices that lose most get more bits: values and what the MLP gives in
 * some layers. The output matrix (or the embedding where it serves as that) is Q6_K with types of
 * fewer bits. A width that is no multiple of a type's block takes the next type whose blocks fit,
 * as llama.cpp does: Q4_K Q5_0, Q5_K Q5_1, Q6_K Q8_0, Q2_K and Q3_K Q4_0, and F16 where 32 does not
 * fit either. Any thread.
 *
 * Source: llama.cpp's llama-quantize, without an importance matrix.
 */
#ifndef FORMATS_BLOCK_CHOICE_H
#define FORMATS_BLOCK_CHOICE_H

#include "formats/block.h"

/* What a matrix does. */
enum block_role {
    BLOCK_ROLE_OTHER,
    BLOCK_ROLE_OUTPUT,
    BLOCK_ROLE_KEYS,
    BLOCK_ROLE_VALUES,   /* or queries, keys and values in one */
    BLOCK_ROLE_ATTN_OUT, /* what attention gives to the stream */
    BLOCK_ROLE_DOWN,     /* what the MLP or experts do */
};

struct block_place {
    enum block_role role;
    int32_t layer, num_layers;
    int32_t num_shared;  /* query heads of each KV head */
    int32_t num_experts; /* of a layer; 0: none */
};

/* "q4_k", "q4_k_m" and so on; NULL for a name of no choice. */
const struct block_choice *block_choice_named(const char *name);

/* What a matrix at such a place gets, were it wide enough. */
enum block_type block_choice_type(const struct block_choice *choice,
                                  const struct block_place *place);

/* The type, or the first behind it whose blocks fit the width. */
enum block_type block_choice_fit(enum block_type type, int64_t width);

/* general.file_type of a file whose matrices are so. */
uint32_t block_choice_file_type(const struct block_choice *choice);

#endif
