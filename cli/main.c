/*
 * main.c - tokenring's subcommands; the same program is every process of the server
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "cli/info.h"
#include "cli/model_path.h"
#include "cli/quantize.h"
#include "cli/role.h"
#include "cli/title.h"
#include "supervisor/supervisor.h"

struct command {
    const char *name;
    enum settings_command bit;
    enum control_role seat;
    const char *usage;
    const char *about;
    int (*run)(const struct settings *settings); /* NULL: under a supervisor */
    int (*main)(int argc, char **argv);          /* not NULL: with options of its own */
};

static const struct command commands[] = {
    { "serve", SETTINGS_SERVE, CONTROL_ROLE_FRONTEND, "tokenring serve [MODEL] [options]",
      "Serve a model to OpenAI clients." },
    { "generate", SETTINGS_GENERATE, CONTROL_ROLE_GENERATE,
      "tokenring generate [MODEL] -p PROMPT [options]",
      "Continue a prompt, or chat, on this terminal." },
    { "bench", SETTINGS_BENCH, CONTROL_ROLE_BENCH, "tokenring bench [MODEL] [options]",
      "Measure prompts and answers of random tokens." },
    { "info", SETTINGS_SERVE, CONTROL_ROLE_FRONTEND, "tokenring info [MODEL] [options of serve]",
      "Say what a model is, what it needs, and whether it fits.", info_run },
    { .name = "quantize",
      .usage = "tokenring quantize IN OUT --type TYPE",
      .about = "Write a model as a GGUF file of another type.",
      .main = quantize_main },
};
enum { NUM_COMMANDS = sizeof(commands) / sizeof(commands[0]) };

static int usage_error(const char *message)
{
    fprintf(stderr, "tokenring: %s\n", message);
    return EXIT_CODE_USAGE;
}

static void print_commands(FILE *out)
{
    fprintf(out, "Tokenring %s serves large language models to OpenAI clients.\n\n",
            TOKENRING_VERSION);
    for (int i = 0; i < NUM_COMMANDS; i++)
        fprintf(out, "  %-48s %s\n", commands[i].usage, commands[i].about);
    fprintf(out, "\n  tokenring COMMAND --help lists the options, --help=all every one.\n");
}

static const struct command *find_command(const char *name)
{
    for (int i = 0; i < NUM_COMMANDS; i++)
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    return NULL;
}

static int take_model(void *target, const char *text, struct error *err)
{
    struct settings *settings = target;
    if (settings->model != NULL && settings->model[0] != '\0')
        return error_set(err, -1, "two models are named, \"%.64s\" and \"%.64s\"; one is wanted",
                         settings->model, text);
    settings->model = text;
    return 0;
}

/* --help and --help=all among the arguments: 0 none, 1 brief, 2 all */
static int wants_help(int argc, char **argv)
{
    for (int i = 0; i < argc; i++) {
        if (strcmp(argv[i], "--help=all") == 0)
            return 2;
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            return 1;
    }
    return 0;
}

static int print_help(const struct command *command, const struct option_set *set, bool all)
{
    printf("%s\n%s\n\n", command->usage, command->about);
    option_print_help(set, all, stdout);
    if (!all)
        printf(
            "\n  --help=all lists every option. Each is also a variable: TOKENRING_PORT=9000.\n");
    return EXIT_CODE_OK;
}

static enum log_level level_of(const char *name)
{
    static const char *const names[] = { "error", "warn", "info", "debug" };
    for (int i = 0; i < 4; i++)
        if (strncmp(names[i], name, strlen(names[i])) == 0)
            return (enum log_level)i;
    return LOG_LEVEL_INFO;
}

static int run(const struct command *command, int argc, char **argv)
{
    static struct settings settings;
    static char path[MODEL_PATH_BYTES];
    struct option_set set = settings_begin(&settings, command->bit);
    struct error err;

    const int help = wants_help(argc, argv);
    if (help != 0)
        return print_help(command, &set, help == 2);
    if (option_read_env(&set, &err) < 0 ||
        option_read_args(&set, argc, argv, take_model, &err) < 0 ||
        settings_check(&settings, &err) < 0)
        return usage_error(err.message);
    if (model_path_settle(&settings, path, &err) < 0) {
        usage_error(err.message);
        return EXIT_CODE_MODEL;
    }
    if (settings.print_config) {
        option_print_config(&set, stdout);
        return EXIT_CODE_OK;
    }
    if (command->run != NULL)
        return command->run(&settings);
    title_set("tokenring: supervisor");
    log_init(level_of(settings.log_level), strcmp(settings.log_format, "json") == 0, "supervisor");
    return supervisor_run(&set, &settings, command->seat);
}

int main(int argc, char **argv)
{
    static char **args;
    args = calloc((size_t)argc + 1, sizeof(*args)); /* argv's memory becomes the title */
    for (int i = 0; args != NULL && i < argc; i++)
        args[i] = strdup(argv[i]);
    if (argc < 1 || args == NULL)
        return EXIT_CODE_USAGE;
    title_init(argc, argv);
    if (argc == 3 && strcmp(args[1], "role") == 0)
        return role_main(atoi(args[2]));
    if (argc < 2 || strcmp(args[1], "--help") == 0 || strcmp(args[1], "-h") == 0) {
        print_commands(argc < 2 ? stderr : stdout);
        return argc < 2 ? EXIT_CODE_USAGE : EXIT_CODE_OK;
    }
    if (strcmp(args[1], "--version") == 0) {
        printf("tokenring %s\n", TOKENRING_VERSION);
        return EXIT_CODE_OK;
    }
    const struct command *command = find_command(args[1]);
    if (command != NULL && command->main != NULL)
        return command->main(argc - 2, args + 2);
    if (command != NULL)
        return run(command, argc - 2, args + 2);

    const char *words[NUM_COMMANDS];
    char message[160];
    for (int i = 0; i < NUM_COMMANDS; i++)
        words[i] = commands[i].name;
    const char *near = option_nearest(args[1], words, NUM_COMMANDS);
    snprintf(message, sizeof(message), "unknown command \"%.64s\"%s%s%s", args[1],
             near != NULL ? "; did you mean " : "; see tokenring --help", near != NULL ? near : "",
             near != NULL ? "?" : "");
    return usage_error(message);
}
