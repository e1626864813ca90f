/*
 * bench_kernels - what the cpu backend's operations reach of what the machine can do
 *
 *     bench_kernels [threads [isa [quant|scaled|linear|attention|rows|step]]]
 *
 * First the probes, in the same run. Then each operation with random data, best of several
 * trials, as GB/s of the bytes it has to read or GFLOP/s of the sums it has to make, and as a share
 * of the probe. The probes run again at the end: where they differ, the machine was not quiet.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernel_rig.h"

static const struct {
    const char *name;
    void (*run)(const struct probe *probe, bool plain);
} subjects[] = {
    { "quant", kernel_linear_quant },  { "scaled", kernel_linear_scaled },
    { "linear", kernel_linear_float }, { "attention", kernel_attention_bench },
    { "rows", kernel_step_rows },      { "step", kernel_step_bench },
};

static void bench_isa(const struct probe *probe, const char *only)
{
    const bool plain = strcmp(backend->device_isa(device), "scalar") == 0;
    for (size_t i = 0; i < sizeof(subjects) / sizeof(subjects[0]); i++)
        if (only == NULL || strcmp(only, subjects[i].name) == 0)
            subjects[i].run(probe, plain);
}

int main(int argc, char **argv)
{
    static const char *const isas[] = { "avx512_amx", "avx512_vnni", "avx512", "avx2", "scalar" };
    const size_t probe_bytes = (size_t)1 << 29;
    struct error err;
    if (backend_open("cpu", &backend, &err) < 0)
        return 1;

    for (size_t i = 0; i < sizeof(isas) / sizeof(isas[0]); i++) {
        const struct device_options options = { .num_threads = argc > 1 ? atoi(argv[1]) : 0,
                                                .isa = isas[i],
                                                .max_rows = 512,
                                                .max_ops = 256,
                                                .max_vocab = 1024 };
        if ((argc > 2 && strcmp(argv[2], isas[i]) != 0) ||
            backend->device_open(&options, &device, &err) < 0)
            continue;
        num_threads = backend->device_threads(device);
        float *data = kernel_rig_floats(probe_bytes / sizeof(float));
        const struct probe probe = kernel_probe_all(data, probe_bytes);
        bench_isa(&probe, argc > 3 ? argv[3] : NULL);
        (void)kernel_probe_all(data, probe_bytes);
        backend->free(device, data);
        backend->device_close(device);
    }
    return 0;
}
