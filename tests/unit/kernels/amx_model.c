#include "amx_model.h"

#include <assert.h>
#include <string.h>

#include "base/half.h"

static _Thread_local struct amx_tile tiles[8];

void amx_model_configure(const void *shapes)
{
    const uint8_t *bytes = shapes;
    assert(bytes[0] == 1 && bytes[1] == 0);
    for (int i = 0; i < 8; i++) {
        uint16_t row_bytes;
        memcpy(&row_bytes, bytes + 16 + 2 * i, sizeof(row_bytes));
        assert(row_bytes <= 64 && bytes[48 + i] <= 16);
        tiles[i] = (struct amx_tile){ .rows = bytes[48 + i], .row_bytes = row_bytes };
    }
}

void amx_model_load(int to, const void *from, size_t stride)
{
    struct amx_tile *tile = &tiles[to];
    amx_model_zero(to);
    for (int32_t r = 0; r < tile->rows; r++)
        memcpy(tile->bytes[r], (const int8_t *)from + (size_t)r * stride, (size_t)tile->row_bytes);
}

void amx_model_store(int from, void *to, size_t stride)
{
    const struct amx_tile *tile = &tiles[from];
    for (int32_t r = 0; r < tile->rows; r++)
        memcpy((int8_t *)to + (size_t)r * stride, tile->bytes[r], (size_t)tile->row_bytes);
}

void amx_model_zero(int to)
{
    memset(tiles[to].bytes, 0, sizeof(tiles[to].bytes));
}

/* to[m][n] += sum over k of a[m][k] b[k / 4][4 n + k % 4], as 32 bits that wrap. */
void amx_model_dot(int to, int a, int b)
{
    struct amx_tile *sum = &tiles[to];
    assert(sum->rows == tiles[a].rows && sum->row_bytes == tiles[b].row_bytes &&
           tiles[a].row_bytes == 4 * tiles[b].rows);
    for (int32_t m = 0; m < sum->rows; m++)
        for (int32_t n = 0; n < sum->row_bytes / 4; n++) {
            uint32_t total;
            memcpy(&total, &sum->bytes[m][4 * n], sizeof(total));
            for (int32_t k = 0; k < tiles[a].row_bytes; k++)
                total += (uint32_t)(tiles[a].bytes[m][k] * tiles[b].bytes[k / 4][4 * n + k % 4]);
            memcpy(&sum->bytes[m][4 * n], &total, sizeof(total));
        }
}

static float read_bf16(const int8_t *from)
{
    uint16_t bits;
    memcpy(&bits, from, sizeof(bits));
    return half_from_bf16(bits);
}

/* a b + c, rounded once. */
__attribute__((target("fma"))) static float fma_once(float a, float b, float c)
{
    return _mm_cvtss_f32(_mm_fmadd_ss(_mm_set_ss(a), _mm_set_ss(b), _mm_set_ss(c)));
}

/* Of one sum: even and odd terms apart, one FMA each, then both, then onto what was there. */
static float add_pairs(float total, const struct amx_tile *a, const struct amx_tile *b, int32_t m,
                       int32_t n)
{
    float sums[2] = { 0.0f, 0.0f };
    for (int32_t k = 0; k < a->row_bytes / 2; k++)
        sums[k % 2] = fma_once(read_bf16(&a->bytes[m][2 * k]),
                               read_bf16(&b->bytes[k / 2][4 * n + k % 2 * 2]), sums[k % 2]);
    return total + (sums[0] + sums[1]);
}

/* to[m][n] += sum over k of a[m][k] b[k / 2][2 n + k % 2], to nearest, subnormal numbers as 0. */
void amx_model_dot_bf16(int to, int a, int b)
{
    enum { FLUSH_TO_ZERO = 0x8000, DENORMALS_ARE_ZERO = 0x40 };
    struct amx_tile *sum = &tiles[to];
    const unsigned csr = _mm_getcsr();
    assert(sum->rows == tiles[a].rows && sum->row_bytes == tiles[b].row_bytes &&
           tiles[a].row_bytes == 4 * tiles[b].rows);
    _mm_setcsr(csr | FLUSH_TO_ZERO | DENORMALS_ARE_ZERO);
    for (int32_t m = 0; m < sum->rows; m++)
        for (int32_t n = 0; n < sum->row_bytes / 4; n++) {
            float total;
            memcpy(&total, &sum->bytes[m][4 * n], sizeof(total));
            total = add_pairs(total, &tiles[a], &tiles[b], m, n);
            memcpy(&sum->bytes[m][4 * n], &total, sizeof(total));
        }
    _mm_setcsr(csr);
}
