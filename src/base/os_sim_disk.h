/* os_sim_disk.h - inside os_sim: the disk that forgets. Nodes are files and folders; each has
 * what is seen now and what is on disk. */
#ifndef TIDEMARK_BASE_OS_SIM_DISK_H
#define TIDEMARK_BASE_OS_SIM_DISK_H

#include "base/base.h"

#define SIM_PAGE_BYTES 4096
#define SIM_SECTOR_BYTES 512

struct sim_dice {
    uint64_t state;
};

uint64_t sim_below(struct sim_dice *dice, uint64_t limit); /* 0..limit-1; 0 for limit 0 */
bool sim_one_in(struct sim_dice *dice, uint64_t chance);   /* never for 0 */

struct sim_page {
    uint8_t *now, *disk; /* NULL: zeros; the same pointer: the same bytes */
    bool dirty;          /* the next sync writes it */
};

struct sim_node {
    struct sim_node *next; /* all nodes of the disk */
    bool is_folder, locked, marked;
    unsigned links, opens;
    int64_t charged; /* bytes taken from the disk's total */

    struct sim_page *pages; /* page_count of them; none past it was ever written */
    size_t page_count;
    int64_t bytes, disk_bytes;
    int64_t cut;   /* least size since it was shrunk, that not being on disk; INT64_MAX: not */
    size_t *dirty; /* numbers of dirty pages, in the order they became so */
    size_t dirty_count, dirty_room;

    struct map now, disk;                      /* struct sim_entry by name */
    struct sim_change *changes, **changes_end; /* not on disk, oldest first */
};

/* Contents of a file. */
void sim_file_read(const struct sim_node *n, void *at, size_t len, int64_t position,
                   bool direct);
void sim_file_write(struct sim_node *n, struct sim_dice *dice, const void *at, size_t len,
                    int64_t position);
void sim_file_resize(struct sim_node *n, struct sim_dice *dice, int64_t bytes);
void sim_file_sync(struct sim_node *n);
void sim_file_sync_failed(struct sim_node *n, struct sim_dice *dice);
void sim_file_leak(struct sim_node *n, struct sim_dice *dice); /* some sectors reach the disk */
void sim_file_crash(struct sim_node *n, struct sim_dice *dice);
void sim_file_fini(struct sim_node *n);

struct sim_disk {
    struct sim_node *root, *nodes;
    struct sim_dice *dice;
    int64_t total_bytes, used_bytes;
    uint64_t changes; /* made so far: orders those of several folders */
    size_t unlinked;  /* nodes that lost their name since the last sweep */
};

void sim_disk_init(struct sim_disk *d, struct sim_dice *dice);
void sim_disk_fini(struct sim_disk *d);
void sim_charge(struct sim_disk *d, struct sim_node *n); /* after its size or use changed */

/* All give OK or an errno in errno with false. */
bool sim_find(struct sim_disk *d, const char *path, struct sim_node **out);
bool sim_make(struct sim_disk *d, const char *path, bool is_folder, struct sim_node **out);
bool sim_remove(struct sim_disk *d, const char *path);
bool sim_rename(struct sim_disk *d, const char *from, const char *to);
void sim_folder_sync(struct sim_node *folder);
void sim_disk_sync(struct sim_disk *d);
void sim_disk_sync_failed(struct sim_disk *d);
void sim_disk_crash(struct sim_disk *d);
void sim_disk_close_all(struct sim_disk *d); /* no file is open or locked any more */

/* Names in a folder, heap copies, for a walk that may change it. */
char **sim_names(const struct sim_node *folder, size_t *count);

#endif
