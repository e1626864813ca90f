#include "worker/memory.h"

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PATH_BYTES = 4096, LEAST_CHUNK = 64 };

/* --- files of one number, and of "key number" lines ---------------------------------------- */

static bool read_number(const char *dir, const char *name, int64_t *ret_value)
{
    char path[PATH_BYTES + 64];
    long long value;
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return false;
    const bool found = fscanf(file, "%lld", &value) == 1; /* "max" is no number: no limit */
    fclose(file);
    if (found)
        *ret_value = value;
    return found;
}

static bool read_keyed(const char *dir, const char *name, const char *key, int64_t *ret_value)
{
    char path[PATH_BYTES + 64], line[256];
    const size_t len = strlen(key);
    bool found = false;
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    FILE *file = fopen(path, "re");
    while (file != NULL && !found && fgets(line, sizeof(line), file) != NULL)
        if (strncmp(line, key, len) == 0 && (line[len] == ' ' || line[len] == ':')) {
            *ret_value = strtoll(line + len + 1, NULL, 10);
            found = true;
        }
    if (file != NULL)
        fclose(file);
    return found;
}

/* --- control groups ----------------------------------------------------------------------- */

static int64_t least(int64_t a, int64_t b)
{
    return a < 0 ? b : b < 0 || a < b ? a : b;
}

/* What this group leaves: pages of files count as used but can be dropped. -1: no limit. */
static int64_t group_left(const char *dir, const char *limit_name, const char *used_name,
                          const char *cache_key)
{
    int64_t limit, used, cache = 0;
    if (!read_number(dir, limit_name, &limit) || !read_number(dir, used_name, &used))
        return -1;
    (void)read_keyed(dir, "memory.stat", cache_key, &cache);
    const int64_t left = limit - used + cache;
    return left > 0 ? left : 0;
}

static int64_t v2_left(const char *dir)
{
    return group_left(dir, "memory.max", "memory.current", "inactive_file");
}

static int64_t v1_left(const char *dir)
{
    return group_left(dir, "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file");
}

/* The group and all its parents up to the mount point. Inside a container the path may name
 * a place that is not mounted; then the mount point itself is the group. */
static int64_t groups_left(const char *mount, const char *path, int64_t (*left_in)(const char *))
{
    char dir[PATH_BYTES];
    int64_t left = -1;
    const size_t root = (size_t)snprintf(dir, sizeof(dir), "%s", mount);
    snprintf(dir, sizeof(dir), "%s%s", mount, path);
    for (;;) {
        left = least(left, left_in(dir));
        char *slash = strrchr(dir, '/');
        if (slash == NULL || slash < dir + root)
            return left;
        *slash = '\0';
    }
}

/* A line of /proc/self/cgroup is "id:controllers:path"; v2's has neither. */
static int64_t line_left(char *line, const char *cgroup)
{
    char mount[PATH_BYTES];
    char *controllers = strchr(line, ':'), *path;
    line[strcspn(line, "\n")] = '\0';
    if (controllers == NULL || (path = strchr(controllers + 1, ':')) == NULL)
        return -1;
    *path++ = '\0';
    controllers++;
    if (*controllers == '\0')
        return groups_left(cgroup, path, v2_left);
    if (strstr(controllers, "memory") == NULL)
        return -1;
    snprintf(mount, sizeof(mount), "%s/memory", cgroup);
    return groups_left(mount, path, v1_left);
}

int64_t memory_available_at(const char *proc, const char *cgroup)
{
    char path[PATH_BYTES], line[PATH_BYTES];
    int64_t available = -1, kib;
    if (read_keyed(proc, "meminfo", "MemAvailable", &kib))
        available = kib * 1024;
    snprintf(path, sizeof(path), "%s/self/cgroup", proc);
    FILE *file = fopen(path, "re");
    while (file != NULL && fgets(line, sizeof(line), file) != NULL)
        available = least(available, line_left(line, cgroup));
    if (file != NULL)
        fclose(file);
    return available;
}

int64_t memory_available(void)
{
    return memory_available_at("/proc", "/sys/fs/cgroup");
}

/* --- the KV cache ------------------------------------------------------------------------- */

/* Blocks of one sequence of `len` positions, in small chunks. */
static int64_t blocks_of(const struct memory_kv *kv, int32_t len)
{
    const int32_t chunk = kv->chunk < LEAST_CHUNK ? kv->chunk : LEAST_CHUNK;
    return kv_most_blocks(kv->groups, chunk, len);
}

/* The longest sequence that `bytes` hold. */
static int32_t fitting_len(const struct memory_kv *kv, int64_t bytes)
{
    int32_t low = 0, high = kv->groups != NULL ? kv->max_model_len - 1 : 0;
    while (low < high) {
        const int32_t middle = low + (high - low + 1) / 2;
        if (blocks_of(kv, middle) * kv->block_bytes <= bytes)
            low = middle;
        else
            high = middle - 1;
    }
    return low;
}

/* What is needed, what there is, and what would do. */
static int too_small(const struct memory_kv *kv, int64_t bytes, struct error *err)
{
    const double mib = 1024.0 * 1024.0;
    const int64_t free_bytes = kv->available_bytes >= 0 ? kv->available_bytes : bytes;
    const int32_t fits = fitting_len(kv, bytes < free_bytes ? bytes : free_bytes);
    const bool is_told = kv->wanted_bytes > 0 || !kv->is_device;
    char remedy[64] = "lower --max-model-len";
    if (fits > 0)
        snprintf(remedy, sizeof(remedy), "lower --max-model-len to %d, which fits", fits);
    return error_set_param(
        err, -ENOMEM, is_told ? "kv_cache_memory" : "gpu_memory_utilization",
        "KV cache: one sequence of full length needs %.1f MiB, %.1f MiB are wanted and %.1f MiB of "
        "%s are free; change %s or %s",
        (double)kv->block_bytes * (double)kv->least_blocks / mib, (double)bytes / mib,
        (double)free_bytes / mib,
        kv->is_device ? "the GPU memory that this rank may take" : "memory",
        is_told ? "--kv-cache-memory" : "--gpu-memory-utilization", remedy);
}

void memory_count_blocks(struct memory_kv *kv, const struct kv_groups *groups, int32_t chunk,
                         int32_t max_model_len)
{
    kv->groups = groups;
    kv->chunk = chunk;
    kv->max_model_len = max_model_len;
    kv->blocks_per_seq = kv_most_blocks(groups, chunk, max_model_len);
    kv->least_blocks = blocks_of(kv, max_model_len);
}

int64_t memory_kv_tokens(const struct kv_groups *groups, int32_t num_blocks, int32_t chunk,
                         int32_t max_model_len)
{
    const int64_t positions = (int64_t)kv_pages(groups, max_model_len) * groups->block_size;
    return num_blocks * positions / kv_most_blocks(groups, chunk, max_model_len);
}

int memory_size_kv(const struct memory_kv *kv, int32_t *ret_num_blocks, struct error *err)
{
    const int64_t available = kv->available_bytes >= 0 ? kv->available_bytes : INT64_MAX;
    const int64_t one = kv->block_bytes * kv->least_blocks;
    const int64_t usual = kv->is_device ? available : available / 4;
    int64_t bytes = kv->wanted_bytes > 0 ? kv->wanted_bytes : usual;
    if (kv->wanted_bytes == 0 && bytes < one && one <= available / 4 * 3)
        bytes = one;
    if (bytes < one || bytes > available)
        return too_small(kv, bytes, err);
    const int64_t most = kv->blocks_per_seq * kv->max_num_seqs;
    int64_t num = bytes / kv->block_bytes;
    num = kv->wanted_bytes > 0 || num < most ? num : most;
    *ret_num_blocks = (int32_t)(num < INT32_MAX / 64 ? num : INT32_MAX / 64);
    return 0;
}

enum dtype memory_kv_dtype(const char *name)
{
    static const struct {
        const char *name;
        enum dtype dtype;
    } rows[] = {
        { "f32", DTYPE_F32 },     { "bf16", DTYPE_BF16 },        { "bfloat16", DTYPE_BF16 },
        { "fp8", DTYPE_F8_E4M3 }, { "fp8_e4m3", DTYPE_F8_E4M3 }, { "q8_0", DTYPE_Q8_0 },
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (strcmp(name, rows[i].name) == 0)
            return rows[i].dtype;
    return DTYPE_F16; /* also "auto" */
}
