/* seal_digest.c - SHA-256 of batches as they are stored. SPDX-License-Identifier: Apache-2.0 */
#include <openssl/evp.h>
#include <pthread.h>
#include <stdlib.h>

#include "audit/ledger_inside.h"

#define BATCH_EPOCH_AT                                                                         \
    12 /* base offset before the length, epoch behind it: the log's to set                     \
        */
#define BATCH_MAGIC_AT 16

struct seal_digest {
    EVP_MD_CTX *context;
};

static EVP_MD *sha256; /* looked up once: that costs more than hashing a seal */
static pthread_once_t sha256_once = PTHREAD_ONCE_INIT;

static void sha256_fetch(void)
{
    sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
    assert(sha256);
}

static void begin(struct seal_digest *digest)
{
    int done = EVP_DigestInit_ex2(digest->context, sha256, NULL);
    assert(done == 1);
}

struct seal_digest *seal_digest_new(void)
{
    struct seal_digest *digest = xcalloc(1, sizeof(*digest));

    pthread_once(&sha256_once, sha256_fetch);
    digest->context = EVP_MD_CTX_new();
    assert(digest->context);
    begin(digest);
    return digest;
}

static void add(struct seal_digest *digest, view bytes)
{
    int done = EVP_DigestUpdate(digest->context, bytes.at, bytes.len);
    assert(done == 1);
}

void seal_digest_add(struct seal_digest *digest, view batch)
{
    assert(batch.len >= BATCH_HEAD_BYTES);
    add(digest, (view){batch.at + BATCH_LENGTH_AT, BATCH_EPOCH_AT - BATCH_LENGTH_AT});
    add(digest, view_from(batch, BATCH_MAGIC_AT));
}

void ledger_between_add(struct seal_digest *digest, view record)
{
    uint8_t length[sizeof(uint64_t)];

    put_u64(length, record.len);
    add(digest, VIEW_OF(length));
    add(digest, record);
}

void seal_digest_peek(struct seal_digest *digest, uint8_t out[SEAL_HASH_BYTES])
{
    EVP_MD_CTX *copy = EVP_MD_CTX_new();
    unsigned len = 0;

    assert(copy);
    int done = EVP_MD_CTX_copy_ex(copy, digest->context);
    assert(done == 1);
    done = EVP_DigestFinal_ex(copy, out, &len);
    assert(done == 1);
    assert(len == SEAL_HASH_BYTES);
    EVP_MD_CTX_free(copy);
}

void seal_digest_end(struct seal_digest *digest, uint8_t out[SEAL_HASH_BYTES])
{
    unsigned len = 0;
    int done = EVP_DigestFinal_ex(digest->context, out, &len);

    assert(done == 1);
    assert(len == SEAL_HASH_BYTES);
    begin(digest);
}

void seal_digest_free(struct seal_digest *digest)
{
    if (digest) {
        EVP_MD_CTX_free(digest->context);
        free(digest);
    }
}

void sha256_of(view bytes, uint8_t out[SEAL_HASH_BYTES])
{
    struct seal_digest *digest = seal_digest_new();

    add(digest, bytes);
    seal_digest_end(digest, out);
    seal_digest_free(digest);
}
