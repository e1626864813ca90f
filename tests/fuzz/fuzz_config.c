/*
 * fuzz_config.c - the input is a config.json
 *
 * What is accepted must have sizes whose products fit.
 */
#include <stdint.h>
#include <stdlib.h>

#include "worker/families/family.h"
#include "worker/model/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arch arch;
    struct error err;
    if (config_parse((const char *)data, size, DTYPE_F16, 16, &arch, NULL, &err) < 0)
        return 0;
    for (enum dim dim = DIM_VOCAB; dim <= DIM_GATE_UP; dim++)
        if (family_dim(&arch, dim) <= 0)
            abort();
    if (arch.num_attention_heads % arch.num_key_value_heads != 0 || arch.head_dim % 2 != 0)
        abort();
    return 0;
}
