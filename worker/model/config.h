/*
 * config.h - config.json to struct arch
 *
 * Every number is checked against a range before anything is computed from it, so that no
 * product of sizes can overflow int64, nor any single row count int32. A key that is null counts
 * as absent. The readers leave *value alone when the key is absent.
 *
 * Source: HF transformers, LlamaConfig and modeling_rope_utils; both spellings of the rope keys.
 */
#ifndef WORKER_MODEL_CONFIG_H
#define WORKER_MODEL_CONFIG_H

#include <jansson.h>

#include "worker/model/model.h"

struct family;

/*
 * Parse the text of a config.json. `kv_dtype` and `block_size` go into the KV group.
 *
 * Returns 0; -EINVAL for a key that is missing, of another type or out of range; -ENOTSUP for
 * a model that is not known here; -ENOMEM.
 */
int config_parse(const char *text, size_t len, enum dtype kv_dtype, int32_t block_size,
                 struct arch *ret_arch, const struct family **ret_family, struct error *err);

/* The text of dir/config.json, malloc'ed: at most 1 MiB. Returns as file_read(). */
int config_read(const char *dir, char **ret_text, size_t *ret_len, struct error *err);

/* For families. Return 0 or -EINVAL. */
int config_int(const json_t *config, const char *key, int64_t min, int64_t max, int32_t *value,
               struct error *err);
int config_real(const json_t *config, const char *key, double min, double max, double *value,
                struct error *err);
int config_bool(const json_t *config, const char *key, bool *value, struct error *err);
int config_text(const json_t *config, const char *key, const char **value, struct error *err);

/* rope_theta with rope_scaling, or rope_parameters. Also -ENOTSUP. */
int config_rope(const json_t *config, struct arch *arch, struct error *err);

#endif
