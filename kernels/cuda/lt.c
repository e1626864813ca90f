#include "kernels/cuda/lt.h"

#include <cublasLt.h>
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cuda/device.h"
#include "kernels/cuda/library.h"

enum { WORKSPACE_BYTES = 32 << 20, MAX_PLANS = 1024 };

/* How one shape is computed. The heuristic is asked once. */
struct plan {
    enum number number;
    int32_t outs, inputs, stride, rows, out_row;
    cublasLtMatmulDesc_t operation;
    cublasLtMatrixLayout_t w, x, out;
    cublasLtMatmulAlgo_t algorithm;
    bool is_good;
};

struct lt {
    cublasLtHandle_t handle;
    struct memory *memory;
    void *workspace;
    struct plan *plans; /* [MAX_PLANS], the first num of them in use; more are not kept */
    int32_t num_plans;
    struct {
        cublasStatus_t (*create)(cublasLtHandle_t *);
        cublasStatus_t (*destroy)(cublasLtHandle_t);
        cublasStatus_t (*desc_create)(cublasLtMatmulDesc_t *, cublasComputeType_t, cudaDataType_t);
        cublasStatus_t (*desc_destroy)(cublasLtMatmulDesc_t);
        cublasStatus_t (*desc_set)(cublasLtMatmulDesc_t, cublasLtMatmulDescAttributes_t,
                                   const void *, size_t);
        cublasStatus_t (*layout_create)(cublasLtMatrixLayout_t *, cudaDataType, uint64_t, uint64_t,
                                        int64_t);
        cublasStatus_t (*layout_destroy)(cublasLtMatrixLayout_t);
        cublasStatus_t (*preference_create)(cublasLtMatmulPreference_t *);
        cublasStatus_t (*preference_destroy)(cublasLtMatmulPreference_t);
        cublasStatus_t (*preference_set)(cublasLtMatmulPreference_t,
                                         cublasLtMatmulPreferenceAttributes_t, const void *,
                                         size_t);
        cublasStatus_t (*heuristic)(cublasLtHandle_t, cublasLtMatmulDesc_t, cublasLtMatrixLayout_t,
                                    cublasLtMatrixLayout_t, cublasLtMatrixLayout_t,
                                    cublasLtMatrixLayout_t, cublasLtMatmulPreference_t, int,
                                    cublasLtMatmulHeuristicResult_t *, int *);
        cublasStatus_t (*multiply)(cublasLtHandle_t, cublasLtMatmulDesc_t, const void *,
                                   const void *, cublasLtMatrixLayout_t, const void *,
                                   cublasLtMatrixLayout_t, const void *, const void *,
                                   cublasLtMatrixLayout_t, void *, cublasLtMatrixLayout_t,
                                   const cublasLtMatmulAlgo_t *, void *, size_t, cudaStream_t);
    } call;
};

static int find_functions(struct lt *lt, void *handle, struct error *err)
{
    const struct {
        void **function;
        const char *name;
    } rows[] = {
        { (void **)&lt->call.create, "cublasLtCreate" },
        { (void **)&lt->call.destroy, "cublasLtDestroy" },
        { (void **)&lt->call.desc_create, "cublasLtMatmulDescCreate" },
        { (void **)&lt->call.desc_destroy, "cublasLtMatmulDescDestroy" },
        { (void **)&lt->call.desc_set, "cublasLtMatmulDescSetAttribute" },
        { (void **)&lt->call.layout_create, "cublasLtMatrixLayoutCreate" },
        { (void **)&lt->call.layout_destroy, "cublasLtMatrixLayoutDestroy" },
        { (void **)&lt->call.preference_create, "cublasLtMatmulPreferenceCreate" },
        { (void **)&lt->call.preference_destroy, "cublasLtMatmulPreferenceDestroy" },
        { (void **)&lt->call.preference_set, "cublasLtMatmulPreferenceSetAttribute" },
        { (void **)&lt->call.heuristic, "cublasLtMatmulAlgoGetHeuristic" },
        { (void **)&lt->call.multiply, "cublasLtMatmul" },
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if ((*rows[i].function = dlsym(handle, rows[i].name)) == NULL)
            return error_set(err, -EPROTO, "cuBLASLt has no %s", rows[i].name);
    return 0;
}

int lt_open(const char *libraries, struct memory *memory, struct lt **ret_lt, struct error *err)
{
    static const char *const names[] = { "libcublasLt.so.13", "libcublasLt.so.12", NULL };
    *ret_lt = NULL;
    void *handle = library_open(libraries, "cublas", names);
    if (handle == NULL)
        return 0;
    struct lt *lt = calloc(1, sizeof(*lt));
    if (lt == NULL)
        return error_set(err, -ENOMEM, "no memory for cuBLASLt");
    lt->memory = memory;
    lt->plans = calloc(MAX_PLANS, sizeof(*lt->plans));
    lt->workspace = memory_take(memory, MEMORY_WORKSPACE, WORKSPACE_BYTES);
    int r = lt->plans != NULL && lt->workspace != NULL
                ? find_functions(lt, handle, err)
                : error_set(err, -ENOMEM, "no memory for cuBLASLt");
    if (r == 0 && lt->call.create(&lt->handle) != CUBLAS_STATUS_SUCCESS)
        r = error_set(err, -EPROTO, "cuBLASLt was found but does not start");
    if (r < 0) {
        lt_close(lt);
        return r;
    }
    *ret_lt = lt;
    return 0;
}

void lt_close(struct lt *lt)
{
    if (lt == NULL)
        return;
    for (int32_t i = 0; i < lt->num_plans; i++) {
        lt->call.desc_destroy(lt->plans[i].operation);
        lt->call.layout_destroy(lt->plans[i].w);
        lt->call.layout_destroy(lt->plans[i].x);
        lt->call.layout_destroy(lt->plans[i].out);
    }
    if (lt->handle != NULL)
        lt->call.destroy(lt->handle);
    memory_give(lt->memory, lt->workspace);
    free(lt->plans);
    free(lt);
}

static cudaDataType_t type_of(enum number number)
{
    return number == NUMBER_F32 ? CUDA_R_32F : number == NUMBER_F16 ? CUDA_R_16F : CUDA_R_16BF;
}

/* In its own words, by columns: out [outs x rows] = W' [outs x inputs] x [inputs x rows]. */
static bool describe(struct lt *lt, struct plan *p)
{
    const cublasOperation_t turned = CUBLAS_OP_T, plain = CUBLAS_OP_N;
    const cudaDataType_t type = type_of(p->number);
    return lt->call.desc_create(&p->operation, CUBLAS_COMPUTE_32F, CUDA_R_32F) == 0 &&
           lt->call.desc_set(p->operation, CUBLASLT_MATMUL_DESC_TRANSA, &turned, sizeof(turned)) ==
               0 &&
           lt->call.desc_set(p->operation, CUBLASLT_MATMUL_DESC_TRANSB, &plain, sizeof(plain)) ==
               0 &&
           lt->call.layout_create(&p->w, type, (uint64_t)p->inputs, (uint64_t)p->outs, p->stride) ==
               0 &&
           lt->call.layout_create(&p->x, type, (uint64_t)p->inputs, (uint64_t)p->rows, p->inputs) ==
               0 &&
           lt->call.layout_create(&p->out, CUDA_R_32F, (uint64_t)p->outs, (uint64_t)p->rows,
                                  p->out_row) == 0;
}

static bool choose(struct lt *lt, struct plan *p)
{
    const size_t bytes = WORKSPACE_BYTES;
    cublasLtMatmulPreference_t preference = NULL;
    cublasLtMatmulHeuristicResult_t found;
    int num = 0;
    const bool done = lt->call.preference_create(&preference) == 0 &&
                      lt->call.preference_set(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                              &bytes, sizeof(bytes)) == 0 &&
                      lt->call.heuristic(lt->handle, p->operation, p->w, p->x, p->out, p->out,
                                         preference, 1, &found, &num) == 0 &&
                      num > 0;
    if (preference != NULL)
        lt->call.preference_destroy(preference);
    if (done)
        p->algorithm = found.algo;
    return done;
}

static struct plan *plan_of(struct lt *lt, const struct lt_args *a)
{
    const struct plan wanted = { .number = a->w.number,
                                 .outs = a->w.rows,
                                 .inputs = a->w.cols,
                                 .stride = a->w.stride,
                                 .rows = a->rows,
                                 .out_row = a->out_row };
    for (int32_t i = 0; i < lt->num_plans; i++) {
        struct plan *p = &lt->plans[i];
        if (p->number == wanted.number && p->outs == wanted.outs && p->inputs == wanted.inputs &&
            p->stride == wanted.stride && p->rows == wanted.rows && p->out_row == wanted.out_row)
            return p;
    }
    if (lt->num_plans == MAX_PLANS)
        return NULL;
    struct plan *p = &lt->plans[lt->num_plans++];
    *p = wanted;
    p->is_good = describe(lt, p) && choose(lt, p);
    return p;
}

/* A shape that it does not know, or one too many to keep: by the kernels of our own. */
static void multiply_ourselves(const struct launch *launch, const struct lt_args *a)
{
    struct linear_args own = { .w = a->w,
                               .x = a->x,
                               .out = a->out,
                               .x_number = a->w.number,
                               .rows = a->rows,
                               .out_dim = a->w.rows,
                               .num_blocks = 1,
                               .x_row = a->w.cols,
                               .out_row = a->out_row,
                               .rows_hint = a->rows,
                               .is_made = true };
    (a->w.number == NUMBER_F32 ? linear_f32 : linear_plain)(launch, &own);
}

void lt_multiply(const struct launch *launch, const void *args)
{
    const struct lt_args *a = args;
    struct lt *lt = a->lt;
    const float one = 1.0f, zero = 0.0f;
    const struct plan *p = plan_of(lt, a);
    if (p == NULL || !p->is_good ||
        lt->call.multiply(lt->handle, p->operation, &one, a->w.data, p->w, a->x, p->x, &zero,
                          a->out, p->out, a->out, p->out, &p->algorithm, lt->workspace,
                          WORKSPACE_BYTES, launch->stream) != CUBLAS_STATUS_SUCCESS)
        multiply_ourselves(launch, a);
}
