#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fixture.h"

enum { NUM = 4, SEALS = F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL };

static const struct store_key key = { .identity = 4711, .rank = 1, .num_ranks = 2 };
static const struct store_object objects[NUM] = {
    { DTYPE_BF16, 65, 40 }, { DTYPE_F32, 17, 0 }, { DTYPE_F16, 32, 7 }, { DTYPE_F32, 3, 5 }
};
static struct device *device;
static struct error err;

static void setup(void)
{
    device = fixture_open("scalar", 1);
    err = (struct error){ 0 };
}

static void teardown(void)
{
    fixture_backend->device_close(device);
}

static struct weight_store *make(void)
{
    struct weight_store *store;
    ck_assert_msg(fixture_backend->store_create(device, &key, objects, NUM, &store, &err) == 0,
                  "%s", err.message);
    return store;
}

static int attach(const struct store_key *with_key, const struct store_object *list, int32_t num,
                  int fd, struct weight_store **ret_store)
{
    return fixture_backend->store_attach(device, with_key, list, num, fd, ret_store, &err);
}

/* Fill, and return what linear() makes of the first matrix. */
static void fill(struct weight_store *store, float out[65], const float x[40])
{
    double *values;
    void *data = fixture_matrix(DTYPE_BF16, 65 * 40, 1.0f, &values);
    float vector[17];
    fixture_fill(vector, 17);
    fixture_backend->weight_load(fixture_backend->store_weight(store, 0), 0, 65, data);
    fixture_backend->upload(device, fixture_backend->store_vector(store, 1), vector,
                            sizeof(vector));
    fixture_backend->begin(device);
    fixture_backend->linear(device, out, fixture_backend->store_weight(store, 0), NULL, x, 1);
    fixture_run(device);
    free(data);
    free(values);
}

static int sealed(void)
{
    float out[65], x[40] = { 1 };
    struct weight_store *store = make();
    int fd = -1;
    fill(store, out, x);
    ck_assert_msg(fixture_backend->store_seal(store, &fd, &err) == 0, "%s", err.message);
    fixture_backend->store_close(store);
    return fd;
}

START_TEST(who_attaches_computes_the_same_bits)
{
    float x[40], before[65], after[65], vector[17];
    struct weight_store *first = make(), *second;
    int fd;
    fixture_fill(x, 40);
    fill(first, before, x);
    memcpy(vector, fixture_backend->store_vector(first, 1), sizeof(vector));
    ck_assert_int_eq(fixture_backend->store_seal(first, &fd, &err), 0);
    fixture_backend->store_close(first);

    ck_assert_msg(attach(&key, objects, NUM, fd, &second) == 0, "%s", err.message);
    close(fd);

    fixture_backend->begin(device);
    fixture_backend->linear(device, after, fixture_backend->store_weight(second, 0), NULL, x, 1);
    fixture_run(device);
    ck_assert(fixture_equal_bits(before, after, 65));
    ck_assert(fixture_equal_bits(vector, fixture_backend->store_vector(second, 1), 17));
    ck_assert_uint_eq(fixture_backend->weight_bytes(fixture_backend->store_weight(second, 2)),
                      32 * 7 * 2);
    fixture_backend->store_close(second);
}
END_TEST

START_TEST(objects_are_zeroed_aligned_and_apart)
{
    struct weight_store *store = make();
    const char *vector = (const char *)fixture_backend->store_vector(store, 1);
    ck_assert_uint_eq((uintptr_t)vector % 64, 0);
    for (size_t i = 0; i < 17 * sizeof(float); i++)
        ck_assert_int_eq(vector[i], 0);
    memset(fixture_backend->store_vector(store, 1), 0xff, 17 * sizeof(float));
    float row[7] = { 9, 9, 9, 9, 9, 9, 9 };
    const int32_t id = 31;
    fixture_backend->begin(device);
    fixture_backend->embed(device, row, fixture_backend->store_weight(store, 2), 1.0f, &id, 1);
    fixture_run(device);
    for (int i = 0; i < 7; i++)
        ck_assert(row[i] == 0.0f);
    fixture_backend->store_close(store);
}
END_TEST

START_TEST(nobody_writes_a_sealed_file)
{
    const int fd = sealed();
    char path[64];
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    const int again = open(path, O_RDWR | O_CLOEXEC);
    ck_assert_int_eq(fcntl(fd, F_GET_SEALS) & SEALS, SEALS);
    ck_assert_ptr_eq(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), MAP_FAILED);
    if (again >= 0) {
        ck_assert_int_eq(pwrite(again, "x", 1, 0), -1);
        ck_assert_int_eq(ftruncate(again, 0), -1);
        ck_assert_ptr_eq(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, again, 0),
                         MAP_FAILED);
        close(again);
    }
    close(fd);
}
END_TEST

START_TEST(what_was_made_for_another_purpose_is_refused)
{
    struct store_key keys[3] = { key, key, key };
    struct weight_store *store;
    const int fd = sealed();
    keys[0].identity++;
    keys[1].rank = 0;
    keys[2].num_ranks = 4;
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(attach(&keys[i], objects, NUM, fd, &store), -EPROTO);
    ck_assert_ptr_nonnull(strstr(err.message, "another model"));

    ck_assert_int_eq(attach(&key, objects, NUM - 1, fd, &store), -EPROTO);
    struct store_object others[NUM];
    memcpy(others, objects, sizeof(objects));
    others[2].dtype = DTYPE_BF16; /* of the same size */
    ck_assert_int_eq(attach(&key, others, NUM, fd, &store), -EPROTO);
    ck_assert_ptr_nonnull(strstr(err.message, "layout"));

    struct device *simd = fixture_open("avx2", 1), *scalar = device;
    if (simd != NULL) {
        device = simd;
        ck_assert_int_eq(attach(&key, objects, NUM, fd, &store), -EPROTO);
        fixture_backend->device_close(simd);
        device = scalar;
    }
    ck_assert_int_eq(attach(&key, objects, NUM, fd, &store), 0);
    fixture_backend->store_close(store);
    close(fd);
}
END_TEST

/* A copy of a good file, one byte of which may be changed before it is sealed. */
static int copy_of(int fd, off_t changed, int seals)
{
    struct stat info;
    ck_assert_int_eq(fstat(fd, &info), 0);
    char *bytes = malloc((size_t)info.st_size);
    ck_assert_int_eq(pread(fd, bytes, (size_t)info.st_size, 0), info.st_size);
    if (changed >= 0)
        bytes[changed] ^= 1;
    const int copy = memfd_create("copy", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    ck_assert_int_eq(write(copy, bytes, (size_t)info.st_size), info.st_size);
    ck_assert_int_eq(fcntl(copy, F_ADD_SEALS, seals), 0);
    free(bytes);
    return copy;
}

START_TEST(a_file_is_taken_whole_and_sealed_or_not_at_all)
{
    static const struct {
        off_t changed;
        int seals;
        bool is_good;
    } cases[] = {
        { -1, SEALS, true },  { -1, SEALS & ~F_SEAL_WRITE, false },
        { -1, 0, false },     { -1, SEALS & ~F_SEAL_SHRINK, false },
        { 0, SEALS, false },  { 8, SEALS, false },
        { 12, SEALS, false }, { 60, SEALS, false },
    };
    const int good = sealed();
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct weight_store *store = NULL;
        const int fd = copy_of(good, cases[i].changed, cases[i].seals);
        ck_assert_int_eq(attach(&key, objects, NUM, fd, &store), cases[i].is_good ? 0 : -EPROTO);
        fixture_backend->store_close(store);
        close(fd);
    }
    struct weight_store *store;
    const int empty = memfd_create("empty", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    ck_assert_int_eq(fcntl(empty, F_ADD_SEALS, SEALS), 0);
    ck_assert_int_eq(attach(&key, objects, NUM, empty, &store), -EPROTO);
    ck_assert_ptr_nonnull(strstr(err.message, "0 bytes"));
    ck_assert_int_eq(attach(&key, objects, NUM, STDIN_FILENO, &store), -EPROTO);
    ck_assert_int_eq(attach(&key, objects, NUM, -1, &store), -EPROTO);
    close(empty);
    close(good);
}
END_TEST

START_TEST(objects_that_cannot_be_are_refused)
{
    static const struct store_object wrong[][2] = {
        { { DTYPE_F32, 4, 4 }, { DTYPE_F32, 0, 4 } },
        { { DTYPE_F32, 4, 4 }, { DTYPE_F32, 4, -1 } },
        { { DTYPE_F32, INT32_MAX, INT32_MAX }, { DTYPE_F32, INT32_MAX, INT32_MAX } },
    };
    struct weight_store *store;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        ck_assert_int_lt(fixture_backend->store_create(device, &key, wrong[i], 2, &store, &err), 0);
    ck_assert_ptr_nonnull(strstr(err.message, "laid out"));
}
END_TEST

START_TEST(a_store_that_was_never_sealed_leaves_nothing)
{
    struct weight_store *store = make();
    fixture_backend->store_close(store);
    fixture_backend->store_close(NULL);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("weight_store");
    TCase *tests = tcase_create("weight_store");
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, who_attaches_computes_the_same_bits);
    tcase_add_test(tests, objects_are_zeroed_aligned_and_apart);
    tcase_add_test(tests, nobody_writes_a_sealed_file);
    tcase_add_test(tests, what_was_made_for_another_purpose_is_refused);
    tcase_add_test(tests, a_file_is_taken_whole_and_sealed_or_not_at_all);
    tcase_add_test(tests, objects_that_cannot_be_are_refused);
    tcase_add_test(tests, a_store_that_was_never_sealed_leaves_nothing);
    suite_add_tcase(suite, tests);
    return fixture_main(suite);
}
