#include "seats_rig.h"

#include <string.h>

#include "base/log.h"

struct seats seats;
struct settings settings;
struct status_page own_page;

struct child *const worker = &seats.worker, *const frontend = &seats.frontends[0],
                    *const other = &seats.frontends[1];

void begin(uint32_t num_ranks)
{
    struct error err;
    fake_reset();
    log_init(LOG_LEVEL_ERROR, false, "test");
    memset(&own_page, 0, sizeof(own_page));
    settings = (struct settings){ .stall_kill = 10 };
    seats = (struct seats){ .settings = &settings,
                            .page = &own_page,
                            .num_frontends = 2,
                            .num_followers = num_ranks - 1,
                            .next_incarnation = 100,
                            .exit_code = -1 };
    ck_assert_int_eq(seats_open(&seats, CONTROL_ROLE_FRONTEND, &err), 0);
}

void say(struct child *child, enum control_kind kind)
{
    seats_receive(&seats, child, &(struct control_message){ .kind = kind }, -1);
}

void all_ready(void)
{
    SEATS_FOR_EACH(&seats, child)
    if (child->pid != 0 && !child->ready)
        say(child, CONTROL_READY);
}

void setup(void)
{
    begin(1);
    all_ready();
    fake_forget();
}

void dies(struct child *child, int wait_status)
{
    fake_end(child, wait_status);
    seats_bury(&seats, child);
}

void bury_killed(struct child *child)
{
    ck_assert(fake_was_killed(child));
    seats_bury(&seats, child);
}

void pass(int64_t us)
{
    fake.now_us += us;
    (void)seats_tick(&seats, fake.now_us);
}

void pass_alive(int64_t us)
{
    SEATS_FOR_EACH(&seats, child)
    if (child->pid != 0)
        atomic_store(&fake_page(child)->heartbeat_us, (uint64_t)(fake.now_us + us));
    pass(us);
}

const struct control_message *down(void)
{
    const struct control_message *message = fake_find(frontend, CONTROL_ENGINE_DOWN);
    ck_assert_ptr_nonnull(message);
    ck_assert_ptr_nonnull(fake_find(other, CONTROL_ENGINE_DOWN));
    return message;
}

enum status_state state(void)
{
    return (enum status_state)atomic_load(&own_page.state);
}
