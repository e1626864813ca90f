/*
 * replay.c - runs a fuzz target over the files of a folder, once each
 *
 * Linked instead of libFuzzer, so that every finding of the past is a test everywhere.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int replay_file(const char *folder, const char *name)
{
    char path[4096];
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    FILE *file = fopen(path, "rb");
    if (file == NULL)
        return -1;
    size_t size = 0, cap = 1 << 20;
    uint8_t *data = malloc(cap);
    if (data != NULL)
        size = fread(data, 1, cap, file);
    fclose(file);
    uint8_t *exact = malloc(size > 0 ? size : 1); /* so that a sanitizer sees the true end */
    for (size_t i = 0; exact != NULL && data != NULL && i < size; i++)
        exact[i] = data[i];
    if (exact != NULL)
        LLVMFuzzerTestOneInput(exact, size);
    free(exact);
    free(data);
    return 0;
}

int main(int argc, char **argv)
{
    int num_files = 0;
    DIR *folder = argc == 2 ? opendir(argv[1]) : NULL;
    if (folder == NULL) {
        fprintf(stderr, "usage: %s CORPUS_FOLDER\n", argv[0]);
        return EXIT_FAILURE;
    }
    for (struct dirent *entry; (entry = readdir(folder)) != NULL;)
        if (entry->d_name[0] != '.' && replay_file(argv[1], entry->d_name) == 0)
            num_files++;
    closedir(folder);
    printf("%d inputs replayed\n", num_files);
    return num_files > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
