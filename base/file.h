/*
 * file.h - whole reads of files, and a hash that tells files apart
 */
#ifndef BASE_FILE_H
#define BASE_FILE_H

#include <stddef.h>
#include <stdint.h>

/*
 * Read exactly `bytes` bytes from `offset` on; interrupted and short reads are continued. Any
 * thread: the descriptor's position is neither used nor moved.
 *
 * Returns 0, -EIO when the file ends before, or another -errno of pread().
 */
int file_read_at(int fd, uint64_t offset, void *to, size_t bytes);

/*
 * A hash of what was hashed before and these bytes: FNV-1a over words of 8, because headers have
 * megabytes. Begin with FILE_HASH_START. For telling versions apart, not against malice; its
 * values are those of little-endian hosts.
 */
#define FILE_HASH_START UINT64_C(0xcbf29ce484222325)
uint64_t file_hash(uint64_t hash, const void *bytes, size_t len);

#endif
