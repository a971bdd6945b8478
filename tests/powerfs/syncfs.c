/* syncfs.c - loaded before libc into a server on powerfs: its syncfs() reaches the file system.
 *
 * Linux tells FUSE nothing of syncfs, so it goes as an ioctl on the descriptor.
 * SPDX-License-Identifier: Apache-2.0 */
#include <sys/ioctl.h>
#include <unistd.h>

#define IOCTL_SYNC_ALL 0x5046 /* also in powerfs.c */

int syncfs(int file)
{
    return ioctl(file, IOCTL_SYNC_ALL);
}
