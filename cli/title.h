/*
 * title.h - the process title that ps and top show
 */
#ifndef CLI_TITLE_H
#define CLI_TITLE_H

/* Note where argv and the environment lie; moves the environment away. Once, first in main. */
void title_init(int argc, char **argv);

/* Show `title` instead of the command line (cut to the room there is). */
__attribute__((format(printf, 1, 2))) void title_set(const char *format, ...);

#endif
