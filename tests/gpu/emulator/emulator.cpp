#include "tests/gpu/emulator/emulator.h"

#include <cstdlib>
#include <mutex>
#include <sys/mman.h>
#include <vector>

enum { STACK_BYTES = 256 << 10, MAX_THREADS = 1024, MAX_WORDS = 8, SHARED_BYTES = 256 << 10 };

dim3 threadIdx, blockIdx, blockDim, gridDim;
unsigned char *emulator_shared;

/* 16 bytes on their way to shared memory; NULL: zeros. */
struct copy {
    void *to;
    const void *from;
    int group;
};

struct fiber {
    void *stack_pointer;
    bool has_begun, is_done;
    int barrier; /* that it waits at, or -1 */
    int groups;  /* of copies, closed */
    std::vector<copy> copies;
};

struct warp {
    uint32_t words[2][32 * MAX_WORDS]; /* of this meeting and the one before */
    int arrived, meeting;
};

static struct {
    struct fiber fibers[MAX_THREADS];
    struct warp warps[MAX_THREADS / 32];
    unsigned char *stacks;
    void *scheduler;
    const std::function<void()> *kernel;
    int num, live, current, arrived, barrier;
} block;

/* --- fibers -------------------------------------------------------------------------------- */

/* Save what a call must keep, change stacks, take it back. */
extern "C" void emulator_switch(void **save, void *load);
__asm__(".text\n"
        ".globl emulator_switch\n"
        "emulator_switch:\n"
        "  pushq %rbp\n  pushq %rbx\n  pushq %r12\n  pushq %r13\n  pushq %r14\n  pushq %r15\n"
        "  movq %rsp, (%rdi)\n"
        "  movq %rsi, %rsp\n"
        "  popq %r15\n  popq %r14\n  popq %r13\n  popq %r12\n  popq %rbx\n  popq %rbp\n"
        "  ret\n");

static void give_way(void)
{
    emulator_switch(&block.fibers[block.current].stack_pointer, block.scheduler);
    threadIdx.x = (unsigned)block.current;
}

/* Those that have ended are not waited for. */
static void release_barrier(void)
{
    if (block.arrived > 0 && block.arrived >= block.live) {
        block.arrived = 0;
        block.barrier++;
    }
}

static void run_fiber(void)
{
    threadIdx.x = (unsigned)block.current;
    (*block.kernel)();
    if (!block.fibers[block.current].has_begun)
        std::abort();
    block.fibers[block.current].is_done = true;
    block.live--;
    release_barrier();
    give_way();
    std::abort();
}

static void start_fiber(int i)
{
    void **top = (void **)(block.stacks + (size_t)(i + 1) * STACK_BYTES);
    *--top = nullptr;           /* so that the stack is aligned as behind a call */
    *--top = (void *)run_fiber; /* where the first switch returns to */
    for (int k = 0; k < 6; k++)
        *--top = nullptr;
    block.fibers[i].stack_pointer = top;
    block.fibers[i].has_begun = block.fibers[i].is_done = false;
    block.fibers[i].barrier = -1;
    block.fibers[i].groups = 0;
    block.fibers[i].copies.clear();
}

/* Until all of a warp have ended or wait at the block's barrier. */
static void run_warp(int first, int end)
{
    for (bool has_run = true; has_run;) {
        has_run = false;
        for (int i = first; i < end; i++)
            if (!block.fibers[i].is_done && block.fibers[i].barrier != block.barrier) {
                block.current = i;
                emulator_switch(&block.scheduler, block.fibers[i].stack_pointer);
                has_run = true;
            }
    }
}

/* One warp after the other goes as far as it can: who misses a barrier is seen by those behind. */
static void run_block(int threads, bool backwards)
{
    const int warps = (threads + 31) / 32;
    block.num = block.live = threads;
    block.arrived = block.barrier = 0;
    for (int w = 0; w < warps; w++)
        block.warps[w].arrived = block.warps[w].meeting = 0;
    for (int i = 0; i < threads; i++)
        start_fiber(i);
    while (block.live > 0)
        for (int k = 0; k < warps; k++) {
            const int w = backwards ? warps - 1 - k : k;
            run_warp(32 * w, 32 * w + 32 < threads ? 32 * w + 32 : threads);
        }
}

static void *map_pages(size_t bytes)
{
    void *at = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at == MAP_FAILED)
        std::abort();
    return at;
}

void emulator_run(dim3 grid, int threads, int shared_bytes, const std::function<void()> &kernel)
{
    static std::mutex lock;
    static bool backwards;
    const std::lock_guard<std::mutex> guard(lock);
    if (threads > MAX_THREADS || shared_bytes > SHARED_BYTES)
        std::abort();
    if (block.stacks == nullptr) {
        block.stacks = (unsigned char *)map_pages((size_t)MAX_THREADS * STACK_BYTES);
        emulator_shared = (unsigned char *)map_pages(SHARED_BYTES);
    }
    block.kernel = &kernel;
    gridDim = grid;
    blockDim = dim3((unsigned)threads);
    backwards = !backwards;
    const uint64_t num = (uint64_t)grid.x * grid.y * grid.z;
    for (uint64_t k = 0; k < num; k++) {
        const uint64_t i = backwards ? num - 1 - k : k;
        blockIdx = dim3((unsigned)(i % grid.x), (unsigned)(i / grid.x % grid.y),
                        (unsigned)(i / grid.x / grid.y));
        std::memset(emulator_shared, 0xff, (size_t)shared_bytes);
        run_block(threads, backwards);
    }
}

void begin_kernel(void)
{
    block.fibers[block.current].has_begun = true;
}

void emulator_block_sync(void)
{
    struct fiber *f = &block.fibers[block.current];
    f->barrier = block.barrier;
    block.arrived++;
    release_barrier();
    while (f->barrier == block.barrier)
        give_way();
    f->barrier = -1;
}

void emulator_meet(uint32_t *words, int num, int from, void (*all)(uint32_t *lanes, int num))
{
    struct warp *w = &block.warps[threadIdx.x / 32];
    const int meeting = w->meeting, lane = (int)threadIdx.x & 31;
    uint32_t *lanes = w->words[meeting & 1];
    std::memcpy(lanes + lane * num, words, sizeof(uint32_t) * (size_t)num);
    if (++w->arrived == 32) {
        w->arrived = 0;
        w->meeting++;
        if (all != nullptr)
            all(lanes, num);
    }
    while (w->meeting == meeting)
        give_way();
    std::memcpy(words, lanes + from * num, sizeof(uint32_t) * (size_t)num);
}

/* --- what lanes do together ---------------------------------------------------------------- */

void warp_sync(void)
{
    uint32_t nothing = 0;
    emulator_meet(&nothing, 1, 0, nullptr);
}

unsigned lane_ballot(bool x)
{
    uint32_t word = x;
    emulator_meet(&word, 1, 0, [](uint32_t *lanes, int) {
        uint32_t bits = 0;
        for (int i = 0; i < 32; i++)
            bits |= (lanes[i] & 1) << i;
        for (int i = 0; i < 32; i++)
            lanes[i] = bits;
    });
    return word;
}

/* Number `i` of a word. */
template <bool IS_BF16> static float half_of(uint32_t word, int i)
{
    const uint16_t half = (uint16_t)(word >> 16 * i);
    return IS_BF16 ? half_from_bf16(half) : half_from_f16(half);
}

/* Words of a lane: a0 .. a3, b0, b1; then c0 .. c3 of the product, which the lane adds to its own.
 */
template <bool IS_BF16> static void multiply(uint32_t *lanes, int num)
{
    float a[16][16], b[16][8];
    for (int lane = 0; lane < 32; lane++) {
        const int g = lane / 4, t = lane % 4;
        const uint32_t *w = lanes + lane * num;
        for (int i = 0; i < 2; i++) {
            a[g][2 * t + i] = half_of<IS_BF16>(w[0], i);
            a[g + 8][2 * t + i] = half_of<IS_BF16>(w[1], i);
            a[g][2 * t + 8 + i] = half_of<IS_BF16>(w[2], i);
            a[g + 8][2 * t + 8 + i] = half_of<IS_BF16>(w[3], i);
            b[2 * t + i][g] = half_of<IS_BF16>(w[4], i);
            b[2 * t + 8 + i][g] = half_of<IS_BF16>(w[5], i);
        }
    }
    float c[16][8] = { { 0 } };
    for (int k = 0; k < 16; k++)
        for (int m = 0; m < 16; m++)
            for (int n = 0; n < 8; n++)
                c[m][n] += a[m][k] * b[k][n];
    for (int lane = 0; lane < 32; lane++) {
        const int g = lane / 4, t = lane % 4;
        for (int i = 0; i < 4; i++)
            lanes[lane * num + i] = float_to_bits(c[g + i / 2 * 8][2 * t + (i & 1)]);
    }
}

template <bool IS_BF16> static void mma(float c[4], const uint32_t a[4], uint32_t b0, uint32_t b1)
{
    uint32_t words[6] = { a[0], a[1], a[2], a[3], b0, b1 };
    emulator_meet(words, 6, (int)threadIdx.x & 31, multiply<IS_BF16>);
    for (int i = 0; i < 4; i++)
        c[i] += float_from_bits(words[i]);
}

void mma_bf16(float c[4], const uint32_t a[4], uint32_t b0, uint32_t b1)
{
    mma<true>(c, a, b0, b1);
}

void mma_f16(float c[4], const uint32_t a[4], uint32_t b0, uint32_t b1)
{
    mma<false>(c, a, b0, b1);
}

/* Lanes 8 m to 8 m + 7 name the rows of matrix m. */
template <bool IS_TURNED> static void load_four(uint32_t to[4], shared_place row)
{
    if ((uintptr_t)row % 16 != 0)
        std::abort();
    std::memcpy(to, &row, sizeof(row));
    emulator_meet(to, 4, (int)threadIdx.x & 31, [](uint32_t *lanes, int num) {
        const uint16_t *rows[32];
        for (int i = 0; i < 32; i++)
            std::memcpy(&rows[i], lanes + i * num, sizeof(rows[i]));
        for (int lane = 0; lane < 32; lane++)
            for (int m = 0; m < 4; m++) {
                const int g = lane / 4, t = 2 * (lane % 4);
                const uint16_t *const *of = rows + 8 * m;
                const uint32_t low = IS_TURNED ? of[t][g] : of[g][t];
                const uint32_t high = IS_TURNED ? of[t + 1][g] : of[g][t + 1];
                lanes[lane * num + m] = low | high << 16;
            }
    });
}

void load_rows(uint32_t to[4], shared_place row)
{
    load_four<false>(to, row);
}

void load_turned(uint32_t to[4], shared_place row)
{
    load_four<true>(to, row);
}

/* --- copies -------------------------------------------------------------------------------- */

/* What is not yet there is NaN; it comes as late as it may. */
void copy_async(void *shared, const void *global, bool there)
{
    struct fiber *f = &block.fibers[block.current];
    if ((uintptr_t)shared % 16 != 0 || (there && (uintptr_t)global % 16 != 0))
        std::abort();
    std::memset(shared, 0xff, 16);
    f->copies.push_back({ shared, there ? global : nullptr, f->groups });
}

void copy_commit(void)
{
    block.fibers[block.current].groups++;
}

void emulator_copy_wait(int left)
{
    struct fiber *f = &block.fibers[block.current];
    size_t num = 0;
    for (const struct copy &c : f->copies)
        if (c.group >= f->groups - left)
            f->copies[num++] = c;
        else if (c.from != nullptr)
            std::memcpy(c.to, c.from, 16);
        else
            std::memset(c.to, 0, 16);
    f->copies.resize(num);
}
