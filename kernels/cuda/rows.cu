/*
 * rows.cu - rows that move as they are: embedding, gathering, narrowing, pages, ids
 *
 * Each thread takes elements in turn, neighbours next to each other; nothing is shared. All are
 * bound by bandwidth when large and by the launch when small.
 */
#include "kernels/cuda/each.cuh"
#include "kernels/cuda/matrix.cuh"

KERNEL(THREADS, 4) embed_kernel(const struct embed_args args)
{
    begin_kernel();
    const int64_t cols = args.table.cols;
    EACH_CELL(row, col, args.rows, args.table.cols)
    {
        args.out[row * cols + col] = args.scale * matrix_at(args.table, args.ids[row], col);
    }
}

template <typename T> KERNEL(THREADS, 4) gather_kernel(const struct gather_args args)
{
    begin_kernel();
    const int64_t cols = args.cols;
    EACH_CELL(row, col, args.num, args.cols)
    {
        ((T *)args.out)[row * cols + col] = ((const T *)args.x)[args.indices[row] * cols + col];
    }
}

KERNEL(THREADS, 4) convert_kernel(const struct convert_args args)
{
    begin_kernel();
    EACH(i, args.num)
    {
        number_store(args.out, args.number, i, number_at(args.x, args.from, i));
    }
}

/* A page of the grid's y; 16 bytes at a time. */
KERNEL(THREADS, 4) copy_blocks_kernel(const struct copy_blocks_args args)
{
    begin_kernel();
    const int64_t num = args.block_bytes / 16;
    const uint4 *from = (const uint4 *)(args.blocks + args.from[blockIdx.y] * args.block_bytes);
    uint4 *to = (uint4 *)(args.blocks + args.to[blockIdx.y] * args.block_bytes);
    EACH(i, num)
    {
        to[i] = from[i];
    }
}

KERNEL(THREADS, 4) move_kernel(const struct move_args args)
{
    begin_kernel();
    EACH(i, args.num)
    {
        args.to[args.pairs[2 * i]] = args.results[args.pairs[2 * i + 1]].id;
    }
}

KERNEL(THREADS, 4) give_ids_kernel(const struct share_args args)
{
    begin_kernel();
    EACH(i, args.num)
    {
        args.results[i].own_id = args.results[i].id;
        args.sums[i] = args.is_first ? (float)args.results[i].id : 0.0f;
    }
}

KERNEL(THREADS, 4) take_ids_kernel(const struct share_args args)
{
    begin_kernel();
    EACH(i, args.num)
    {
        args.results[i].id = (int)args.sums[i];
    }
}

KERNEL(THREADS, 4) spread_kernel(const struct spread_args args)
{
    begin_kernel();
    EACH_CELL(row, col, args.rows, args.total)
    {
        int rank = (int)((int64_t)col * args.num_ranks / args.total);
        while ((int64_t)args.total * (rank + 1) / args.num_ranks <= col)
            rank++;
        const int64_t begin = (int64_t)args.total * rank / args.num_ranks;
        args.out[row * args.total + col] =
            col - begin < args.most
                ? args.in[(rank * (int64_t)args.rows + row) * args.most + col - begin]
                : 0.0f;
    }
}

extern "C" bool rows_can_overlap(void)
{
    return built_for(move_kernel) >= 90;
}

extern "C" void rows_embed(const struct launch *launch, const void *args)
{
    const struct embed_args *a = (const struct embed_args *)args;
    launch_kernel(embed_kernel, grid_of_cells(a->rows, a->table.cols), THREADS, 0, launch, *a);
}

extern "C" void rows_gather(const struct launch *launch, const void *args)
{
    const struct gather_args *a = (const struct gather_args *)args;
    launch_kernel(a->element_bytes == 2 ? gather_kernel<uint16_t> : gather_kernel<uint32_t>,
                  grid_of_cells(a->num, a->cols), THREADS, 0, launch, *a);
}

extern "C" void rows_convert(const struct launch *launch, const void *args)
{
    const struct convert_args *a = (const struct convert_args *)args;
    launch_kernel(convert_kernel, grid_of(a->num), THREADS, 0, launch, *a);
}

extern "C" void rows_copy_blocks(const struct launch *launch, const void *args)
{
    const struct copy_blocks_args *a = (const struct copy_blocks_args *)args;
    launch_kernel(copy_blocks_kernel, dim3(ceil_div(a->block_bytes / 16, 4 * THREADS), a->num),
                  THREADS, 0, launch, *a);
}

extern "C" void rows_move(const struct launch *launch, const void *args)
{
    const struct move_args *a = (const struct move_args *)args;
    launch_kernel(move_kernel, grid_of(a->num), THREADS, 0, launch, *a);
}

extern "C" void rows_give_ids(const struct launch *launch, const void *args)
{
    const struct share_args *a = (const struct share_args *)args;
    launch_kernel(give_ids_kernel, grid_of(a->num), THREADS, 0, launch, *a);
}

extern "C" void rows_take_ids(const struct launch *launch, const void *args)
{
    const struct share_args *a = (const struct share_args *)args;
    launch_kernel(take_ids_kernel, grid_of(a->num), THREADS, 0, launch, *a);
}

extern "C" void rows_spread(const struct launch *launch, const void *args)
{
    const struct spread_args *a = (const struct spread_args *)args;
    launch_kernel(spread_kernel, grid_of_cells(a->rows, a->total), THREADS, 0, launch, *a);
}
