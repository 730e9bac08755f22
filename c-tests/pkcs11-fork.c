// SPDX-License-Identifier: BSD-2-Clause
/* Uses a PKCS#11 module whose tokens are in a TPM across a fork: pkcs11-fork MODULE ORDER. Creates a token with a key,
 * forks, and signs; every signature is verified. ORDER is "child": the child goes on with the session that it
 * inherited while its parent waits; "orphan": it does so after its parent has exited; "again": the child initializes
 * the module again, as PKCS#11 2.40 requires (section 2.4); "both": both log in after the fork and sign at the same
 * time. Only one of the two can use a session from before the fork, with any TCTI, because each command changes the
 * nonce that the next one needs. The headers of PKCS#11 are not needed: this file has the few definitions of version
 * 2.40 that it uses. */

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "orphan.h"

#define TIME_LIMIT 240 /* seconds */
#define SIGNATURES 5

typedef unsigned long ck; /* CK_ULONG, CK_RV, and every kind of handle */

struct mechanism {
    ck mechanism;
    void *parameter;
    ck length;
};

struct attribute {
    ck type;
    void *value;
    ck length;
};

enum { CKR_OK = 0, CKR_CRYPTOKI_ALREADY_INITIALIZED = 0x191 };
enum { CKU_SO = 0, CKU_USER = 1 };
enum { CKF_RW_SESSION = 2, CKF_SERIAL_SESSION = 4 };
enum { CKM_EC_KEY_PAIR_GEN = 0x1040, CKM_ECDSA = 0x1041 };
enum { CKA_CLASS = 0, CKA_TOKEN = 1, CKA_ID = 0x102, CKA_SIGN = 0x108, CKA_VERIFY = 0x10a, CKA_EC_PARAMS = 0x180 };
enum { CKO_PUBLIC_KEY = 2, CKO_PRIVATE_KEY = 3 };

static void *module;

#define CALL(name, ...) ((ck(*)())dlsym(module, #name))(__VA_ARGS__)
#define MUST(name, ...)                                                                   \
    do {                                                                                  \
        ck must = CALL(name, __VA_ARGS__);                                                \
        if (must != CKR_OK) {                                                             \
            printf("%s: %s: 0x%lx\n", who, #name, must);                                  \
            fflush(stdout);                                                               \
            _exit(1);                                                                     \
        }                                                                                 \
    } while (0)

static unsigned char so_pin[] = "sopin", user_pin[] = "userpin";

/* The keys of the pair in an open session. */
struct keys {
    ck session, public, private;
};

/* The signatures, in memory that all processes share. */
static struct signature {
    unsigned char digest[32], bytes[256];
    ck length;
} *signatures;

static ck slot(void)
{
    ck slots[8], count = 8;
    MUST(C_GetSlotList, 1, slots, &count);
    return slots[0];
}

static ck open_session(ck slot)
{
    ck session;
    MUST(C_OpenSession, slot, (ck)(CKF_RW_SESSION | CKF_SERIAL_SESSION), NULL, NULL, &session);
    return session;
}

static void make_token(void)
{
    unsigned char label[32];
    memset(label, ' ', sizeof(label));
    memcpy(label, "token", 5);
    MUST(C_InitToken, slot(), so_pin, (ck)5, label);
    ck session = open_session(slot());
    MUST(C_Login, session, (ck)CKU_SO, so_pin, (ck)5);
    MUST(C_InitPIN, session, user_pin, (ck)7);
    MUST(C_Logout, session);
    MUST(C_CloseSession, session);
}

static struct keys make_key(void)
{
    static unsigned char p256[] = {0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07}, yes = 1, id = 1;
    struct mechanism mechanism = {CKM_EC_KEY_PAIR_GEN, NULL, 0};
    struct attribute public[] = {{CKA_EC_PARAMS, p256, sizeof(p256)}, {CKA_TOKEN, &yes, 1}, {CKA_ID, &id, 1},
                                 {CKA_VERIFY, &yes, 1}};
    struct attribute private[] = {{CKA_TOKEN, &yes, 1}, {CKA_ID, &id, 1}, {CKA_SIGN, &yes, 1}};
    struct keys keys = {.session = open_session(slot())};
    MUST(C_Login, keys.session, (ck)CKU_USER, user_pin, (ck)7);
    MUST(C_GenerateKeyPair, keys.session, &mechanism, public, (ck)4, private, (ck)3, &keys.public, &keys.private);
    return keys;
}

/* Signs digests that contain the process ID, so that no other process signs the same ones. */
static void sign(const struct keys *keys, struct signature *made, int count)
{
    struct mechanism mechanism = {CKM_ECDSA, NULL, 0};
    for (int i = 0; i < count; i++) {
        made[i].length = sizeof(made[i].bytes);
        snprintf((char *)made[i].digest, sizeof(made[i].digest), "%d of process %d", i, (int)getpid());
        MUST(C_SignInit, keys->session, &mechanism, keys->private);
        MUST(C_Sign, keys->session, made[i].digest, (ck)sizeof(made[i].digest), made[i].bytes, &made[i].length);
    }
}

static void verify(const struct keys *keys, struct signature *made, int count)
{
    struct mechanism mechanism = {CKM_ECDSA, NULL, 0};
    for (int i = 0; i < count; i++) {
        MUST(C_VerifyInit, keys->session, &mechanism, keys->public);
        MUST(C_Verify, keys->session, made[i].digest, (ck)sizeof(made[i].digest), made[i].bytes, made[i].length);
    }
}

/* Signs and verifies with the keys at `data`. */
static void work(void *data)
{
    const struct keys *keys = data;
    sign(keys, signatures, SIGNATURES);
    verify(keys, signatures, SIGNATURES);
}

static ck find(ck session, ck class)
{
    struct attribute template = {CKA_CLASS, &class, sizeof(class)};
    ck object = 0, count = 0;
    MUST(C_FindObjectsInit, session, &template, (ck)1);
    MUST(C_FindObjects, session, &object, (ck)1, &count);
    MUST(C_FindObjectsFinal, session);
    return object;
}

static struct keys log_in(void)
{
    struct keys keys = {.session = open_session(slot())};
    MUST(C_Login, keys.session, (ck)CKU_USER, user_pin, (ck)7);
    keys.public = find(keys.session, CKO_PUBLIC_KEY);
    keys.private = find(keys.session, CKO_PRIVATE_KEY);
    return keys;
}

/* Initializes the module in a child, whether or not the module has noticed the fork itself. */
static struct keys initialize_again(void)
{
    if (CALL(C_Initialize, NULL) == CKR_CRYPTOKI_ALREADY_INITIALIZED) {
        MUST(C_Finalize, NULL);
        MUST(C_Initialize, NULL);
    }
    return log_in();
}

/* Starts a child that signs with the inherited keys, or with those that `begin` returns. */
static pid_t start(const struct keys *inherited, struct keys (*begin)(void))
{
    pid_t child = fork();
    if (child == 0) {
        who = "child";
        struct keys keys = begin ? begin() : *inherited;
        work(&keys);
        _exit(0);
    }
    return child;
}

/* A TPM has room for three objects. While each process has its key loaded, no room is left for the public key that
 * verifying needs. */
static void both(void)
{
    pid_t child = fork();
    struct signature *mine = child ? signatures : signatures + SIGNATURES;
    who = child ? "parent" : "child";
    struct keys keys = log_in();
    sign(&keys, mine, SIGNATURES);
    MUST(C_Logout, keys.session);
    if (!child)
        _exit(0);
    wait_for(child);
    keys = log_in();
    verify(&keys, signatures, 2 * SIGNATURES);
}

int main(int argc, char **argv)
{
    const char *order = argc == 3 ? argv[2] : "";
    alarm(TIME_LIMIT);
    setvbuf(stdout, NULL, _IOLBF, 0);
    module = dlopen(argc > 1 ? argv[1] : "", RTLD_NOW);
    if (!module) {
        puts(dlerror());
        return 1;
    }
    signatures = mmap(NULL, 2 * SIGNATURES * sizeof(*signatures), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (signatures == MAP_FAILED)
        return 1;
    MUST(C_Initialize, NULL);
    make_token();
    struct keys keys = make_key();
    work(&keys);
    if (strcmp(order, "child") == 0) {
        wait_for(start(&keys, NULL));
    } else if (strcmp(order, "orphan") == 0) {
        work_as_orphan(work, &keys);
    } else if (strcmp(order, "again") == 0) {
        wait_for(start(&keys, initialize_again));
    } else if (strcmp(order, "both") == 0) {
        MUST(C_Logout, keys.session);
        MUST(C_CloseSession, keys.session);
        both();
    } else {
        return 2;
    }
    puts("done");
    return 0;
}
