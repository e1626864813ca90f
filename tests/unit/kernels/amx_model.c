#include "amx_model.h"

#include <assert.h>
#include <string.h>

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
