#include "cli/model_path.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool is_directory(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

static bool is_gguf(const char *path)
{
    const size_t len = strlen(path);
    struct stat info;
    return len > 5 && strcmp(path + len - 5, ".gguf") == 0 && stat(path, &info) == 0 &&
           S_ISREG(info.st_mode);
}

static int find_embedded(char path[MODEL_PATH_BYTES], struct error *err)
{
    static const char *const places[] = { "../share/tokenring/ringlet", "../models/ringlet" };
    char program[MODEL_PATH_BYTES];
    const ssize_t len = readlink("/proc/self/exe", program, sizeof(program) - 1);
    if (len < 0)
        return error_set(err, -errno, "/proc/self/exe: %s", strerror(errno));
    program[len] = '\0';
    *strrchr(program, '/') = '\0';
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        const int n = snprintf(path, MODEL_PATH_BYTES, "%s/%s", program, places[i]);
        if (n < MODEL_PATH_BYTES && is_directory(path))
            return 0;
    }
    return error_set(err, -ENOENT,
                     "the embedded model is neither at %.150s/%s nor at %s; name a MODEL directory",
                     program, places[0], places[1]);
}

/* "owner/name": two parts, no more, of the characters that hub ids have. */
static bool is_hub_id(const char *text)
{
    int slashes = 0;
    for (const char *c = text; *c != '\0'; c++) {
        slashes += *c == '/';
        if (!isalnum((unsigned char)*c) && strchr("-_./", *c) == NULL)
            return false;
    }
    return slashes == 1 && isalnum((unsigned char)text[0]) && text[strlen(text) - 1] != '/';
}

static int find_named(const char *model, char path[MODEL_PATH_BYTES], struct error *err)
{
    const char *name = strrchr(model, '/');
    if (strlen(model) >= MODEL_PATH_BYTES)
        return error_set(err, -ENAMETOOLONG, "MODEL: a path of %zu bytes", strlen(model));
    if (is_directory(model) || is_gguf(model)) {
        snprintf(path, MODEL_PATH_BYTES, "%s", model);
        return 0;
    }
    if (access(model, F_OK) == 0)
        return error_set(err, -ENOTDIR,
                         "MODEL \"%.200s\" is a file; a .gguf file is wanted, or a directory with "
                         "config.json, tokenizer.json and *.safetensors",
                         model);
    if (is_hub_id(model))
        return error_set(
            err, -ENOENT,
            "MODEL \"%.120s\" is no directory here; if it is a Hugging Face id, download it first: "
            "hf download %.120s --local-dir %.60s",
            model, model, name + 1);
    return error_set(err, -ENOENT, "MODEL \"%.300s\": no such directory", model);
}

static void name_it(struct settings *settings, bool embedded)
{
    struct option_list *names = &settings->served_model_name;
    const char *model = settings->model;
    size_t len = embedded ? 0 : strlen(model);

    if (names->num > 0)
        return;
    if (embedded) {
        names->items[names->num].text = "ringlet";
        names->items[names->num++].len = strlen("ringlet");
        return;
    }
    while (len > 1 && model[len - 1] == '/')
        len--;
    size_t base = len;
    while (base > 0 && model[base - 1] != '/')
        base--;
    names->items[names->num].text = model + base;
    names->items[names->num++].len = len - base - (is_gguf(model) ? strlen(".gguf") : 0);
    if (base > 0 && strchr(model, ',') == NULL && len <= 256) {
        names->items[names->num].text = model;
        names->items[names->num++].len = len;
    }
}

int model_path_settle(struct settings *settings, char path[MODEL_PATH_BYTES], struct error *err)
{
    const bool embedded = settings->model == NULL || settings->model[0] == '\0';
    const int r = embedded ? find_embedded(path, err) : find_named(settings->model, path, err);
    if (r < 0)
        return r;
    name_it(settings, embedded);
    settings->model = path;
    return 0;
}
