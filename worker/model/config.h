/*
 * config.h - config.json to struct arch
 *
 * Every number is checked against a range before anything is computed from it, so that no
 * product of sizes can overflow int64, nor any single row count int32. A key that is null counts
 * as absent, but hides the family's default. The keys of a text_config lie over those beside it,
 * and these over the family's defaults. The readers leave *value alone when the key is absent.
 *
 * Source: HF transformers, LlamaConfig and modeling_rope_utils; both spellings of the rope keys.
 */
#ifndef WORKER_MODEL_CONFIG_H
#define WORKER_MODEL_CONFIG_H

#include <jansson.h>

#include "worker/model/model.h"

enum { CONFIG_MAX_POSITIONS = 1 << 24 };

struct family;

/*
 * Parse the text of a config.json. `kv_dtype` and `block_size` go into the KV blocks.
 *
 * Returns 0; -EINVAL for a key that is missing, of another type or out of range; -ENOTSUP for
 * a model that is not known here; -ENOMEM.
 */
int config_parse(const char *text, size_t len, enum dtype kv_dtype, int32_t block_size,
                 struct arch *ret_arch, const struct family **ret_family, struct error *err);

/* The same of dir/config.json, of at most 1 MiB, and of what lies beside it of quantization
 * (config_quant.h), or of what gguf_config_json() makes of a GGUF
 * file; *ret_family and *ret_hash, of the text, may be NULL. Also as file_read() or
 * gguf_config_json(). */
int config_read(const char *dir, enum dtype kv_dtype, int32_t block_size, struct arch *ret_arch,
                const struct family **ret_family, uint64_t *ret_hash, struct error *err);

/* For families. Return 0 or -EINVAL. */
int config_int(const json_t *config, const char *key, int64_t min, int64_t max, int32_t *value,
               struct error *err);
int config_real(const json_t *config, const char *key, double min, double max, double *value,
                struct error *err);
int config_bool(const json_t *config, const char *key, bool *value, struct error *err);
int config_text(const json_t *config, const char *key, const char **value, struct error *err);

/* An activation by its name in transformers, into arch->activation. Also -ENOTSUP. */
int config_activation(const json_t *config, const char *key, struct arch *arch, struct error *err);

/*
 * sliding_window for the layers that layer_types names or, where that key is absent, for those of
 * which `slides` says so. Also -ENOTSUP.
 */
typedef bool config_slides(int32_t layer, int32_t parameter);
int config_windows(const json_t *config, config_slides *slides, int32_t parameter,
                   struct arch *arch, struct error *err);

/* The same: on every layer, unless sliding_window is null. */
int config_window_everywhere(const json_t *config, struct arch *arch, struct error *err);

/* The same: on the layers from max_window_layers on, and only where use_sliding_window is true. */
int config_window_behind(const json_t *config, struct arch *arch, struct error *err);

/* What Gemmas have in common: attention_bias, query_pre_attn_scalar, attn_logit_softcapping,
 * final_logit_softcapping; the embedding times the root of hidden_size, rounded to the checkpoint's
 * dtype as the original does. -ENOTSUP for use_bidirectional_attention: a model that reads what
 * comes after a token cannot write it. */
int config_gemma(const json_t *config, struct arch *arch, struct error *err);

/* What a family may say of positions beyond the plain. */
enum {
    CONFIG_ROPE_PARTIAL = 1, /* partial_rotary_factor */
    CONFIG_ROPE_LONG = 2,    /* "yarn" and "su" are old names of "longrope" */
};

/* rope_theta with rope_scaling, or rope_parameters: one table for all layers. Also -ENOTSUP. */
int config_rope(const json_t *config, unsigned kinds, struct arch *arch, struct error *err);

/* Two tables, 0 for layers of full attention, 1 for those with a window. */
int config_rope_by_layer(const json_t *config, unsigned kinds, double global_theta,
                         double local_theta, struct arch *arch, struct error *err);

#endif
