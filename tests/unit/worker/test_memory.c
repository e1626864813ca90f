#include "worker/load_report.h"
#include "worker/memory.h"
#include "worker/memory_report.h"

#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static char root[64], proc[80], cgroup[80];

static void put(const char *path, const char *text)
{
    char full[256], *slash;
    snprintf(full, sizeof(full), "%s/%s", root, path);
    for (slash = strchr(full + strlen(root) + 1, '/'); slash != NULL;
         slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        mkdir(full, 0700);
        *slash = '/';
    }
    FILE *file = fopen(full, "w");
    ck_assert_ptr_nonnull(file);
    fputs(text, file);
    fclose(file);
}

static void setup(void)
{
    strcpy(root, "/tmp/tokenring-memory-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(root));
    snprintf(proc, sizeof(proc), "%s/proc", root);
    snprintf(cgroup, sizeof(cgroup), "%s/cgroup", root);
    put("proc/meminfo",
        "MemTotal:  100 kB\nMemFree: 10 kB\nMemAvailable:  4000 kB\nSwapFree: 1 kB\n");
}

static void teardown(void)
{
    char command[128];
    snprintf(command, sizeof(command), "rm -r %s", root);
    ck_assert_int_eq(system(command), 0);
}

START_TEST(without_a_limit_it_is_what_the_kernel_calls_available)
{
    put("proc/self/cgroup", "0::/a\n");
    put("cgroup/a/memory.max", "max\n");
    put("cgroup/a/memory.current", "500\n");

    ck_assert_int_eq(memory_available_at(proc, cgroup), 4000 * 1024);
}
END_TEST

START_TEST(the_tightest_group_above_counts_and_its_file_pages_are_free)
{
    put("proc/self/cgroup", "0::/a/b\n");
    put("cgroup/a/b/memory.max", "900000\n");
    put("cgroup/a/b/memory.current", "100000\n");
    put("cgroup/a/memory.max", "600000\n");
    put("cgroup/a/memory.current", "200000\n");
    put("cgroup/a/memory.stat", "anon 5\ninactive_file 50000\n");

    ck_assert_int_eq(memory_available_at(proc, cgroup), 450000);
}
END_TEST

START_TEST(the_first_version_of_control_groups_is_read_too)
{
    put("proc/self/cgroup", "5:cpu:/x\n4:hugetlb,memory:/a\n");
    put("cgroup/memory/a/memory.limit_in_bytes", "300000\n");
    put("cgroup/memory/a/memory.usage_in_bytes", "100000\n");

    ck_assert_int_eq(memory_available_at(proc, cgroup), 200000);
}
END_TEST

START_TEST(a_path_that_is_not_mounted_means_the_mount_point)
{
    put("proc/self/cgroup", "0::/outside/of/the/container\n");
    put("cgroup/memory.max", "300000\n");
    put("cgroup/memory.current", "100000\n");

    ck_assert_int_eq(memory_available_at(proc, cgroup), 200000);
}
END_TEST

START_TEST(nothing_known_is_minus_one)
{
    ck_assert_int_eq(memory_available_at("/nowhere", "/nowhere"), -1);
}
END_TEST

static struct memory_kv kv_of(int64_t wanted, int64_t available)
{
    return (struct memory_kv){ .block_bytes = 1000,
                               .blocks_per_seq = 10,
                               .least_blocks = 10,
                               .max_num_seqs = 4,
                               .wanted_bytes = wanted,
                               .available_bytes = available };
}

START_TEST(the_cache_has_what_was_wanted_or_what_is_useful_up_to_a_quarter)
{
    static const struct {
        int64_t wanted, available;
        int32_t blocks;
    } cases[] = {
        { 0, 1000000, 40 },      /* four sequences of full length */
        { 0, 100000, 25 },       /* a quarter */
        { 0, 20000, 10 },        /* one sequence is more than a quarter, but fits */
        { 0, -1, 40 },           /* nothing is known of the machine */
        { 55000, 1000000, 55 },  /* as told */
        { 10500, 1000000, 10 },  /* whole blocks */
        { 100000, 100000, 100 }, /* all there is */
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const struct memory_kv kv = kv_of(cases[i].wanted, cases[i].available);
        int32_t blocks = -1;
        ck_assert_int_eq(memory_size_kv(&kv, &blocks, NULL), 0);
        ck_assert_int_eq(blocks, cases[i].blocks);
    }
}
END_TEST

START_TEST(too_little_is_an_error_that_names_the_option)
{
    static const struct {
        int64_t wanted, available;
    } cases[] = { { 9999, 1000000 }, { 20000, 19999 }, { 0, 12000 } };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const struct memory_kv kv = kv_of(cases[i].wanted, cases[i].available);
        int32_t blocks = -1;
        struct error err;
        ck_assert_int_eq(memory_size_kv(&kv, &blocks, &err), -ENOMEM);
        ck_assert_int_eq(blocks, -1);
        ck_assert_ptr_nonnull(strstr(err.message, "--kv-cache-memory"));
        ck_assert_ptr_nonnull(strstr(err.message, "--max-model-len"));
    }
}
END_TEST

/* Of a device: all that this rank may take, and what would fit when that is too little. */
START_TEST(a_device_gives_all_and_a_sequence_that_fits_is_named)
{
    const struct kv_groups groups = {
        .block_size = 16, .num_groups = 1, .num_parts = 1, .groups = { { .num_parts = 1 } }
    };
    struct memory_kv kv = { .block_bytes = 1 << 20, .max_num_seqs = 4, .is_device = true };
    struct error err;
    int32_t blocks = -1;
    memory_count_blocks(&kv, &groups, 512, 1600); /* 100 blocks a sequence */
    kv.available_bytes = 150 << 20;
    ck_assert_int_eq(memory_size_kv(&kv, &blocks, NULL), 0);
    ck_assert_int_eq(blocks, 150);
    kv.available_bytes = 1000 << 20; /* more than four sequences are of no use */
    ck_assert_int_eq(memory_size_kv(&kv, &blocks, NULL), 0);
    ck_assert_int_eq(blocks, 400);
    kv.available_bytes = (50 << 20) - 1;
    ck_assert_int_eq(memory_size_kv(&kv, &blocks, &err), -ENOMEM);
    ck_assert_str_eq(err.param, "gpu_memory_utilization");
    ck_assert_ptr_nonnull(strstr(err.message, "needs 100.0 MiB"));
    ck_assert_ptr_nonnull(strstr(err.message, "lower --max-model-len to 784, which fits"));
    memory_count_blocks(&kv, &groups, 512, 784);
    ck_assert_int_eq(memory_size_kv(&kv, &blocks, NULL), 0);
    memory_count_blocks(&kv, &groups, 512, 785);
    ck_assert_int_eq(memory_size_kv(&kv, &blocks, NULL), -ENOMEM);
    kv.available_bytes = 0; /* weights have taken it all */
    ck_assert_int_eq(memory_size_kv(&kv, &blocks, &err), -ENOMEM);
    ck_assert_ptr_nonnull(strstr(err.message, "or lower --max-model-len"));
}
END_TEST

START_TEST(each_name_of_the_option_is_a_type_of_pages)
{
    static const struct {
        const char *name;
        enum dtype dtype;
    } cases[] = { { "auto", DTYPE_F16 },         { "f32", DTYPE_F32 },      { "f16", DTYPE_F16 },
                  { "bf16", DTYPE_BF16 },        { "fp8", DTYPE_F8_E4M3 },  { "q8_0", DTYPE_Q8_0 },
                  { "fp8_e4m3", DTYPE_F8_E4M3 }, { "bfloat16", DTYPE_BF16 } };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        ck_assert_int_eq(memory_kv_dtype(cases[i].name), cases[i].dtype);
}
END_TEST

static int64_t bytes_left;

static int64_t say_left(const struct device *device)
{
    (void)device;
    return bytes_left;
}

static int32_t say_uses(const struct device *device, struct memory_use *ret_uses, int32_t max)
{
    (void)device;
    ck_assert_int_ge(max, 2);
    ret_uses[0] = (struct memory_use){ "weights", (size_t)3 << 29 };
    ret_uses[1] = (struct memory_use){ "KV cache", 100 };
    return 2;
}

START_TEST(a_device_of_its_own_tells_where_its_memory_is)
{
    const struct backend backend = { .memory_left = say_left, .memory_uses = say_uses };
    char text[MEMORY_REPORT_BYTES];
    bytes_left = 5 << 20;
    ck_assert(memory_report(&backend, NULL, text));
    ck_assert_str_eq(text, "weights 1.5 GiB, KV cache 100 B, 5.0 MiB left");
    bytes_left = -1; /* the host's */
    ck_assert(!memory_report(&backend, NULL, text));
    ck_assert_str_eq(text, "");
}
END_TEST

static void say_ways(const struct device *device, struct load_report *ret_report)
{
    (void)device;
    *ret_report = (struct load_report){ .sent = 1500000000, .copied = 20000000, .packed = 7 };
}

START_TEST(a_device_of_its_own_tells_how_its_weights_came)
{
    const struct backend host = { .load_report = NULL }, own = { .load_report = say_ways };
    struct load_rate rate = { .bytes = 1530000000, .us = 300000, .was_direct = true };
    char text[LOAD_REPORT_BYTES];
    ck_assert(load_report(&own, NULL, &rate, text));
    ck_assert_str_eq(text, "1.53 GB in 0.30 s, 5.10 GB/s by direct reads; copied from where they "
                           "were read 1.50 GB, through other memory 0.02 GB, packed 0.00 GB");
    rate = (struct load_rate){ .bytes = 0 };
    ck_assert(load_report(&own, NULL, &rate, text));
    ck_assert_ptr_nonnull(strstr(text, "0.00 GB/s through the page cache"));
    ck_assert(!load_report(&host, NULL, &rate, text));
    ck_assert_str_eq(text, "");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("memory");
    TCase *tc = tcase_create("memory");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, without_a_limit_it_is_what_the_kernel_calls_available);
    tcase_add_test(tc, the_tightest_group_above_counts_and_its_file_pages_are_free);
    tcase_add_test(tc, the_first_version_of_control_groups_is_read_too);
    tcase_add_test(tc, a_path_that_is_not_mounted_means_the_mount_point);
    tcase_add_test(tc, nothing_known_is_minus_one);
    tcase_add_test(tc, the_cache_has_what_was_wanted_or_what_is_useful_up_to_a_quarter);
    tcase_add_test(tc, a_device_gives_all_and_a_sequence_that_fits_is_named);
    tcase_add_test(tc, each_name_of_the_option_is_a_type_of_pages);
    tcase_add_test(tc, a_device_of_its_own_tells_where_its_memory_is);
    tcase_add_test(tc, a_device_of_its_own_tells_how_its_weights_came);
    tcase_add_test(tc, too_little_is_an_error_that_names_the_option);
    suite_add_tcase(suite, tc);

    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
