#include "supervisor/oom.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../runner.h"

static char root[64];

static void write_file(const char *path, const char *text)
{
    char whole[256];
    snprintf(whole, sizeof(whole), "%s/%s", root, path);
    for (char *slash = whole + strlen(root) + 1; (slash = strchr(slash, '/')) != NULL; slash++) {
        *slash = '\0';
        mkdir(whole, 0700);
        *slash = '/';
    }
    FILE *file = fopen(whole, "w");
    ck_assert_ptr_nonnull(file);
    fputs(text, file);
    fclose(file);
}

static void setup(void)
{
    snprintf(root, sizeof(root), "/tmp/tokenring-oom-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(root));
}

static void teardown(void)
{
    char command[128];
    snprintf(command, sizeof(command), "rm -r %s", root);
    ck_assert_int_eq(system(command), 0);
}

static struct oom opened(void)
{
    char proc[128], cgroup[128];
    struct oom oom;
    snprintf(proc, sizeof(proc), "%s/proc", root);
    snprintf(cgroup, sizeof(cgroup), "%s/cgroup", root);
    oom_open(&oom, proc, cgroup);
    return oom;
}

START_TEST(a_rise_of_the_groups_counter_is_noticed_once)
{
    write_file("proc/self/cgroup", "0::/pod/container\n");
    write_file("cgroup/pod/container/memory.events",
               "low 0\nhigh 7\nmax 9\noom 1\noom_kill 3\noom_group_kill 0\n");
    struct oom oom = opened();
    ck_assert_int_eq(oom.num_kills, 3);
    ck_assert(!oom_has_killed(&oom));
    write_file("cgroup/pod/container/memory.events", "oom 2\noom_kill 4\n");
    ck_assert(oom_has_killed(&oom));
    ck_assert(!oom_has_killed(&oom));
    close(oom.fd);
}
END_TEST

START_TEST(the_older_controller_is_read_as_well)
{
    write_file("proc/self/cgroup", "9:cpu:/a\n4:memory:/b\n0::/\n");
    write_file("cgroup/memory/b/memory.oom_control",
               "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n");
    struct oom oom = opened();
    ck_assert_int_eq(oom.num_kills, 1);
    close(oom.fd);
}
END_TEST

START_TEST(in_a_container_the_mount_point_is_the_group)
{
    write_file("proc/self/cgroup", "0::/of/the/host\n");
    write_file("cgroup/memory.events", "oom_kill 5\n");
    struct oom oom = opened();
    ck_assert_int_eq(oom.num_kills, 5);
    close(oom.fd);
}
END_TEST

START_TEST(without_a_counter_nobody_was_killed)
{
    static const char *const groups[] = { "", "0::/nowhere\n", "nonsense", "4:memory:/\n",
                                          ":::\n" };
    for (size_t i = 0; i < sizeof(groups) / sizeof(groups[0]); i++) {
        write_file("proc/self/cgroup", groups[i]);
        struct oom oom = opened();
        ck_assert_int_eq(oom.fd, -1);
        ck_assert(!oom_has_killed(&oom));
    }
}
END_TEST

RUN_SUITE_AROUND("oom", setup, teardown, a_rise_of_the_groups_counter_is_noticed_once,
                 the_older_controller_is_read_as_well, in_a_container_the_mount_point_is_the_group,
                 without_a_counter_nobody_was_killed)
