/*
 * Rows as files have them, on their way into a weight.
 *
 * Plain rows are copied from the room that they were read into, or through pinned buffers. All
 * others are packed, tile by tile: each part of a matrix lies tile after tile (weight.h), so some
 * tiles are made in a pinned buffer, one part behind the other, and each part is a copy. Rows that
 * do not fill their tile wait in memory of its own until the rest has come, at the latest until the
 * next list.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cuda/device.h"
#include "kernels/cuda/pack.h"

enum { TILE_ROWS = 16, PANEL_ROWS = 32, NUM_TILED = WEIGHT_UNIT_GROUPS };

struct weight_edge {
    struct weight_edge *next;
    int32_t tile, num_rows; /* rows: that have come */
    unsigned char memory[];
};

/* --- tiles ------------------------------------------------------------------------------------ */

static size_t tile_bytes(const struct weight *w, int part)
{
    const size_t panels = ((size_t)w->matrix.rows + PANEL_ROWS - 1) / PANEL_ROWS;
    const size_t bytes = part == WEIGHT_DATA ? w->data_bytes : w->part_bytes[part];
    return bytes / (panels * PANEL_ROWS / TILE_ROWS);
}

static size_t all_bytes(const struct weight *w)
{
    size_t bytes = 0;
    for (int i = 0; i < NUM_TILED; i++)
        bytes += tile_bytes(w, i);
    return bytes;
}

/* The parts of tiles from `tile` on, made in `memory`, and where they go. */
static void place_tiles(const struct weight *w, int32_t tile, int32_t num, unsigned char *memory,
                        struct load_piece ret_pieces[NUM_TILED])
{
    const struct matrix *m = &w->matrix;
    const void *const parts[NUM_TILED] = {
        [WEIGHT_DATA] = m->data, [WEIGHT_HIGH] = m->high,   [WEIGHT_SCALES] = m->scales,
        [WEIGHT_MINS] = m->mins, [WEIGHT_TAILS] = m->tails, [WEIGHT_ZEROS] = m->zeros
    };
    for (int i = 0; i < NUM_TILED; i++) {
        const size_t bytes = tile_bytes(w, i);
        ret_pieces[i] = (struct load_piece){ .bytes = bytes * (size_t)num };
        if (bytes == 0)
            continue;
        ret_pieces[i].to = (unsigned char *)parts[i] + (size_t)tile * bytes;
        ret_pieces[i].from = memory;
        memory += ret_pieces[i].bytes;
    }
}

static void pack_scaled_rows(struct weight *w, const struct pack_image *image, int32_t row,
                             int32_t num_rows, const unsigned char *from)
{
    const struct scaling form = { .has_zeros = w->scaling.has_zeros,
                                  .num_groups = w->scaling.num_groups };
    const struct pack_scaling scaling = { .num_groups = w->scaling.num_groups,
                                          .groups = w->scaling.groups,
                                          .places = w->scaling.places };
    const size_t row_bytes = scaling_row_bytes(&form, w->matrix.cols);
    unsigned char *space = malloc((size_t)w->matrix.stride);
    if (space == NULL)
        device_note_failure(w->device, -ENOMEM);
    for (int32_t r = 0; space != NULL && r < num_rows; r++)
        pack_scaled_row(image, &w->matrix, &scaling, row + r, from + (size_t)r * row_bytes, space);
    free(space);
}

/* `row` counts from the first of the tiles. */
static void pack_rows(struct weight *w, const struct load_piece pieces[NUM_TILED], int32_t row,
                      int32_t num_rows, const unsigned char *from)
{
    const struct pack_image image = { .data = pieces[WEIGHT_DATA].from,
                                      .high = pieces[WEIGHT_HIGH].from,
                                      .tails = pieces[WEIGHT_TAILS].from,
                                      .zeros = pieces[WEIGHT_ZEROS].from,
                                      .scales = pieces[WEIGHT_SCALES].from,
                                      .mins = (uint16_t *)(void *)pieces[WEIGHT_MINS].from };
    const size_t row_bytes = dtype_row_bytes(w->dtype, w->matrix.cols);
    if (dtype_is_scaled(w->dtype)) {
        pack_scaled_rows(w, &image, row, num_rows, from);
        return;
    }
    for (int32_t r = 0; r < num_rows; r++)
        pack_row(&image, &w->matrix, w->dtype, row + r, from + (size_t)r * row_bytes);
}

/* As many as a buffer holds. */
static void send_tiles(struct weight *w, int32_t tile, int32_t num, int32_t num_rows,
                       const unsigned char *from)
{
    struct load_piece pieces[NUM_TILED];
    struct upload *upload = load_begin(w->device);
    memset(upload->pinned, 0, (size_t)num * all_bytes(w));
    place_tiles(w, tile, num, upload->pinned, pieces);
    pack_rows(w, pieces, 0, num_rows, from);
    load_end(w->device, upload, pieces, NUM_TILED);
    atomic_fetch_add(&w->device->loaded.packed, (size_t)num * all_bytes(w));
}

/* --- tiles that come in pieces -----------------------------------------------------------------
 */

static int32_t rows_of_tile(const struct weight *w, int32_t tile)
{
    const int32_t left = w->matrix.rows - tile * TILE_ROWS;
    return left < TILE_ROWS ? left : TILE_ROWS;
}

static struct weight_edge *find_edge(struct weight *w, int32_t tile)
{
    pthread_mutex_lock(&w->device->dirty_lock);
    struct weight_edge *edge = w->edges;
    while (edge != NULL && edge->tile != tile)
        edge = edge->next;
    pthread_mutex_unlock(&w->device->dirty_lock);
    return edge;
}

static struct weight_edge *new_edge(struct weight *w, int32_t tile)
{
    struct weight_edge *edge = calloc(1, sizeof(*edge) + all_bytes(w));
    if (edge == NULL) {
        device_note_failure(w->device, -ENOMEM);
        return NULL;
    }
    edge->tile = tile;
    pthread_mutex_lock(&w->device->dirty_lock);
    edge->next = w->edges;
    w->edges = edge;
    pthread_mutex_unlock(&w->device->dirty_lock);
    device_note_dirty(w->device, w);
    return edge;
}

static void take_edge(struct weight *w, const struct weight_edge *edge)
{
    pthread_mutex_lock(&w->device->dirty_lock);
    struct weight_edge **at = &w->edges;
    while (*at != edge)
        at = &(*at)->next;
    *at = edge->next;
    pthread_mutex_unlock(&w->device->dirty_lock);
}

static void send_edge(struct weight *w, struct weight_edge *edge)
{
    struct load_piece pieces[NUM_TILED];
    place_tiles(w, edge->tile, 1, edge->memory, pieces);
    for (int i = 0; i < NUM_TILED; i++)
        if (pieces[i].bytes > 0)
            load_bytes(w->device, pieces[i].to, pieces[i].from, pieces[i].bytes);
    atomic_fetch_add(&w->device->loaded.packed, all_bytes(w));
    free(edge);
}

/* A panel is one thread's, and so are its tiles. */
static void load_edge(struct weight *w, int32_t row, int32_t num_rows, const unsigned char *from)
{
    const int32_t tile = row / TILE_ROWS;
    struct load_piece pieces[NUM_TILED];
    struct weight_edge *edge = find_edge(w, tile);
    if (edge == NULL)
        edge = new_edge(w, tile);
    if (edge == NULL)
        return;
    place_tiles(w, tile, 1, edge->memory, pieces);
    pack_rows(w, pieces, row % TILE_ROWS, num_rows, from);
    edge->num_rows += num_rows;
    if (edge->num_rows < rows_of_tile(w, tile))
        return;
    take_edge(w, edge);
    send_edge(w, edge);
}

/* --- blocks of scales --------------------------------------------------------------------------
 */

/* A row's scales as those of its 128: the first to come says what they are. */
static void note_blocks(struct weight *w, int32_t row, const unsigned char *from)
{
    const int32_t num = w->scaling.num_groups;
    uint32_t *blocks = w->blocks + (size_t)(row / PACK_BLOCK) * (size_t)pack_block_row(num);
    for (int32_t g = 0; g < num; g++) {
        uint32_t own, found = UINT32_MAX;
        memcpy(&own, from + w->matrix.cols + (size_t)g * sizeof(own), sizeof(own));
        if (!__atomic_compare_exchange_n(&blocks[g], &found, own, false, __ATOMIC_RELAXED,
                                         __ATOMIC_RELAXED) &&
            found != own)
            atomic_store(&w->blocks_differ, true);
    }
}

void weight_send_edges(struct weight *w)
{
    if (w->blocks != NULL)
        load_bytes(w->device, (unsigned char *)(uintptr_t)w->matrix.blocks,
                   (const unsigned char *)w->blocks, w->part_bytes[WEIGHT_BLOCKS]);
    while (w->edges != NULL) {
        struct weight_edge *edge = w->edges;
        w->edges = edge->next;
        send_edge(w, edge);
    }
}

void weight_drop_edges(struct weight *w)
{
    while (w->edges != NULL) {
        struct weight_edge *edge = w->edges;
        w->edges = edge->next;
        free(edge);
    }
}

/* --- rows --------------------------------------------------------------------------------------
 */

static int32_t min_rows(int32_t a, int32_t b)
{
    return a < b ? a : b;
}

/* Loads the first of the rows; returns how many. */
static int32_t load_some(struct weight *w, int32_t row, int32_t num_rows, const unsigned char *from)
{
    const int32_t most = (int32_t)(DEVICE_UPLOAD_BYTES / all_bytes(w));
    const int32_t in_tile = row % TILE_ROWS;
    const bool is_last = row + num_rows == w->matrix.rows;
    const int32_t whole = is_last ? (num_rows + TILE_ROWS - 1) / TILE_ROWS : num_rows / TILE_ROWS;
    if (in_tile != 0 || whole == 0 || most == 0) {
        const int32_t num = min_rows(TILE_ROWS - in_tile, num_rows);
        load_edge(w, row, num, from);
        return num;
    }
    const int32_t tiles = min_rows(whole, most), num = min_rows(tiles * TILE_ROWS, num_rows);
    send_tiles(w, row / TILE_ROWS, tiles, num, from);
    return num;
}

static void load_packed(struct weight *w, int32_t first_row, int32_t num_rows,
                        const unsigned char *from)
{
    const struct scaling form = { .has_zeros = w->scaling.has_zeros,
                                  .num_groups = w->scaling.num_groups };
    const size_t row_bytes = dtype_is_scaled(w->dtype) ? scaling_row_bytes(&form, w->matrix.cols)
                                                       : dtype_row_bytes(w->dtype, w->matrix.cols);
    for (int32_t r = 0; w->blocks != NULL && r < num_rows; r++)
        note_blocks(w, first_row + r, from + (size_t)r * row_bytes);
    if (w->blocks != NULL)
        device_note_dirty(w->device, w);
    while (num_rows > 0) {
        const int32_t num = load_some(w, first_row, num_rows, from);
        from += (size_t)num * row_bytes;
        first_row += num;
        num_rows -= num;
    }
}

/* Of a plain row: its bytes there, and how far they lie apart. */
static size_t plain_bytes(const struct matrix *m, size_t *ret_stride)
{
    const size_t size = m->number == NUMBER_F32 ? 4 : 2;
    *ret_stride = (size_t)m->stride * size;
    return (size_t)m->cols * size;
}

static void load_plain(struct weight *w, int32_t first_row, int32_t num_rows,
                       const unsigned char *from)
{
    size_t stride;
    const size_t bytes = plain_bytes(&w->matrix, &stride);
    unsigned char *to = (unsigned char *)w->matrix.data + (size_t)first_row * stride;
    load_rows(w->device, to, stride, from, bytes, num_rows);
    atomic_fetch_add(&w->device->loaded.copied, (size_t)num_rows * bytes);
}

void weight_load(struct weight *w, int32_t first_row, int32_t num_rows, const void *from)
{
    (w->matrix.form == MATRIX_PLAIN ? load_plain : load_packed)(w, first_row, num_rows, from);
}

bool weight_send(struct weight *w, int32_t first_row, int32_t num_rows, struct load_room *room,
                 const void *from, size_t from_stride)
{
    size_t stride;
    if (w->matrix.form != MATRIX_PLAIN)
        return false;
    const size_t bytes = plain_bytes(&w->matrix, &stride);
    unsigned char *to = (unsigned char *)w->matrix.data + (size_t)first_row * stride;
    if (num_rows > 0)
        room_send(room, to, stride, from, from_stride, bytes, num_rows);
    return true;
}
