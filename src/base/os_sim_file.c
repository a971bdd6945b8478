/* os_sim_file.c - the contents of a simulated file: pages seen now and pages on disk.
 *
 * A clean page is one block of memory that both point at; a write copies it first. A page whose
 * sync failed is clean with two different blocks: readable, and lost at a crash.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/os_sim_disk.h"

#include <stdlib.h>
#include <string.h>

#define NO_CUT INT64_MAX
#define LEAK_CHANCE 4 /* one in so many writes to a dirty page lets sectors out first */

uint64_t sim_below(struct sim_dice *dice, uint64_t limit)
{
    uint64_t z = dice->state += 0x9e3779b97f4a7c15u; /* SplitMix64 */

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    z ^= z >> 31;
    return limit ? z % limit : 0;
}

bool sim_one_in(struct sim_dice *dice, uint64_t chance)
{
    return chance && sim_below(dice, chance) == 0;
}

static uint8_t *block_copy(const uint8_t *from)
{
    uint8_t *block = xcalloc(1, SIM_PAGE_BYTES);

    return from ? memcpy(block, from, SIM_PAGE_BYTES) : block;
}

static int64_t page_start(size_t page)
{
    return (int64_t)page * SIM_PAGE_BYTES;
}

/* The bytes a read finds. One past the cache has dirty pages written first, as Linux does. */
static const uint8_t *readable(const struct sim_node *n, size_t page, bool direct)
{
    if (page >= n->page_count) {
        return NULL;
    }
    const struct sim_page *p = &n->pages[page];
    return direct && !p->dirty ? p->disk : p->now;
}

void sim_file_read(const struct sim_node *n, void *at, size_t len, int64_t position,
                   bool direct)
{
    uint8_t *to = at;

    assert(position + (int64_t)len <= n->bytes);
    while (len) {
        size_t page = (size_t)(position / SIM_PAGE_BYTES);
        size_t skip = (size_t)(position % SIM_PAGE_BYTES);
        size_t some = MIN(len, SIM_PAGE_BYTES - skip);
        const uint8_t *from = readable(n, page, direct);
        if (from) {
            memcpy(to, from + skip, some);
        } else {
            memset(to, 0, some);
        }
        to += some;
        position += (int64_t)some;
        len -= some;
    }
}

static struct sim_page *page_at(struct sim_node *n, size_t page)
{
    if (page >= n->page_count) {
        size_t count = MAX(page + 1, n->page_count * 2);
        n->pages = xrealloc(n->pages, count * sizeof(*n->pages));
        memset(n->pages + n->page_count, 0, (count - n->page_count) * sizeof(*n->pages));
        n->page_count = count;
    }
    return &n->pages[page];
}

/* The disk's block becomes this one. */
static void disk_set(struct sim_page *p, uint8_t *take_block)
{
    if (p->disk != p->now && p->disk != take_block) {
        free(p->disk);
    }
    p->disk = take_block;
}

static void now_set(struct sim_page *p, uint8_t *take_block)
{
    if (p->now != p->disk && p->now != take_block) {
        free(p->now);
    }
    p->now = take_block;
}

/* On disk, nothing is left past bytes. */
static void disk_cut(struct sim_node *n, int64_t bytes)
{
    for (size_t i = (size_t)(bytes / SIM_PAGE_BYTES); i < n->page_count; i++) {
        struct sim_page *p = &n->pages[i];
        int64_t keep = MAX(bytes - page_start(i), 0);
        if (!p->disk) {
            continue;
        }
        if (keep == 0) {
            disk_set(p, NULL);
            continue;
        }
        uint8_t *block = block_copy(p->disk);
        memset(block + keep, 0, (size_t)(SIM_PAGE_BYTES - keep));
        disk_set(p, block);
    }
    n->disk_bytes = MIN(n->disk_bytes, bytes);
}

/* The shrinking reaches the disk, as it must before anything written past it does. */
static void apply_cut(struct sim_node *n)
{
    if (n->cut != NO_CUT) {
        disk_cut(n, n->cut);
        n->cut = NO_CUT;
    }
}

/* The sectors in mask reach the disk. */
static void leak_page(struct sim_node *n, size_t page, uint64_t mask)
{
    struct sim_page *p = &n->pages[page];

    if (page_start(page + 1) > n->cut) {
        apply_cut(n);
    }
    if (p->now == p->disk) {
        return;
    }
    p->disk = p->disk ? p->disk : block_copy(NULL);
    for (size_t at = 0; at < SIM_PAGE_BYTES; at += SIM_SECTOR_BYTES, mask >>= 1) {
        if (mask & 1) {
            if (p->now) {
                memcpy(p->disk + at, p->now + at, SIM_SECTOR_BYTES);
            } else {
                memset(p->disk + at, 0, SIM_SECTOR_BYTES);
            }
        }
    }
}

static void make_dirty(struct sim_node *n, size_t page)
{
    if (!n->pages[page].dirty) {
        n->pages[page].dirty = true;
        n->dirty = array_room(n->dirty, n->dirty_count, &n->dirty_room, sizeof(*n->dirty));
        n->dirty[n->dirty_count++] = page;
    }
}

static void write_page(struct sim_node *n, struct sim_dice *dice, const uint8_t *from,
                       size_t len, int64_t position)
{
    size_t page = (size_t)(position / SIM_PAGE_BYTES);
    struct sim_page *p = page_at(n, page);

    if (p->dirty && sim_one_in(dice, LEAK_CHANCE)) {
        leak_page(n, page, sim_below(dice, 256));
    }
    if (!p->now || p->now == p->disk) {
        p->now = block_copy(p->now);
    }
    memcpy(p->now + position % SIM_PAGE_BYTES, from, len);
    make_dirty(n, page);
}

void sim_file_write(struct sim_node *n, struct sim_dice *dice, const void *at, size_t len,
                    int64_t position)
{
    const uint8_t *from = at;

    while (len) {
        size_t some = MIN(len, (size_t)(SIM_PAGE_BYTES - position % SIM_PAGE_BYTES));
        write_page(n, dice, from, some, position);
        from += some;
        position += (int64_t)some;
        len -= some;
        n->bytes = MAX(n->bytes, position);
    }
}

void sim_file_resize(struct sim_node *n, struct sim_dice *dice, int64_t bytes)
{
    static const uint8_t zeros[SIM_PAGE_BYTES];
    size_t page = (size_t)(bytes / SIM_PAGE_BYTES);
    size_t keep = (size_t)(bytes % SIM_PAGE_BYTES);

    if (bytes < n->bytes) {
        if (keep && page < n->page_count && n->pages[page].now) {
            write_page(n, dice, zeros, SIM_PAGE_BYTES - keep, bytes);
        }
        for (size_t i = page + (keep ? 1 : 0); i < n->page_count; i++) {
            now_set(&n->pages[i], NULL);
        }
        n->cut = MIN(n->cut, bytes);
    }
    n->bytes = bytes;
}

static void all_clean(struct sim_node *n)
{
    for (size_t i = 0; i < n->dirty_count; i++) {
        n->pages[n->dirty[i]].dirty = false;
    }
    n->dirty_count = 0;
}

void sim_file_sync(struct sim_node *n)
{
    apply_cut(n);
    for (size_t i = 0; i < n->dirty_count; i++) {
        struct sim_page *p = &n->pages[n->dirty[i]];
        disk_set(p, p->now);
    }
    all_clean(n);
    n->disk_bytes = n->bytes;
}

void sim_file_sync_failed(struct sim_node *n, struct sim_dice *dice)
{
    sim_file_leak(n, dice);
    all_clean(n);
}

void sim_file_leak(struct sim_node *n, struct sim_dice *dice)
{
    for (size_t i = 0; i < n->dirty_count; i++) {
        if (sim_one_in(dice, 2)) {
            leak_page(n, n->dirty[i], sim_below(dice, 256));
        }
    }
}

/* Which of the dirty pages got to the disk before the power went. */
static void crash_pages(struct sim_node *n, struct sim_dice *dice, int64_t end)
{
    enum { NONE, ALL, MIXED };
    uint64_t fate = sim_below(dice, 3);

    for (size_t i = 0; i < n->dirty_count; i++) {
        size_t page = n->dirty[i];
        uint64_t mask = fate == ALL ? 255 : 0;
        if (fate == MIXED) { /* whole, not at all, or torn */
            uint64_t roll = sim_below(dice, 3);
            mask = roll == 0 ? 0 : roll == 1 ? 255 : sim_below(dice, 256);
        }
        if (page_start(page + 1) <= end) {
            leak_page(n, page, mask);
        }
    }
}

static int64_t crash_size(const struct sim_node *n, struct sim_dice *dice)
{
    int64_t more = n->bytes - n->disk_bytes;

    switch (sim_below(dice, 3)) {
    case 0:
        return n->disk_bytes;
    case 1:
        return n->bytes;
    default:
        return n->disk_bytes + (int64_t)sim_below(dice, (uint64_t)more + 1);
    }
}

void sim_file_crash(struct sim_node *n, struct sim_dice *dice)
{
    bool shrunk_is_lost = n->cut != NO_CUT && sim_one_in(dice, 2);

    if (shrunk_is_lost) { /* then so is all that was written past it */
        crash_pages(n, dice, n->cut);
        n->cut = NO_CUT;
    } else {
        apply_cut(n);
        crash_pages(n, dice, INT64_MAX);
        assert(n->bytes >= n->disk_bytes);
        n->disk_bytes = crash_size(n, dice);
    }
    disk_cut(n, n->disk_bytes); /* what leaked past the size that got to the disk */
    all_clean(n);
    for (size_t i = 0; i < n->page_count; i++) {
        now_set(&n->pages[i], n->pages[i].disk);
    }
    n->bytes = n->disk_bytes;
}

void sim_file_fini(struct sim_node *n)
{
    for (size_t i = 0; i < n->page_count; i++) {
        now_set(&n->pages[i], NULL);
        free(n->pages[i].disk);
    }
    free(n->pages);
    free(n->dirty);
}
