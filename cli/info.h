/*
 * info.h - `tokenring info`: what a model is, how it will run, what it needs, whether it fits
 */
#ifndef CLI_INFO_H
#define CLI_INFO_H

#include "proto/records/settings.h"

/*
 * Print it for the settings with which `serve` would run it, without loading a weight: the
 * configuration and the header of every file are read and checked.
 *
 * Returns the process's exit code: that of the model when it is refused, that of memory when it
 * does not fit.
 */
int info_run(const struct settings *settings);

#endif
