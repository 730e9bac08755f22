// SPDX-License-Identifier: BSD-2-Clause
/* A PKCS#11 module whose tokens are in a TPM, across a fork: pkcs11 MODULE SCENARIO. Makes a token with a key in it, forks,
 * and signs. Every signature is verified. No header of PKCS#11 is part of the distribution's C library, so that what is
 * needed of version 2.40 is here. */

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define PATIENCE 240 /* seconds */
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

static const char *who = "parent";
static unsigned char so_pin[] = "sopin", user_pin[] = "userpin";

/* The keys of the pair in an open session. */
struct keys {
    ck session, public, private;
};

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

static ck find(ck session, ck class)
{
    struct attribute template = {CKA_CLASS, &class, sizeof(class)};
    ck object = 0, count = 0;
    MUST(C_FindObjectsInit, session, &template, (ck)1);
    MUST(C_FindObjects, session, &object, (ck)1, &count);
    MUST(C_FindObjectsFinal, session);
    return object;
}

static void sign(const struct keys *keys, int times)
{
    struct mechanism mechanism = {CKM_ECDSA, NULL, 0};
    for (int i = 0; i < times; i++) {
        unsigned char digest[32], signature[256];
        ck length = sizeof(signature);
        snprintf((char *)digest, sizeof(digest), "%d of process %d", i, (int)getpid());
        MUST(C_SignInit, keys->session, &mechanism, keys->private);
        MUST(C_Sign, keys->session, digest, (ck)sizeof(digest), signature, &length);
        MUST(C_VerifyInit, keys->session, &mechanism, keys->public);
        MUST(C_Verify, keys->session, digest, (ck)sizeof(digest), signature, length);
    }
}

/* As PKCS#11 demands of a process that was forked. */
static struct keys begin_again(void)
{
    ck rc = CALL(C_Initialize, NULL);
    printf("%s: C_Initialize 0x%lx\n", who, rc);
    if (rc == CKR_CRYPTOKI_ALREADY_INITIALIZED) {
        MUST(C_Finalize, NULL);
        MUST(C_Initialize, NULL);
    }
    struct keys keys = {.session = open_session(slot())};
    MUST(C_Login, keys.session, (ck)CKU_USER, user_pin, (ck)7);
    keys.public = find(keys.session, CKO_PUBLIC_KEY);
    keys.private = find(keys.session, CKO_PRIVATE_KEY);
    return keys;
}

static void wait_for(pid_t child)
{
    int status;
    if (waitpid(child, &status, 0) != child || status != 0) {
        printf("the child: 0x%x\n", status);
        exit(1);
    }
}

int main(int argc, char **argv)
{
    if (argc != 3)
        return 2;
    alarm(PATIENCE);
    setvbuf(stdout, NULL, _IOLBF, 0);
    module = dlopen(argv[1], RTLD_NOW);
    if (!module) {
        puts(dlerror());
        return 1;
    }
    const char *scenario = argv[2];
    MUST(C_Initialize, NULL);
    make_token();
    struct keys keys = make_key();
    sign(&keys, 1);
    pid_t child = fork();
    if (child == 0) {
        who = "child";
        if (strstr(scenario, "again"))
            keys = begin_again();
        sign(&keys, SIGNATURES);
        if (strstr(scenario, "finalize"))
            MUST(C_Finalize, NULL);
        _exit(0);
    }
    if (strstr(scenario, "both"))
        sign(&keys, SIGNATURES);
    wait_for(child);
    if (!strstr(scenario, "idle"))
        sign(&keys, SIGNATURES);
    MUST(C_Finalize, NULL);
    puts("done");
    return 0;
}
