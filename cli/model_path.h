/*
 * model_path.h - where the model lies, and what it is called
 */
#ifndef CLI_MODEL_PATH_H
#define CLI_MODEL_PATH_H

#include "proto/records/settings.h"

enum { MODEL_PATH_BYTES = 4096 };

/*
 * Settle settings->model to a directory (written to `path`): the one named, or the embedded model,
 * found beside the executable (../share/tokenring/ringlet, or ../models/ringlet of the source
 * tree); and settings->served_model_name when none was given.
 *
 * Returns 0; -ENOENT (exit code 2) with a sentence; for a hub id it says how to download it.
 */
int model_path_settle(struct settings *settings, char path[MODEL_PATH_BYTES], struct error *err);

#endif
