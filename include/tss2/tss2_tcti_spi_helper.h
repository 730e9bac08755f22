/* SPDX-License-Identifier: BSD-2-Clause */

#ifndef TSS2_TCTI_SPI_HELPER_H
#define TSS2_TCTI_SPI_HELPER_H

/* Made by `cargo xtask headers`; do not edit. */

#include <stdbool.h>
#include "tss2_tcti.h"

/**
 * Sleeps for `milliseconds`.
 */
typedef TSS2_RC (*TSS2_TCTI_SPI_HELPER_PLATFORM_SLEEP_MS_FUNC)(void *user_data, int milliseconds);

/**
 * Starts the only timer, which expires after `milliseconds`; this replaces an earlier start.
 */
typedef TSS2_RC (*TSS2_TCTI_SPI_HELPER_PLATFORM_START_TIMEOUT_FUNC)(void *user_data, int milliseconds);

/**
 * Writes to `result` whether the timer has expired.
 */
typedef TSS2_RC (*TSS2_TCTI_SPI_HELPER_PLATFORM_TIMEOUT_EXPIRED_FUNC)(void *user_data, bool *result);

/**
 * Acquires the bus and selects the TPM, which stays selected during several transfers.
 */
typedef TSS2_RC (*TSS2_TCTI_SPI_HELPER_PLATFORM_SPI_ACQUIRE_FUNC)(void *user_data);

/**
 * Deselects the TPM and releases the bus.
 */
typedef TSS2_RC (*TSS2_TCTI_SPI_HELPER_PLATFORM_SPI_RELEASE_FUNC)(void *user_data);

/**
 * Shifts `cnt` bytes, 1 to 68, out of `data_out` and into `data_in` at the same time. One of them may be NULL: then zeroes
 * are sent, or the received bytes are dropped.
 */
typedef TSS2_RC (*TSS2_TCTI_SPI_HELPER_PLATFORM_SPI_TRANSFER_FUNC)(void *user_data,
                                                                   const void *data_out,
                                                                   void *data_in,
                                                                   size_t cnt);

/**
 * Frees what belongs to `user_data`.
 */
typedef void (*TSS2_TCTI_SPI_HELPER_PLATFORM_FINALIZE)(void *user_data);

/**
 * The functions of the program. Each receives `user_data` and returns `TSS2_RC_SUCCESS`, or any other code for an error,
 * which fails the command. Each must return: `pthread_exit(3)`, a C++ exception or a cancellation inside it ends the process,
 * because the call could release neither the bus nor the context.
 *
 * `spi_acquire` and `spi_release` are both present or both NULL. With them the TPM may insert wait states: header, wait
 * states and data are separate transfers between the two calls. Without them each transfer is a complete transaction, and
 * the TPM must not insert wait states. `finalize` may be NULL; all other functions are required.
 */
typedef struct TSS2_TCTI_SPI_HELPER_PLATFORM {
  /**
   * Passed to each function.
   */
  void *user_data;
  /**
   * Sleeps.
   */
  TSS2_TCTI_SPI_HELPER_PLATFORM_SLEEP_MS_FUNC sleep_ms;
  /**
   * Starts the timer.
   */
  TSS2_TCTI_SPI_HELPER_PLATFORM_START_TIMEOUT_FUNC start_timeout;
  /**
   * Checks the timer.
   */
  TSS2_TCTI_SPI_HELPER_PLATFORM_TIMEOUT_EXPIRED_FUNC timeout_expired;
  /**
   * Begins a transaction, or NULL.
   */
  TSS2_TCTI_SPI_HELPER_PLATFORM_SPI_ACQUIRE_FUNC spi_acquire;
  /**
   * Ends a transaction, or NULL.
   */
  TSS2_TCTI_SPI_HELPER_PLATFORM_SPI_RELEASE_FUNC spi_release;
  /**
   * Shifts bytes.
   */
  TSS2_TCTI_SPI_HELPER_PLATFORM_SPI_TRANSFER_FUNC spi_transfer;
  /**
   * Called once, in Finalize, but not when Init fails; or NULL.
   */
  TSS2_TCTI_SPI_HELPER_PLATFORM_FINALIZE finalize;
} TSS2_TCTI_SPI_HELPER_PLATFORM;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * Opens the TPM on an SPI bus that the functions in `platform_conf` drive. With a NULL `tctiContext`, writes the size of a
 * context in bytes to `size` and does nothing else; `platform_conf` may then be NULL.
 *
 * # Configuration
 * The structure `platform_conf` is copied. After a failure `user_data` still belongs to the caller: `finalize` is not
 * called.
 *
 * # Return value
 * `TSS2_TCTI_RC_BAD_VALUE` if a required function is missing, `TSS2_TCTI_RC_IO_ERROR` if a function fails or no TPM
 * responds.
 *
 * # Parameters
 * `tctiContext` is NULL or points to writable memory of the size that a call with NULL returns; `size` is NULL or
 * writable; `platform_conf` is NULL or points to a structure whose functions may be called until Finalize, from the
 * thread that uses the context.
 */
TSS2_RC Tss2_Tcti_Spi_Helper_Init(TSS2_TCTI_CONTEXT *tctiContext,
                                  size_t *size,
                                  struct TSS2_TCTI_SPI_HELPER_PLATFORM *platform_conf);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* TSS2_TCTI_SPI_HELPER_H */
