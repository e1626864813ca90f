/*
 * source.h - the tensors of the model that is read, in the words of the file that is written
 *
 * Of a GGUF file all tensors and keys stay what they are but for the tensors' types. Of safetensors
 * each tensor gets its name in GGUF: rows of q and k are interleaved where the architecture wants
 * it, experts lie behind each other, Gemma's norms hold their one, and what GGUF has in tensors
 * alone (divisors of frequencies) is made. What makes keys and values of a latent becomes two, that
 * of the keys transposed. A quantized matrix is read as what it means.
 */
#ifndef CONVERT_SOURCE_H
#define CONVERT_SOURCE_H

#include "formats/gguf_model.h"
#include "worker/model/checkpoint.h"
#include "worker/model/model.h"

/* One of the tensors that lie behind each other in a new one. */
struct convert_part {
    const struct checkpoint_tensor *tensor; /* of safetensors, */
    int64_t first_row;                      /* from this row on; or */
    const struct gguf *gguf;
    const struct gguf_tensor *stored;
};

struct convert_tensor {
    char name[GGUF_NAME_BYTES];
    int32_t num_dims;
    int64_t dims[GGUF_MAX_DIMS]; /* innermost first */
    enum block_type from, to;
    uint64_t from_bytes;    /* in the files that are read */
    uint64_t offset, bytes; /* in the new file's data */
    struct convert_part *parts;
    int32_t num_parts;
    int32_t head_rows; /* > 0: row 2 i + j of a head is row j head_rows / 2 + i of the source */
    bool turned;       /* the source has the transpose of each part */
    bool plus_one;     /* the values are those of the source plus one */
    float *values;     /* not NULL: made, not read */
};

struct convert_source {
    bool is_gguf;
    struct gguf_files files;
    struct checkpoint checkpoint;
    struct arch arch;
    const struct family *family;
    const struct gguf_arch *gguf_arch;
    struct convert_tensor *tensors;
    int32_t num_tensors;
};

/* Open it and list its tensors. The caller closes it in every case. Returns as convert_run(). */
int convert_source_open(const char *path, struct convert_source *source, struct error *err);
void convert_source_close(struct convert_source *source); /* accepts a zeroed struct */

/* Another tensor at the end of the list, or NULL. */
struct convert_tensor *convert_source_add(struct convert_source *source, const char *name);

/* Rows of a tensor, counted over all its parts: a row is dims[0] values. */
int64_t convert_rows(const struct convert_tensor *tensor);

/*
 * Rows [first, first + num) as float, of one part alone. `raw` has room for them as they are
 * stored.
 *
 * Returns 0, -EIO or the errno of reading.
 */
int convert_read(const struct convert_tensor *tensor, int64_t first, int64_t num, float *to,
                 void *raw);

#endif
