#include "worker/choose.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

/* Numbers with commas between them, as many as there are ranks. */
static bool are_ordinals(const char *text, int64_t num_ranks)
{
    int64_t num = 1;
    for (const char *c = text; *c != '\0'; c++) {
        const bool is_comma = *c == ',';
        if (!is_comma && !isdigit((unsigned char)*c))
            return false;
        if (is_comma && (c == text || c[-1] == ',' || c[1] == '\0'))
            return false;
        num += is_comma;
    }
    return text[0] != '\0' && strlen(text) < 64 && num == num_ranks;
}

static int open_cuda(const struct backend **ret_backend, struct error *err)
{
    const int r = backend_open("cuda", ret_backend, err);
    return r < 0 ? r : (*ret_backend)->probe(err);
}

int choose_backend(const struct settings *settings, const struct backend **ret_backend,
                   const char **ret_ordinals, struct error *err)
{
    const char *name = settings->device;
    *ret_ordinals = NULL;
    if (strcmp(name, "cpu") == 0)
        return backend_open("cpu", ret_backend, err);
    if (strcmp(name, "auto") == 0)
        return open_cuda(ret_backend, err) == 0 ? 0 : backend_open("cpu", ret_backend, err);
    if (strcmp(name, "cuda") == 0)
        return open_cuda(ret_backend, err);
    if (strncmp(name, "cuda:", 5) != 0)
        return error_set_param(err, -EINVAL, "device",
                               "device is '%.64s', wanted auto, cpu, cuda or cuda:0,1", name);
    if (!are_ordinals(name + 5, settings->tensor_parallel))
        return error_set_param(err, -EINVAL, "device",
                               "device is '%.64s', wanted the numbers of %d devices, one for each "
                               "rank, with commas between them",
                               name, (int)settings->tensor_parallel);
    *ret_ordinals = name + 5;
    return open_cuda(ret_backend, err);
}
