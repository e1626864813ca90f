#include "kernels/cuda/lt_api.h"

#include <dlfcn.h>
#include <errno.h>

#include "kernels/cuda/library.h"

#if __has_include(<cublasLt.h>)
#include <cublasLt.h>

#define SAME(own, theirs) _Static_assert((int)(own) == (int)(theirs), #theirs)
SAME(LT_SUCCESS, CUBLAS_STATUS_SUCCESS);
SAME(LT_INVALID_VALUE, CUBLAS_STATUS_INVALID_VALUE);
SAME(LT_NOT_SUPPORTED, CUBLAS_STATUS_NOT_SUPPORTED);
SAME(LT_F32, CUDA_R_32F);
SAME(LT_F16, CUDA_R_16F);
SAME(LT_BF16, CUDA_R_16BF);
SAME(LT_E4M3, CUDA_R_8F_E4M3);
SAME(LT_COMPUTE_F32, CUBLAS_COMPUTE_32F);
SAME(LT_PLAIN, CUBLAS_OP_N);
SAME(LT_TURNED, CUBLAS_OP_T);
SAME(LT_TRANSFORM_A, CUBLASLT_MATMUL_DESC_TRANSA);
SAME(LT_TRANSFORM_B, CUBLASLT_MATMUL_DESC_TRANSB);
SAME(LT_SCALES_A, CUBLASLT_MATMUL_DESC_A_SCALE_POINTER);
SAME(LT_SCALES_B, CUBLASLT_MATMUL_DESC_B_SCALE_POINTER);
SAME(LT_FAST_ACCUMULATION, CUBLASLT_MATMUL_DESC_FAST_ACCUM);
SAME(LT_WORKSPACE_BYTES, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES);
SAME(sizeof(struct lt_algorithm), sizeof(cublasLtMatmulAlgo_t));
SAME(sizeof(struct lt_choice), sizeof(cublasLtMatmulHeuristicResult_t));
SAME(offsetof(struct lt_choice, status), offsetof(cublasLtMatmulHeuristicResult_t, state));
#if CUBLAS_VERSION >= 120900
SAME(LT_SCALING_A, CUBLASLT_MATMUL_DESC_A_SCALE_MODE);
SAME(LT_SCALING_B, CUBLASLT_MATMUL_DESC_B_SCALE_MODE);
SAME(LT_SCALING_TENSOR, CUBLASLT_MATMUL_MATRIX_SCALE_SCALAR_32F);
SAME(LT_SCALING_ROWS, CUBLASLT_MATMUL_MATRIX_SCALE_OUTER_VEC_32F);
SAME(LT_SCALING_RUNS, CUBLASLT_MATMUL_MATRIX_SCALE_VEC128_32F);
SAME(LT_SCALING_BLOCKS, CUBLASLT_MATMUL_MATRIX_SCALE_BLK128x128_32F);
#endif
#endif

int lt_api_open(const char *libraries, struct lt_api *ret_api, struct error *err)
{
    static const char *const names[] = { "libcublasLt.so.13", "libcublasLt.so.12", NULL };
    const struct {
        void **function;
        const char *name;
    } rows[] = {
        { (void **)&ret_api->version, "cublasLtGetVersion" },
        { (void **)&ret_api->create, "cublasLtCreate" },
        { (void **)&ret_api->destroy, "cublasLtDestroy" },
        { (void **)&ret_api->operation_create, "cublasLtMatmulDescCreate" },
        { (void **)&ret_api->operation_destroy, "cublasLtMatmulDescDestroy" },
        { (void **)&ret_api->operation_set, "cublasLtMatmulDescSetAttribute" },
        { (void **)&ret_api->layout_create, "cublasLtMatrixLayoutCreate" },
        { (void **)&ret_api->layout_destroy, "cublasLtMatrixLayoutDestroy" },
        { (void **)&ret_api->preference_create, "cublasLtMatmulPreferenceCreate" },
        { (void **)&ret_api->preference_destroy, "cublasLtMatmulPreferenceDestroy" },
        { (void **)&ret_api->preference_set, "cublasLtMatmulPreferenceSetAttribute" },
        { (void **)&ret_api->choose, "cublasLtMatmulAlgoGetHeuristic" },
        { (void **)&ret_api->multiply, "cublasLtMatmul" },
    };
    void *handle = library_open(libraries, "cublas", names);
    if (handle == NULL)
        return 0;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if ((*rows[i].function = dlsym(handle, rows[i].name)) == NULL)
            return error_set(err, -EPROTO, "cuBLASLt has no %s", rows[i].name);
    return 1;
}
