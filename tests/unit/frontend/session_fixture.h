/*
 * session_fixture.h - one session and one submission around each test
 */
#ifndef TESTS_SESSION_FIXTURE_H
#define TESTS_SESSION_FIXTURE_H

#include <check.h>

#include "session_rig.h"
#include "tests/unit/runner.h"

static struct rig rig;
static struct rig_ask ask;

static inline void setup(void)
{
    rig_start(&rig, 64, 1 << 16);
    rig_ask_init(&ask, &rig);
}

static inline void teardown(void)
{
    rig_finish(&rig);
}

/* Submit what was asked; the engine takes it and says that it began. Returns its id. */
static inline uint64_t begin_answer(void)
{
    rig_submit(&rig, &ask);
    const uint64_t id = rig_take_submit(&rig);
    rig_begin(&rig, id, 0);
    return id;
}

/* What came of it since the last question. */
static inline void expect_events(const char *events)
{
    rig_drain(&rig);
    ck_assert_str_eq(rig_events(&rig), events);
}

#endif
