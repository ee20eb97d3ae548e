/* The other side of `make bench-omemo`: what users of libsignal-protocol-c pay for the operations that Lockbridge
 * performs with package omemo. Crypto provider: OpenSSL. Stores: in memory, records as bytes, found by index; they cost
 * next to nothing, so that the library is measured and not its store. The library loads and parses a session's record
 * from its store, and serialises and stores it again, in every operation; that is how it has to be used.
 *
 * It reads commands from standard input, one a line, "OPERATION COUNT", and answers each with a line
 * "NANOSECONDS OPERATIONS": this thread's CPU time for as many operations as were made (at least COUNT). What prepares
 * an operation is not counted. With an argument "fetch" the algorithms are fetched from OpenSSL once, instead of by
 * name in each call as the library's own tests and most clients do it.
 */
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <signal/key_helper.h>
#include <signal/protocol.h>
#include <signal/session_builder.h>
#include <signal/session_cipher.h>
#include <signal/signal_protocol.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MATERIAL = 32, KEY = 33, DEVICES = 200, PEERS = 50, ROOM = 1000 };

#define MUST(call) must((call), #call)
static void must(int result, const char *what) {
    if (result < 0) {
        fprintf(stderr, "signal: %s: error %d\n", what, result);
        exit(1);
    }
}

static void *need(void *p) {
    if (p == NULL) {
        fputs("signal: no memory\n", stderr);
        exit(1);
    }
    return p;
}

/* Crypto provider. */

static const EVP_MD *sha256, *sha512;                  /* NULL: by name in each call */
static const EVP_CIPHER *aes[3];                        /* by key length / 8 - 2 */

static int draw(uint8_t *data, size_t len, void *user) {
    (void)user;
    return RAND_bytes(data, (int)len) == 1 ? 0 : SG_ERR_UNKNOWN;
}

static int hmac_init(void **context, const uint8_t *key, size_t len, void *user) {
    (void)user;
    HMAC_CTX *c = HMAC_CTX_new();
    if (c == NULL) return SG_ERR_NOMEM;
    *context = c;
    return HMAC_Init_ex(c, key, (int)len, sha256 ? sha256 : EVP_sha256(), NULL) == 1 ? 0 : SG_ERR_UNKNOWN;
}

static int hmac_update(void *context, const uint8_t *data, size_t len, void *user) {
    (void)user;
    return HMAC_Update(context, data, len) == 1 ? 0 : SG_ERR_UNKNOWN;
}

static int hmac_final(void *context, signal_buffer **output, void *user) {
    (void)user;
    uint8_t sum[EVP_MAX_MD_SIZE];
    unsigned int len = 0;
    if (HMAC_Final(context, sum, &len) != 1) return SG_ERR_UNKNOWN;
    *output = signal_buffer_create(sum, len);
    return *output ? 0 : SG_ERR_NOMEM;
}

static void hmac_cleanup(void *context, void *user) {
    (void)user;
    HMAC_CTX_free(context);
}

static int digest_init(void **context, void *user) {
    (void)user;
    EVP_MD_CTX *c = EVP_MD_CTX_new();
    if (c == NULL) return SG_ERR_NOMEM;
    *context = c;
    return EVP_DigestInit_ex(c, sha512 ? sha512 : EVP_sha512(), NULL) == 1 ? 0 : SG_ERR_UNKNOWN;
}

static int digest_update(void *context, const uint8_t *data, size_t len, void *user) {
    (void)user;
    return EVP_DigestUpdate(context, data, len) == 1 ? 0 : SG_ERR_UNKNOWN;
}

static int digest_final(void *context, signal_buffer **output, void *user) {
    (void)user;
    uint8_t sum[EVP_MAX_MD_SIZE];
    unsigned int len = 0;
    if (EVP_DigestFinal_ex(context, sum, &len) != 1) return SG_ERR_UNKNOWN;
    if (EVP_DigestInit_ex(context, sha512 ? sha512 : EVP_sha512(), NULL) != 1) return SG_ERR_UNKNOWN;
    *output = signal_buffer_create(sum, len);
    return *output ? 0 : SG_ERR_NOMEM;
}

static void digest_cleanup(void *context, void *user) {
    (void)user;
    EVP_MD_CTX_free(context);
}

static const EVP_CIPHER *aes_cbc(size_t key_len) {
    switch (key_len) {
    case 16: return aes[0] ? aes[0] : EVP_aes_128_cbc();
    case 24: return aes[1] ? aes[1] : EVP_aes_192_cbc();
    case 32: return aes[2] ? aes[2] : EVP_aes_256_cbc();
    }
    return NULL;
}

/* cbc encrypts or decrypts; the protocol's messages use CBC with padding only. */
static int cbc(signal_buffer **output, int mode, int encrypt, const uint8_t *key, size_t key_len, const uint8_t *iv,
                 const uint8_t *in, size_t len) {
    const EVP_CIPHER *cipher = aes_cbc(key_len);
    if (mode != SG_CIPHER_AES_CBC_PKCS5 || cipher == NULL) return SG_ERR_UNKNOWN;
    int result = SG_ERR_UNKNOWN, n = 0, rest = 0;
    EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
    uint8_t *out = malloc(len + EVP_MAX_BLOCK_LENGTH);
    if (c != NULL && out != NULL && EVP_CipherInit_ex(c, cipher, NULL, key, iv, encrypt) == 1 &&
        EVP_CipherUpdate(c, out, &n, in, (int)len) == 1 && EVP_CipherFinal_ex(c, out + n, &rest) == 1) {
        *output = signal_buffer_create(out, (size_t)(n + rest));
        result = *output ? 0 : SG_ERR_NOMEM;
    }
    free(out);
    EVP_CIPHER_CTX_free(c);
    return result;
}

static int aes_encrypt(signal_buffer **output, int mode, const uint8_t *key, size_t key_len, const uint8_t *iv, size_t iv_len,
                   const uint8_t *in, size_t len, void *user) {
    (void)user, (void)iv_len;
    return cbc(output, mode, 1, key, key_len, iv, in, len);
}

static int aes_decrypt(signal_buffer **output, int mode, const uint8_t *key, size_t key_len, const uint8_t *iv, size_t iv_len,
                   const uint8_t *in, size_t len, void *user) {
    (void)user, (void)iv_len;
    return cbc(output, mode, 0, key, key_len, iv, in, len);
}

/* Stores. A party's peers are numbered from 0; the device id of an address is the number. */

struct bytes {
    uint8_t *data;
    size_t len;
};

static void put(struct bytes *b, const uint8_t *data, size_t len) {
    if (b->data == NULL || b->len != len) b->data = need(realloc(b->data, len ? len : 1));
    memcpy(b->data, data, len);
    b->len = len;
}

static void drop(struct bytes *b) {
    free(b->data);
    *b = (struct bytes){0};
}

struct party {
    signal_protocol_store_context *store;
    ratchet_identity_key_pair *identity;
    struct bytes public, private;
    uint32_t registration;
    struct bytes signed_pre_key; /* id 1 */
    uint8_t signature[64];
    ec_public_key *signed_public;
    struct bytes *pre_keys, *sessions, *identities; /* by id; by peer */
    unsigned pre_key_count, peer_count;
};

static signal_context *global;

static int get(signal_buffer **record, const struct bytes *b) {
    if (b->data == NULL) return 0;
    *record = signal_buffer_create(b->data, b->len);
    return *record ? 1 : SG_ERR_NOMEM;
}

static int load_session(signal_buffer **record, signal_buffer **more, const signal_protocol_address *a, void *user) {
    (void)more;
    return get(record, &((struct party *)user)->sessions[a->device_id]);
}

static int sub_devices(signal_int_list **sessions, const char *name, size_t len, void *user) {
    (void)name, (void)len, (void)user;
    *sessions = signal_int_list_alloc();
    return *sessions ? 0 : SG_ERR_NOMEM;
}

static int store_session(const signal_protocol_address *a, uint8_t *record, size_t len, uint8_t *more, size_t more_len, void *user) {
    (void)more, (void)more_len;
    put(&((struct party *)user)->sessions[a->device_id], record, len);
    return 0;
}

static int has_session(const signal_protocol_address *a, void *user) {
    return ((struct party *)user)->sessions[a->device_id].data != NULL;
}

static int delete_session(const signal_protocol_address *a, void *user) {
    drop(&((struct party *)user)->sessions[a->device_id]);
    return 1;
}

static int delete_all(const char *name, size_t len, void *user) {
    (void)name, (void)len, (void)user;
    return 0;
}

static int load_pre_key(signal_buffer **record, uint32_t id, void *user) {
    struct party *p = user;
    if (id >= p->pre_key_count) return SG_ERR_INVALID_KEY_ID;
    int found = get(record, &p->pre_keys[id]);
    return found == 1 ? SG_SUCCESS : found == 0 ? SG_ERR_INVALID_KEY_ID : found;
}

static int store_pre_key(uint32_t id, uint8_t *record, size_t len, void *user) {
    struct party *p = user;
    if (id >= p->pre_key_count) return SG_ERR_INVALID_KEY_ID;
    put(&p->pre_keys[id], record, len);
    return 0;
}

static int has_pre_key(uint32_t id, void *user) {
    struct party *p = user;
    return id < p->pre_key_count && p->pre_keys[id].data != NULL;
}

static int remove_pre_key(uint32_t id, void *user) {
    struct party *p = user;
    if (id < p->pre_key_count) drop(&p->pre_keys[id]);
    return 0;
}

static int load_signed(signal_buffer **record, uint32_t id, void *user) {
    if (id != 1) return SG_ERR_INVALID_KEY_ID;
    return get(record, &((struct party *)user)->signed_pre_key) == 1 ? SG_SUCCESS : SG_ERR_NOMEM;
}

static int store_signed(uint32_t id, uint8_t *record, size_t len, void *user) {
    (void)id;
    put(&((struct party *)user)->signed_pre_key, record, len);
    return 0;
}

static int has_signed(uint32_t id, void *user) {
    (void)user;
    return id == 1;
}

static int remove_signed(uint32_t id, void *user) {
    (void)id, (void)user;
    return 0;
}

static int own_keys(signal_buffer **public, signal_buffer **private, void *user) {
    struct party *p = user;
    return get(public, &p->public) == 1 && get(private, &p->private) == 1 ? 0 : SG_ERR_NOMEM;
}

static int own_registration(void *user, uint32_t *id) {
    *id = ((struct party *)user)->registration;
    return 0;
}

static int save_identity(const signal_protocol_address *a, uint8_t *key, size_t len, void *user) {
    struct bytes *b = &((struct party *)user)->identities[a->device_id];
    if (key == NULL) drop(b);
    else put(b, key, len);
    return 0;
}

static int trusted(const signal_protocol_address *a, uint8_t *key, size_t len, void *user) {
    const struct bytes *b = &((struct party *)user)->identities[a->device_id];
    return b->data == NULL || (b->len == len && memcmp(b->data, key, len) == 0);
}

static void destroy(void *user) { (void)user; }

static void add_pre_key(struct party *p, uint32_t id) {
    ec_key_pair *keys;
    session_pre_key *k;
    MUST(curve_generate_key_pair(global, &keys));
    MUST(session_pre_key_create(&k, id, keys));
    MUST(signal_protocol_pre_key_store_key(p->store, k));
    SIGNAL_UNREF(k);
    SIGNAL_UNREF(keys);
}

static void add_signed_pre_key(struct party *p) {
    session_signed_pre_key *k;
    MUST(signal_protocol_key_helper_generate_signed_pre_key(&k, p->identity, 1, 0, global));
    MUST(signal_protocol_signed_pre_key_store_key(p->store, k));
    p->signed_public = ec_key_pair_get_public(session_signed_pre_key_get_key_pair(k));
    SIGNAL_REF(p->signed_public);
    memcpy(p->signature, session_signed_pre_key_get_signature(k), sizeof p->signature);
    SIGNAL_UNREF(k);
}

/* new_party makes a device that can have so many peers and offers so many prekeys, with ids from 1. */
static struct party *new_party(unsigned peers, unsigned pre_keys) {
    struct party *p = need(calloc(1, sizeof *p));
    p->peer_count = peers;
    p->pre_key_count = pre_keys + 1;
    p->sessions = need(calloc(peers, sizeof *p->sessions));
    p->identities = need(calloc(peers, sizeof *p->identities));
    p->pre_keys = need(calloc(p->pre_key_count, sizeof *p->pre_keys));
    MUST(signal_protocol_store_context_create(&p->store, global));
    MUST(signal_protocol_store_context_set_session_store(p->store, &(signal_protocol_session_store){
        load_session, sub_devices, store_session, has_session, delete_session, delete_all, destroy, p}));
    MUST(signal_protocol_store_context_set_pre_key_store(p->store, &(signal_protocol_pre_key_store){
        load_pre_key, store_pre_key, has_pre_key, remove_pre_key, destroy, p}));
    MUST(signal_protocol_store_context_set_signed_pre_key_store(p->store, &(signal_protocol_signed_pre_key_store){
        load_signed, store_signed, has_signed, remove_signed, destroy, p}));
    MUST(signal_protocol_store_context_set_identity_key_store(p->store, &(signal_protocol_identity_key_store){
        own_keys, own_registration, save_identity, trusted, destroy, p}));
    MUST(signal_protocol_key_helper_generate_identity_key_pair(&p->identity, global));
    MUST(signal_protocol_key_helper_generate_registration_id(&p->registration, 0, global));
    signal_buffer *b;
    MUST(ec_public_key_serialize(&b, ratchet_identity_key_pair_get_public(p->identity)));
    put(&p->public, signal_buffer_const_data(b), signal_buffer_len(b));
    signal_buffer_free(b);
    MUST(ec_private_key_serialize(&b, ratchet_identity_key_pair_get_private(p->identity)));
    put(&p->private, signal_buffer_const_data(b), signal_buffer_len(b));
    signal_buffer_free(b);
    add_signed_pre_key(p);
    for (unsigned id = 1; id <= pre_keys; id++) add_pre_key(p, id);
    return p;
}

/* The operations. An address is another party's number on one's own list. */

static signal_protocol_address address(int number) {
    static const char name[] = "member@example.org";
    return (signal_protocol_address){name, sizeof name - 1, number};
}

static uint8_t material[MATERIAL];

/* seal encrypts 32 bytes of key material; with out, the message is kept there. */
static void seal(struct party *p, int to, struct bytes *out) {
    signal_protocol_address a = address(to);
    session_cipher *c;
    ciphertext_message *m;
    MUST(session_cipher_create(&c, p->store, &a, global));
    MUST(session_cipher_encrypt(c, material, sizeof material, &m));
    signal_buffer *b = ciphertext_message_get_serialized(m);
    if (out != NULL) put(out, signal_buffer_const_data(b), signal_buffer_len(b));
    SIGNAL_UNREF(m);
    session_cipher_free(c);
}

static void check(signal_buffer *plain) {
    if (signal_buffer_len(plain) != MATERIAL) must(-1, "compare the plaintext");
    signal_buffer_bzero_free(plain);
}

static void open_message(struct party *p, int from, const struct bytes *in) {
    signal_protocol_address a = address(from);
    session_cipher *c;
    signal_message *m;
    signal_buffer *plain;
    MUST(session_cipher_create(&c, p->store, &a, global));
    MUST(signal_message_deserialize(&m, in->data, in->len, global));
    MUST(session_cipher_decrypt_signal_message(c, m, NULL, &plain));
    check(plain);
    SIGNAL_UNREF(m);
    session_cipher_free(c);
}

static void open_first(struct party *p, int from, const struct bytes *in) {
    signal_protocol_address a = address(from);
    session_cipher *c;
    pre_key_signal_message *m;
    signal_buffer *plain;
    MUST(session_cipher_create(&c, p->store, &a, global));
    MUST(pre_key_signal_message_deserialize(&m, in->data, in->len, global));
    MUST(session_cipher_decrypt_pre_key_signal_message(c, m, NULL, &plain));
    check(plain);
    SIGNAL_UNREF(m);
    session_cipher_free(c);
}

/* bundle_of makes the bundle that p would publish with one prekey: keys decoded, signature unverified. */
static session_pre_key_bundle *bundle_of(struct party *p, uint32_t pre_key) {
    session_pre_key *k;
    session_pre_key_bundle *b;
    MUST(signal_protocol_pre_key_load_key(p->store, &k, pre_key));
    MUST(session_pre_key_bundle_create(&b, p->registration, 1, pre_key, ec_key_pair_get_public(session_pre_key_get_key_pair(k)),
        1, p->signed_public, p->signature, sizeof p->signature, ratchet_identity_key_pair_get_public(p->identity)));
    SIGNAL_UNREF(k);
    return b;
}

/* build verifies the bundle's signature and starts a session. */
static void build(struct party *p, int to, session_pre_key_bundle *bundle) {
    signal_protocol_address a = address(to);
    session_builder *b;
    MUST(session_builder_create(&b, p->store, &a, global));
    MUST(session_builder_process_pre_key_bundle(b, bundle));
    session_builder_free(b);
}

/* room is one party and its peers, who know it as number 0. */
struct room {
    struct party *own, **peers;
    struct bytes *messages;
    int count;
};

/* new_room makes peers; with sessions, they are confirmed: both ends have heard from each other. */
static struct room *new_room(int count, int sessions) {
    struct room *r = need(calloc(1, sizeof *r));
    r->count = count;
    r->own = new_party((unsigned)count, sessions ? 0 : (unsigned)count);
    r->peers = need(calloc((size_t)count, sizeof *r->peers));
    r->messages = need(calloc((size_t)count, sizeof *r->messages));
    for (int i = 0; i < count; i++) {
        r->peers[i] = new_party(1, 1);
        if (!sessions) continue;
        session_pre_key_bundle *b = bundle_of(r->peers[i], 1);
        build(r->own, i, b);
        SIGNAL_UNREF(b);
        seal(r->own, i, &r->messages[i]);
        open_first(r->peers[i], 0, &r->messages[i]);
        seal(r->peers[i], 0, &r->messages[i]);
        open_message(r->own, i, &r->messages[i]);
    }
    return r;
}

static double clock_of(clockid_t id) {
    struct timespec t;
    clock_gettime(id, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static double cpu(void) { return clock_of(CLOCK_THREAD_CPUTIME_ID); }

/* Each operation returns what one round over its room cost, in nanoseconds. */

/* seal_all: load the session, encrypt, store it: for each of the devices. */
static double seal_all(struct room *r) {
    double start = cpu();
    for (int i = 0; i < r->count; i++) seal(r->own, i, NULL);
    return cpu() - start;
}

/* seal_wall is seal_all by the clock on the wall: a part of the plain way to seal for a room. */
static double seal_wall(struct room *r) {
    double start = clock_of(CLOCK_MONOTONIC);
    for (int i = 0; i < r->count; i++) seal(r->own, i, &r->messages[i]);
    return clock_of(CLOCK_MONOTONIC) - start;
}

/* open_chain: parse the message, load the session, decrypt with the next key of the same chain, store it. */
static double open_chain(struct room *r) {
    for (int i = 0; i < r->count; i++) seal(r->peers[i], 0, &r->messages[i]);
    double start = cpu();
    for (int i = 0; i < r->count; i++) open_message(r->own, i, &r->messages[i]);
    return cpu() - start;
}

/* answered has each peer answer a message of ours: its answer brings a new ratchet key. */
static void answered(struct room *r) {
    for (int i = 0; i < r->count; i++) {
        seal(r->own, i, &r->messages[i]);
        open_message(r->peers[i], 0, &r->messages[i]);
        seal(r->peers[i], 0, &r->messages[i]);
    }
}

/* open_turn: as open_chain, with a turn of the ratchet. The library makes both halves of the turn at once. */
static double open_turn(struct room *r) {
    answered(r);
    double start = cpu();
    for (int i = 0; i < r->count; i++) open_message(r->own, i, &r->messages[i]);
    return cpu() - start;
}

/* turn_reply: open_turn and the answer to it, so that both halves of the turn are counted wherever they are made. */
static double turn_reply(struct room *r) {
    answered(r);
    double start = cpu();
    for (int i = 0; i < r->count; i++) {
        open_message(r->own, i, &r->messages[i]);
        seal(r->own, i, &r->messages[i]);
    }
    double spent = cpu() - start;
    for (int i = 0; i < r->count; i++) open_message(r->peers[i], 0, &r->messages[i]);
    return spent;
}

/* session_build: verify the bundle, start a session, encrypt the first message. */
static double session_build(struct room *r) {
    session_pre_key_bundle **bundles = need(calloc((size_t)r->count, sizeof *bundles));
    for (int i = 0; i < r->count; i++) {
        drop(&r->own->sessions[i]);
        drop(&r->own->identities[i]);
        bundles[i] = bundle_of(r->peers[i], 1);
    }
    double start = cpu();
    for (int i = 0; i < r->count; i++) {
        build(r->own, i, bundles[i]);
        seal(r->own, i, NULL);
    }
    double spent = cpu() - start;
    for (int i = 0; i < r->count; i++) SIGNAL_UNREF(bundles[i]);
    free(bundles);
    return spent;
}

/* first_open: parse the key exchange, find the prekeys, start the session, decrypt, store it, remove the prekey. */
static double first_open(struct room *r) {
    for (int i = 0; i < r->count; i++) {
        uint32_t id = (uint32_t)i + 1;
        drop(&r->own->sessions[i]);
        drop(&r->own->identities[i]);
        if (r->own->pre_keys[id].data == NULL) add_pre_key(r->own, id);
        session_pre_key_bundle *b = bundle_of(r->own, id);
        drop(&r->peers[i]->sessions[0]);
        build(r->peers[i], 0, b);
        SIGNAL_UNREF(b);
        seal(r->peers[i], 0, &r->messages[i]);
    }
    double start = cpu();
    for (int i = 0; i < r->count; i++) open_first(r->own, i, &r->messages[i]);
    return cpu() - start;
}

static struct operation {
    const char *name;
    double (*round)(struct room *);
    int devices, sessions;
    struct room *room; /* made when first asked for */
} operations[] = {
    {"seal_device", seal_all, DEVICES, 1, NULL},   {"seal_wall", seal_wall, ROOM, 1, NULL},
    {"open_chain", open_chain, DEVICES, 1, NULL},  {"open_turn", open_turn, PEERS, 1, NULL},
    {"turn_reply", turn_reply, PEERS, 1, NULL},    {"session_build", session_build, PEERS, 0, NULL},
    {"first_open", first_open, PEERS, 0, NULL},
};

static void run(const char *name, long count) {
    for (size_t i = 0; i < sizeof operations / sizeof *operations; i++) {
        struct operation *o = &operations[i];
        if (strcmp(o->name, name) != 0) continue;
        if (o->room == NULL) {
            o->room = new_room(o->devices, o->sessions);
            o->round(o->room); /* warm */
        }
        double spent = 0;
        long done = 0;
        for (; done < count; done += o->devices) spent += o->round(o->room);
        printf("%.0f %ld\n", spent, done);
        fflush(stdout);
        return;
    }
    fprintf(stderr, "signal: unknown operation %s\n", name);
    exit(1);
}

int main(int argc, char **argv) {
    if (argc > 1 && strcmp(argv[1], "fetch") == 0) {
        sha256 = need(EVP_MD_fetch(NULL, "SHA256", NULL));
        sha512 = need(EVP_MD_fetch(NULL, "SHA512", NULL));
        aes[0] = need(EVP_CIPHER_fetch(NULL, "AES-128-CBC", NULL));
        aes[1] = need(EVP_CIPHER_fetch(NULL, "AES-192-CBC", NULL));
        aes[2] = need(EVP_CIPHER_fetch(NULL, "AES-256-CBC", NULL));
    }
    MUST(signal_context_create(&global, NULL));
    MUST(signal_context_set_crypto_provider(global, &(signal_crypto_provider){
        draw, hmac_init, hmac_update, hmac_final, hmac_cleanup, digest_init, digest_update, digest_final, digest_cleanup,
        aes_encrypt, aes_decrypt, NULL}));
    MUST(RAND_bytes(material, sizeof material) == 1 ? 0 : -1);
    char name[64];
    long count;
    while (scanf("%63s %ld", name, &count) == 2) run(name, count);
    return 0;
}
