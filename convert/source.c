#include "convert/source.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/gguf_arch.h"
#include "worker/families/family.h"
#include "worker/model/config.h"
#include "worker/model/quant_tensors.h"

void convert_source_close(struct convert_source *source)
{
    for (int32_t i = 0; i < source->num_tensors; i++) {
        free(source->tensors[i].parts);
        free(source->tensors[i].values);
    }
    free(source->tensors);
    if (source->is_gguf)
        gguf_files_close(&source->files);
    else
        checkpoint_close(&source->checkpoint);
    *source = (struct convert_source){ 0 };
}

struct convert_tensor *convert_source_add(struct convert_source *source, const char *name)
{
    const size_t num = (size_t)source->num_tensors + 1;
    struct convert_tensor *more =
        (num & (num - 1)) == 0 || source->tensors == NULL
            ? realloc(source->tensors, 2 * num * sizeof(*more)) /* doubled at powers of two */
            : source->tensors;
    if (more == NULL)
        return NULL;
    source->tensors = more;
    struct convert_tensor *tensor = &more[source->num_tensors++];
    *tensor = (struct convert_tensor){ 0 };
    snprintf(tensor->name, sizeof(tensor->name), "%s", name);
    return tensor;
}

int64_t convert_rows(const struct convert_tensor *tensor)
{
    int64_t rows = 1;
    for (int32_t i = 1; i < tensor->num_dims; i++)
        rows *= tensor->dims[i];
    return rows;
}

/* --- GGUF ---------------------------------------------------------------------------------- */

static int add_stored(struct convert_source *source, const struct gguf *gguf,
                      const struct gguf_tensor *stored, struct error *err)
{
    struct convert_tensor *tensor = convert_source_add(source, stored->name);
    if (strlen(stored->name) >= sizeof(tensor->name))
        return error_set(err, -EINVAL, "tensor %.80s...: the name is too long", stored->name);
    if (tensor != NULL)
        tensor->parts = calloc(1, sizeof(*tensor->parts));
    if (tensor == NULL || tensor->parts == NULL)
        return error_set(err, -ENOMEM, "no memory for a list of tensors");
    if (stored->info->widen == NULL)
        return error_set(err, -ENOTSUP, "tensor %s is %s, which is not read here", stored->name,
                         stored->info->name);
    tensor->parts[0] = (struct convert_part){ .gguf = gguf, .stored = stored };
    tensor->num_parts = 1;
    tensor->num_dims = stored->num_dims;
    memcpy(tensor->dims, stored->dims, sizeof(tensor->dims));
    tensor->from = (enum block_type)stored->type;
    tensor->from_bytes = stored->bytes;
    return 0;
}

static int list_gguf(struct convert_source *source, struct error *err)
{
    int r = 0;
    for (int32_t f = 0; r == 0 && f < source->files.num; f++)
        for (int32_t i = 0; r == 0 && i < source->files.files[f].num_tensors; i++)
            r = add_stored(source, &source->files.files[f], &source->files.files[f].tensors[i],
                           err);
    return r;
}

/* --- safetensors --------------------------------------------------------------------------- */

/* Quantized matrices are read as what they mean. */
static int stored_type(const struct safetensors_tensor *info)
{
    if (info->quant != NULL)
        return BLOCK_F32;
    if (!info->dtype->is_weight || info->dtype->block != NULL)
        return -1;
    switch (info->dtype->dtype) {
    case DTYPE_F32:
        return BLOCK_F32;
    case DTYPE_F16:
        return BLOCK_F16;
    case DTYPE_BF16:
        return BLOCK_BF16;
    default:
        return -1;
    }
}

/* The name behind "model.", whatever stands in front of it in this checkpoint. */
static void plain_name(const struct family *family, const char *name, char *to, size_t size)
{
    for (const char *const *prefix = family->prefixes; *prefix != NULL; prefix++) {
        const size_t len = strlen(*prefix);
        const bool is_head = strncmp(name + len, "lm_head.", 8) == 0;
        const bool in_body = strncmp(name + len, "layers.", 7) == 0 ||
                             strncmp(name + len, "embed_tokens.", 13) == 0 ||
                             strncmp(name + len, "norm.", 5) == 0 ||
                             strncmp(name + len, "final_layernorm.", 16) == 0;
        if (strncmp(name, *prefix, len) == 0 && (is_head || in_body)) {
            snprintf(to, size, "%s%s", is_head ? "" : "model.", name + len);
            return;
        }
    }
    snprintf(to, size, "%s", name);
}

static bool ends_in(const char *text, const char *end)
{
    const size_t len = strlen(text), end_len = strlen(end);
    return len >= end_len && strcmp(text + len - end_len, end) == 0;
}

/* "model.layers.61.": behind the last layer. */
static bool is_further(const struct convert_source *source, const char *plain)
{
    int layer = 0;
    return source->family->further_layers && sscanf(plain, "model.layers.%9d.", &layer) == 1 &&
           layer >= source->arch.num_hidden_layers;
}

/* What a loader of this family passes over, or has of the embedding. */
static bool is_left_out(const struct convert_source *source, const char *full, const char *plain)
{
    bool left = (source->arch.tie_word_embeddings && strncmp(plain, "lm_head.", 8) == 0) ||
                is_further(source, plain);
    for (const char *const *suffix = source->family->ignored; *suffix != NULL; suffix++)
        left = left || ends_in(full, *suffix);
    return left || (source->family->wrapper != NULL && (strstr(full, "vision_tower.") != NULL ||
                                                        strstr(full, "multi_modal_projector.")));
}

static struct convert_tensor *find_named(const struct convert_source *source, const char *name)
{
    for (int32_t i = source->num_tensors - 1; i >= 0; i--)
        if (strcmp(source->tensors[i].name, name) == 0)
            return &source->tensors[i];
    return NULL;
}

static int set_shape(struct convert_source *source, struct convert_tensor *to,
                     const struct safetensors_tensor *info, const struct gguf_name *name,
                     struct error *err)
{
    const int type = stored_type(info);
    if (type < 0 || info->rank < 1 || info->rank > 2)
        return error_set(err, -ENOTSUP,
                         "tensor %.120s is %s of %d dimensions, wanted F32, F16 or BF16 of 1 or 2",
                         info->name, info->dtype->name, info->rank);
    for (int32_t i = 0; i < info->rank; i++)
        if (info->shape[i] > INT32_MAX)
            return error_set(err, -ENOTSUP, "tensor %.120s has %lld rows or columns, wanted %d",
                             info->name, (long long)info->shape[i], INT32_MAX);
    to->from = (enum block_type)type;
    to->num_dims = info->rank;
    for (int32_t i = 0; i < info->rank; i++)
        to->dims[i] = info->shape[info->rank - 1 - i];
    to->from_bytes += info->end - info->begin;
    to->plus_one = name->holds_one;
    const int64_t heads =
        name->is_key ? source->arch.num_key_value_heads : source->arch.num_attention_heads;
    if (name->is_interleaved && (info->shape[0] % heads != 0 || info->shape[0] / heads % 2 != 0))
        return error_set(err, -EINVAL, "tensor %.120s has %lld rows, wanted %lld heads of them",
                         info->name, (long long)info->shape[0], (long long)heads);
    to->head_rows = name->is_interleaved ? (int32_t)(info->shape[0] / heads) : 0;
    return 0;
}

/* `part` of the experts that lie behind each other. */
static int add_expert(struct convert_source *source, const struct checkpoint_tensor *tensor,
                      const struct gguf_name *name, const char *text, int32_t part,
                      struct error *err)
{
    const int32_t num = source->arch.moe.num_experts;
    const struct safetensors_tensor *info = tensor->info;
    struct convert_tensor *to = find_named(source, text);
    if (part >= num || info->rank != 2)
        return error_set(err, -EINVAL, "tensor %.120s is of expert %d of %d, of %d dimensions",
                         info->name, part, num, info->rank);
    if (to == NULL) {
        to = convert_source_add(source, text);
        if (to != NULL)
            to->parts = calloc((size_t)num, sizeof(*to->parts));
        if (to == NULL || to->parts == NULL)
            return error_set(err, -ENOMEM, "no memory for a list of tensors");
        to->num_parts = num;
        const int r = set_shape(source, to, info, name, err);
        if (r < 0)
            return r;
        to->dims[to->num_dims++] = num;
    } else {
        to->from_bytes += info->end - info->begin;
    }
    if (info->shape[1] != to->dims[0] || info->shape[0] != to->dims[1] ||
        stored_type(info) != (int)to->from)
        return error_set(err, -EINVAL, "tensor %.120s is not as the other experts' are",
                         info->name);
    to->parts[part].tensor = tensor;
    return 0;
}

/* One of the two that kv_b_proj becomes: of each head some rows from `first` on. */
static int add_heads(struct convert_source *source, const struct checkpoint_tensor *tensor,
                     const char *text, int32_t first, int32_t rows, bool turned, struct error *err)
{
    const struct arch *a = &source->arch;
    const int32_t heads = a->num_attention_heads, width = a->latent.nope_dim + a->latent.value_dim;
    const struct safetensors_tensor *info = tensor->info;
    struct convert_tensor *to = convert_source_add(source, text);
    if (to != NULL)
        to->parts = calloc((size_t)heads, sizeof(*to->parts));
    if (to == NULL || to->parts == NULL)
        return error_set(err, -ENOMEM, "no memory for a list of tensors");
    to->num_parts = heads;
    const int r = set_shape(source, to, info, &(struct gguf_name){ .is_key = false }, err);
    if (r < 0)
        return r;
    if (info->rank != 2 || info->shape[0] != (int64_t)heads * width)
        return error_set(err, -EINVAL,
                         "tensor %.120s has %lld rows, wanted %d for each of %d heads", info->name,
                         (long long)info->shape[0], width, heads);
    to->num_dims = 3;
    to->dims[0] = turned ? rows : info->shape[1];
    to->dims[1] = turned ? info->shape[1] : rows;
    to->dims[2] = heads;
    to->turned = turned;
    to->from_bytes = to->from_bytes / (uint64_t)width * (uint64_t)rows;
    for (int32_t h = 0; h < heads; h++)
        to->parts[h] = (struct convert_part){ .tensor = tensor, .first_row = h * width + first };
    return 0;
}

/* Keys and values apart, and keys transposed, is how llama.cpp reads them. */
static int add_latent(struct convert_source *source, const struct checkpoint_tensor *tensor,
                      const char *text, struct error *err)
{
    const int32_t keys = source->arch.latent.nope_dim, values = source->arch.latent.value_dim;
    const char *dot = strrchr(text, '_'); /* "blk.N.attn_kv" before "_b.weight" */
    char name[GGUF_NAME_BYTES];
    const int len = (int)(dot - text) - 2;
    snprintf(name, sizeof(name), "%.*sk_b.weight", len, text);
    const int r = add_heads(source, tensor, name, 0, keys, true, err);
    snprintf(name, sizeof(name), "%.*sv_b.weight", len, text);
    return r < 0 ? r : add_heads(source, tensor, name, keys, values, false, err);
}

static int add_tensor(struct convert_source *source, const struct checkpoint_tensor *tensor,
                      struct error *err)
{
    char plain[256], text[GGUF_NAME_BYTES];
    struct gguf_name name;
    int32_t part = 0;
    plain_name(source->family, tensor->info->name, plain, sizeof(plain));
    if (is_left_out(source, tensor->info->name, plain))
        return 0;
    const int is_idle = quant_tensors_is_idle_bias(&source->checkpoint, tensor);
    if (is_idle != 0)
        return is_idle > 0
                   ? 0
                   : error_set(err, is_idle, "tensor %.160s cannot be read", tensor->info->name);
    if (!gguf_name_invert(source->gguf_arch, plain, &name, text, &part))
        return error_set(err, -ENOTSUP, "tensor %.120s has no name in GGUF's \"%s\"",
                         tensor->info->name, source->gguf_arch->name);
    if (name.is_stacked)
        return add_expert(source, tensor, &name, text, part, err);
    if (ends_in(text, ".attn_kv_b.weight"))
        return add_latent(source, tensor, text, err);
    struct convert_tensor *to = convert_source_add(source, text);
    if (to != NULL)
        to->parts = calloc(1, sizeof(*to->parts));
    if (to == NULL || to->parts == NULL)
        return error_set(err, -ENOMEM, "no memory for a list of tensors");
    to->parts[0].tensor = tensor;
    to->num_parts = 1;
    return set_shape(source, to, tensor->info, &name, err);
}

static int check_experts(const struct convert_source *source, struct error *err)
{
    for (int32_t i = 0; i < source->num_tensors; i++)
        for (int32_t p = 0; p < source->tensors[i].num_parts; p++)
            if (!source->is_gguf && source->tensors[i].parts[p].tensor == NULL)
                return error_set(err, -EINVAL, "expert %d of %s is missing", p,
                                 source->tensors[i].name);
    return 0;
}

static int read_config(const char *path, struct convert_source *source, struct error *err)
{
    const int r = config_read(path, DTYPE_F32, 16, &source->arch, &source->family, NULL, err);
    if (r < 0)
        return r;
    source->gguf_arch = gguf_arch_named(source->arch.model_type);
    if (source->gguf_arch == NULL)
        return error_set(err, -ENOTSUP, "model_type %s has no place in GGUF here",
                         source->arch.model_type);
    return 0;
}

static int open_directory(const char *path, struct convert_source *source, struct error *err)
{
    int r = read_config(path, source, err);
    if (r == 0)
        r = checkpoint_open(path, &source->checkpoint, err);
    if (r == 0)
        r = quant_tensors_fold(&source->arch.quant, &source->checkpoint, err);
    for (int32_t i = 0; r == 0 && i < source->checkpoint.num_tensors; i++)
        r = add_tensor(source, &source->checkpoint.tensors[i], err);
    return r < 0 ? r : check_experts(source, err);
}

int convert_source_open(const char *path, struct convert_source *source, struct error *err)
{
    *source = (struct convert_source){ .is_gguf = gguf_is_file(path) };
    if (!source->is_gguf)
        return open_directory(path, source, err);
    const int r = gguf_files_open(path, &source->files, err);
    return r < 0 ? r : list_gguf(source, err);
}
