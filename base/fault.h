/* fault.h - the places where a test may make the program fail or die.
 *
 * Built in by the variant "fault" only (PSYBUILD_FAULT); elsewhere every point is the constant
 * false. PSYBUILD_FAULT_AT="write:3" makes the third write fail with EIO (ENOSPC for writes, NULL
 * for allocations); "exit:write:3" ends the process there with _exit(99); "pause:write:3" stops it
 * there (SIGSTOP) until it is continued. Points of all kinds are counted together under the name
 * "any", all but allocations under "io". PSYBUILD_FAULT_CACHE="spare" lets every file be one that
 * is too large for the page cache. PSYBUILD_FAULT_INODES (any value) stands for a file system
 * without stable inode numbers: each look at a file finds another one, in this process and the
 * next. */
#ifndef PSYBUILD_BASE_FAULT_H
#define PSYBUILD_BASE_FAULT_H

#include <stdbool.h>
#include <stdint.h>

enum fault_kind {
    FAULT_ALLOC,
    FAULT_OPEN,
    FAULT_READ,
    FAULT_WRITE,
    FAULT_SYNC,
    FAULT_RENAME,
    FAULT_REMOVE
};

#ifdef PSYBUILD_FAULT
bool fault_here(enum fault_kind kind); /* true: fail now; may not return */
bool fault_has_no_cache(void);
uint64_t fault_inode(uint64_t inode);
#else
#define fault_here(kind) false
#define fault_has_no_cache() false
#define fault_inode(inode) (inode)
#endif

#endif
