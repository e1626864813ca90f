#include "tests/gpu/emulator/queue.h"

#include <array>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <mutex>
#include <thread>
#include <vector>

struct queue_own {
    std::mutex lock;
    std::condition_variable changed;
    std::deque<std::function<void()>> waiting;
    uint64_t num_given, num_done, num_wanted;
    bool is_over, is_late;
    std::thread thread;
};

/* Of this thread, while it keeps what it would give. */
static thread_local std::vector<std::function<void()>> *keeping;

static void work(struct queue_own *own)
{
    std::unique_lock<std::mutex> guard(own->lock);
    for (;;) {
        own->changed.wait(guard, [=] {
            const bool is_wanted = !own->is_late || own->num_done < own->num_wanted;
            return own->is_over || (!own->waiting.empty() && is_wanted);
        });
        if (own->waiting.empty())
            return;
        const std::function<void()> what = own->waiting.front();
        own->waiting.pop_front();
        guard.unlock();
        what();
        guard.lock();
        own->num_done++;
        own->changed.notify_all();
    }
}

void queue_add(struct queue *queue, const std::function<void()> &what)
{
    if (keeping != nullptr) {
        keeping->push_back(what);
        return;
    }
    const std::lock_guard<std::mutex> guard(queue->own->lock);
    queue->own->waiting.push_back(what);
    queue->own->num_given++;
    queue->own->changed.notify_all();
}

static void call(struct queue *queue, void (*function)(const void *args), const void *args,
                 size_t bytes)
{
    std::array<unsigned char, QUEUE_MAX_ARGS> copy;
    if (bytes > copy.size())
        std::abort();
    std::memcpy(copy.data(), args, bytes);
    queue_add(queue, [=] { function(copy.data()); });
}

static int keeps(void)
{
    return keeping != nullptr;
}

struct queue *queue_open(int is_late)
{
    struct queue_own *own = new struct queue_own();
    own->is_late = is_late != 0;
    own->thread = std::thread(work, own);
    struct queue *queue = new struct queue();
    queue->call = call;
    queue->keeps = keeps;
    queue->own = own;
    return queue;
}

void queue_close(struct queue *queue)
{
    {
        const std::lock_guard<std::mutex> guard(queue->own->lock);
        queue->own->is_over = true;
        queue->own->changed.notify_all();
    }
    queue->own->thread.join();
    delete queue->own;
    delete queue;
}

void queue_copy(struct queue *queue, void *to, const void *from, size_t bytes)
{
    queue_add(queue, [=] { std::memmove(to, from, bytes); });
}

uint64_t queue_mark(struct queue *queue)
{
    const std::lock_guard<std::mutex> guard(queue->own->lock);
    return queue->own->num_given;
}

int queue_wait(struct queue *queue, uint64_t mark, int64_t us)
{
    struct queue_own *own = queue->own;
    std::unique_lock<std::mutex> guard(own->lock);
    if (mark > own->num_wanted) {
        own->num_wanted = mark;
        own->changed.notify_all();
    }
    const auto is_over = [=] { return own->num_done >= mark; };
    if (us >= 0)
        return own->changed.wait_for(guard, std::chrono::microseconds(us), is_over) ? 0 : 1;
    own->changed.wait(guard, is_over);
    return 0;
}

void queue_keep_begin(void)
{
    keeping = new std::vector<std::function<void()>>;
}

void *queue_keep_end(void)
{
    void *kept = keeping;
    keeping = nullptr;
    return kept;
}

void queue_keep_do(struct queue *queue, void *kept)
{
    for (const std::function<void()> &what : *(std::vector<std::function<void()>> *)kept)
        queue_add(queue, what);
}

void queue_keep_free(void *kept)
{
    delete (std::vector<std::function<void()>> *)kept;
}
