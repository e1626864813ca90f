/*
 * bench_probe - what the machine can do at this moment, in one line
 *
 *     bench_probe [threads [MiB]]
 *
 * Reads over as many MiB (512), which should be what the measured program reads: the last level of
 * a cache may hold some of it.
 */
#include <stdlib.h>

#include "kernel_rig.h"

int main(int argc, char **argv)
{
    const struct device_options options = {
        .num_threads = argc > 1 ? atoi(argv[1]) : 0, .max_rows = 1, .max_ops = 1, .max_vocab = 1024
    };
    const int mib = argc > 2 ? atoi(argv[2]) : 512;
    struct error err;
    if (mib < 1 || mib > 65536 || backend_open("cpu", &backend, &err) < 0 ||
        backend->device_open(&options, &device, &err) < 0)
        return 1;
    const size_t bytes = (size_t)mib << 20;
    num_threads = backend->device_threads(device);
    float *data = kernel_rig_floats(bytes / sizeof(float));
    (void)kernel_probe_all(data, bytes);
    backend->free(device, data);
    backend->device_close(device);
    return 0;
}
