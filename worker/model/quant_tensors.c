#include "worker/model/quant_tensors.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "worker/model/quant_matrix.h"

enum { MAX_NAME = 512 };

static const struct safetensors_dtype folded_dtypes[] = {
    { "quantized E4M3", 8, true, DTYPE_F8_E4M3, NULL },
    { "quantized 8-bit", 8, true, DTYPE_I8, NULL },
    { "quantized 4-bit", 4, true, DTYPE_I4, NULL },
};

struct fold {
    const struct config_quant *quant;
    struct checkpoint *checkpoint;
    bool *used;                       /* [num_tensors]: part of a matrix, or of no use here */
    struct checkpoint_tensor *folded; /* [num_tensors] */
    int32_t num_folded;
    struct error *err;
};

static bool has_suffix(const char *name, const char *suffix)
{
    const size_t len = strlen(name), end = strlen(suffix);
    return len > end && strcmp(name + len - end, suffix) == 0;
}

/* What values of a method are called; NULL dtype: whatever it is. */
static const struct kind {
    const char *suffix;
    unsigned methods; /* bits of enum quant_method */
    const char *dtype;
    int (*fold)(const struct quant_matrix *m);
} kinds[] = {
    { ".qweight", 1u << QUANT_GPTQ, NULL, quant_matrix_fold_gptq },
    { ".qweight", 1u << QUANT_AWQ, NULL, quant_matrix_fold_awq },
    { ".weight_packed", 1u << QUANT_COMPRESSED, NULL, quant_matrix_fold_packed },
    { ".weight", 1u << QUANT_FP8 | 1u << QUANT_FBGEMM | 1u << QUANT_COMPRESSED, "F8_E4M3",
      quant_matrix_fold_bytes },
    { ".weight", 1u << QUANT_COMPRESSED, "I8", quant_matrix_fold_bytes },
};

static const struct kind *find_kind(const struct fold *fold, const struct checkpoint_tensor *tensor)
{
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
        if ((kinds[i].methods >> fold->quant->method & 1) != 0 &&
            has_suffix(tensor->info->name, kinds[i].suffix) &&
            (kinds[i].dtype == NULL || strcmp(tensor->info->dtype->name, kinds[i].dtype) == 0))
            return &kinds[i];
    return NULL;
}

/* Beside a matrix: what is of activations, which stay as they are. */
static void pass_over(const struct quant_matrix *m)
{
    static const char *const names[] = { "input_scale",    "input_zero_point", "activation_scale",
                                         "input_scale_ub", "output_scale",     NULL };
    for (const char *const *name = names; *name != NULL; name++)
        (void)quant_matrix_find(m, *name);
}

/* Scales of a quantized KV cache. */
static bool is_of_cache(const char *name)
{
    static const char *const names[] = { ".k_scale",      ".v_scale",
                                         ".q_scale",      ".kv_scale",
                                         ".k_zero_point", ".v_zero_point",
                                         ".q_zero_point", NULL };
    for (const char *const *suffix = names; *suffix != NULL; suffix++)
        if (has_suffix(name, *suffix))
            return true;
    return false;
}

static uint64_t bytes_of(const struct checkpoint_tensor *tensor)
{
    return tensor->info != NULL ? tensor->info->end - tensor->info->begin : 0;
}

/* The whole as one tensor. */
static int add_folded(struct fold *fold, const struct quant_matrix *m)
{
    struct arena *arena = &fold->checkpoint->arena;
    const struct quant_tensor *t = m->tensor;
    struct safetensors_tensor *info = arena_alloc(arena, sizeof(*info));
    char name[MAX_NAME];
    const int len = snprintf(name, sizeof(name), "%.*s.weight", m->base_len, m->base);
    const char *copy = len < (int)sizeof(name) ? arena_strndup(arena, name, (size_t)len) : NULL;
    if (info == NULL || copy == NULL)
        return quant_matrix_fail(m, -ENOMEM, "no memory for the list of quantized tensors");
    *info = (struct safetensors_tensor){
        .name = copy,
        .dtype = &folded_dtypes[t->dtype - DTYPE_F8_E4M3],
        .rank = 2,
        .shape = { t->rows, t->cols },
        .end = bytes_of(&t->values) + bytes_of(&t->scales) + bytes_of(&t->zeros),
        .quant = t,
    };
    fold->folded[fold->num_folded++] =
        (struct checkpoint_tensor){ .info = info, .file = t->values.file };
    return 0;
}

static int fold_tensor(struct fold *fold, int32_t index)
{
    struct checkpoint_tensor *values = &fold->checkpoint->tensors[index];
    const struct kind *kind = find_kind(fold, values);
    if (kind == NULL) {
        fold->used[index] = fold->used[index] || is_of_cache(values->info->name);
        return 0;
    }
    struct quant_matrix m = {
        .quant = fold->quant,
        .checkpoint = fold->checkpoint,
        .used = fold->used,
        .err = fold->err,
        .base = values->info->name,
        .base_len = (int)(strlen(values->info->name) - strlen(kind->suffix)),
        .tensor = arena_alloc(&fold->checkpoint->arena, sizeof(*m.tensor)),
    };
    if (m.tensor == NULL)
        return quant_matrix_fail(&m, -ENOMEM, "no memory for a quantized tensor");
    *m.tensor = (struct quant_tensor){ .values = *values };
    fold->used[index] = true;
    const int r = kind->fold(&m);
    pass_over(&m);
    return r < 0 ? r : add_folded(fold, &m);
}

/* What is left of the list, and what was made of the rest. */
static int replace(struct fold *fold)
{
    struct checkpoint *c = fold->checkpoint;
    int32_t num = 0;
    for (int32_t i = 0; i < c->num_tensors; i++)
        if (!fold->used[i])
            c->tensors[num++] = c->tensors[i];
    for (int32_t i = 0; i < fold->num_folded; i++)
        c->tensors[num++] = fold->folded[i];
    c->num_tensors = num;
    checkpoint_sort(c);
    for (int32_t i = 1; i < num; i++)
        if (strcmp(c->tensors[i - 1].info->name, c->tensors[i].info->name) == 0)
            return error_set(fold->err, -EINVAL, "tensor %.160s is there plain and quantized",
                             c->tensors[i].info->name);
    return 0;
}

int quant_tensors_fold(const struct config_quant *quant, struct checkpoint *checkpoint,
                       struct error *err)
{
    const size_t num = (size_t)checkpoint->num_tensors;
    struct fold fold = { .quant = quant, .checkpoint = checkpoint, .err = err };
    if (quant->method == QUANT_NONE)
        return 0;
    fold.used = calloc(num + 1, sizeof(*fold.used));
    fold.folded = calloc(num + 1, sizeof(*fold.folded));
    int r = fold.used != NULL && fold.folded != NULL
                ? 0
                : error_set(err, -ENOMEM, "no memory for %zu tensors", num);
    for (int32_t i = 0; r == 0 && i < checkpoint->num_tensors; i++)
        r = fold_tensor(&fold, i);
    if (r == 0)
        r = replace(&fold);
    free(fold.used);
    free(fold.folded);
    return r;
}

int quant_tensors_is_idle_bias(const struct checkpoint *checkpoint,
                               const struct checkpoint_tensor *tensor)
{
    static const char suffix[] = ".bias";
    const struct safetensors_tensor *info = tensor->info;
    char name[MAX_NAME];
    if (!has_suffix(info->name, suffix) || info->quant != NULL)
        return 0;
    const int len = (int)(strlen(info->name) - strlen(suffix));
    if (snprintf(name, sizeof(name), "%.*s.weight", len, info->name) >= (int)sizeof(name))
        return 0;
    const struct checkpoint_tensor *matrix = checkpoint_find(checkpoint, name);
    if (matrix == NULL || matrix->info->quant == NULL)
        return 0;
    unsigned char piece[4096];
    const uint64_t bytes = info->end - info->begin;
    for (uint64_t at = 0; at < bytes; at += sizeof(piece)) {
        const size_t num = bytes - at < sizeof(piece) ? (size_t)(bytes - at) : sizeof(piece);
        const int r = safetensors_read(tensor->file, info, at, piece, num);
        if (r < 0)
            return r;
        for (size_t i = 0; i < num; i++)
            if (piece[i] != 0)
                return 0;
    }
    return 1;
}
