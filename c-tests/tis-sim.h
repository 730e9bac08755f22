// SPDX-License-Identifier: BSD-2-Clause
/* The simulated TPM on an SPI bus, libsim_tis.so: see tests/sim/tis/src/sys.rs. */

#ifndef TIS_SIM_H
#define TIS_SIM_H

#include <stddef.h>
#include <stdint.h>

struct tis_sim;
struct tis_sim *tis_sim_new(const char *tcti_name_conf, const char *options);
int tis_sim_transfer(struct tis_sim *sim, const void *out, void *in, size_t cnt);
int tis_sim_acquire(struct tis_sim *sim);
int tis_sim_release(struct tis_sim *sim);
int tis_sim_set(struct tis_sim *sim, const char *options);
int tis_sim_has_locality(const struct tis_sim *sim);
uint64_t tis_sim_transactions(const struct tis_sim *sim);
size_t tis_sim_offences(const struct tis_sim *sim);
void tis_sim_free(struct tis_sim *sim);

#endif
