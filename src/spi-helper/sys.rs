// SPDX-License-Identifier: BSD-2-Clause
//! The bus and clock [`Platform`], which calls the functions of a program. All calls to them are here.
#![expect(unsafe_code, reason = "an island of unsafe code, see src/README.md")]

use crate::abi::TSS2_TCTI_SPI_HELPER_PLATFORM;
use core::ffi::{c_int, c_void};
use core::ptr::{null, null_mut};
use tcti_core::abi::TSS2_RC;
use tcti_core::{Result, ReturnCode, fail};
use tcti_tis::{Bus, ChipSelect, Clock, Transfer};

/// The checked functions: the required ones are present, and `spi_acquire` and `spi_release` are both present or absent.
pub struct Platform {
    user_data: *mut c_void,
    sleep_ms: unsafe extern "C" fn(*mut c_void, c_int) -> TSS2_RC,
    start_timeout: unsafe extern "C" fn(*mut c_void, c_int) -> TSS2_RC,
    timeout_expired: unsafe extern "C" fn(*mut c_void, *mut bool) -> TSS2_RC,
    spi_transfer: unsafe extern "C" fn(*mut c_void, *const c_void, *mut c_void, usize) -> TSS2_RC,
    chip_select: Option<[unsafe extern "C" fn(*mut c_void) -> TSS2_RC; 2]>,
    finalize: Option<unsafe extern "C" fn(*mut c_void)>,
    /// Whether Init has succeeded. Until then `user_data` belongs to the caller, as with the C module.
    owns_user_data: bool,
}

// SAFETY: the caller of Init promises that its functions may be called from whichever thread uses the context.
unsafe impl Send for Platform {}

impl Platform {
    /// Checks the functions; `BAD_VALUE` when one is missing.
    pub(crate) fn new(given: TSS2_TCTI_SPI_HELPER_PLATFORM) -> Result<Platform> {
        fn required<F>(function: Option<F>, name: &str) -> Result<F> {
            function.ok_or_else(|| fail!(ReturnCode::BAD_VALUE, "the platform has no function {name}"))
        }
        let chip_select = match (given.spi_acquire, given.spi_release) {
            (Some(acquire), Some(release)) => Some([acquire, release]),
            (None, None) => None,
            _ => {
                return Err(fail!(
                    ReturnCode::BAD_VALUE,
                    "the platform has one of spi_acquire and spi_release; both or neither are required"
                ));
            }
        };
        Ok(Platform {
            user_data: given.user_data,
            sleep_ms: required(given.sleep_ms, "sleep_ms")?,
            start_timeout: required(given.start_timeout, "start_timeout")?,
            timeout_expired: required(given.timeout_expired, "timeout_expired")?,
            spi_transfer: required(given.spi_transfer, "spi_transfer")?,
            chip_select,
            finalize: given.finalize,
            owns_user_data: false,
        })
    }

    /// Takes ownership of `user_data`, when Init has succeeded.
    pub(crate) fn take_ownership(&mut self) {
        self.owns_user_data = true;
    }

    fn chip_select(&self, which: usize, name: &str) -> Result<()> {
        let Some(function) = self.chip_select.as_ref().and_then(|both| both.get(which)) else { return Ok(()) };
        // SAFETY: the caller of Init promises that this function may be called with its `user_data`.
        done(unsafe { function(self.user_data) }, name)
    }
}

/// Converts the return code of a function.
fn done(rc: TSS2_RC, name: &str) -> Result<()> {
    ReturnCode::from_c(rc)
        .map_err(|_| fail!(ReturnCode::IO_ERROR, "the platform's function {name} answers error {rc:#x}"))
}

fn millis(millis: u32) -> c_int {
    c_int::try_from(millis).unwrap_or(c_int::MAX)
}

impl Bus for Platform {
    fn transfer(&mut self, transfer: Transfer<'_>) -> Result<()> {
        let count = transfer.len();
        let out = transfer.out.map_or(null(), <[u8]>::as_ptr);
        let into = transfer.into.map_or(null_mut(), <[u8]>::as_mut_ptr);
        // SAFETY: the caller of Init promises that this function may be called with its `user_data`; each pointer is NULL or
        // that of a borrowed slice of `count` bytes.
        done(unsafe { (self.spi_transfer)(self.user_data, out.cast(), into.cast(), count) }, "spi_transfer")
    }

    fn clock(&mut self) -> &mut dyn Clock {
        self
    }

    fn chip_select(&self) -> ChipSelect {
        match self.chip_select {
            Some(_) => ChipSelect::Held,
            None => ChipSelect::PerTransfer,
        }
    }

    fn select(&mut self) -> Result<()> {
        Platform::chip_select(self, 0, "spi_acquire")
    }

    fn deselect(&mut self) -> Result<()> {
        Platform::chip_select(self, 1, "spi_release")
    }
}

impl Clock for Platform {
    fn sleep(&mut self, time: u32) -> Result<()> {
        // SAFETY: the caller of Init promises that this function may be called with its `user_data`.
        done(unsafe { (self.sleep_ms)(self.user_data, millis(time)) }, "sleep_ms")
    }

    fn start_timer(&mut self, time: u32) -> Result<()> {
        // SAFETY: the caller of Init promises that this function may be called with its `user_data`.
        done(unsafe { (self.start_timeout)(self.user_data, millis(time)) }, "start_timeout")
    }

    fn timer_expired(&mut self) -> Result<bool> {
        // A byte, because C may write values other than 0 and 1, which are invalid for a bool.
        let mut expired = 0_u8;
        let result: *mut u8 = &mut expired;
        // SAFETY: the caller of Init promises that this function may be called with its `user_data`; `result` points to a
        // writable byte, which is the size of a C bool.
        done(unsafe { (self.timeout_expired)(self.user_data, result.cast()) }, "timeout_expired")?;
        Ok(expired != 0)
    }
}

impl Drop for Platform {
    fn drop(&mut self) {
        if let Some(finalize) = self.finalize.filter(|_| self.owns_user_data) {
            // SAFETY: the caller of Init promises that this function may be called with its `user_data`, which this drop
            // uses for the last time.
            unsafe { finalize(self.user_data) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::open;
    use core::mem::zeroed;
    use sim_tis::{Faults, Sim};
    use tcti_core::abi::TSS2_TCTI_CONTEXT_COMMON_V2;
    use tcti_core::testing::{GET_RANDOM, OK};
    use tcti_ffi::{CONTEXT_SIZE, init_with};

    /// The program behind `user_data`: a simulated TPM, and counts of calls.
    struct Program {
        sim: Sim,
        /// The name of a function that fails.
        fails: &'static str,
        slept: c_int,
        timer: c_int,
        finalized: usize,
    }

    impl Program {
        fn new(faults: Faults) -> Box<Program> {
            let sim = Sim::new(|_: u8, _: &[u8]| OK.to_vec(), faults);
            Box::new(Program { sim, fails: "", slept: 0, timer: c_int::MAX, finalized: 0 })
        }

        fn answer(&self, name: &str) -> TSS2_RC {
            if self.fails == name { 0x000a_0001 } else { 0 }
        }

        fn platform(&mut self) -> TSS2_TCTI_SPI_HELPER_PLATFORM {
            let program: *mut Program = self;
            TSS2_TCTI_SPI_HELPER_PLATFORM {
                user_data: program.cast(),
                sleep_ms: Some(sleep_ms),
                start_timeout: Some(start_timeout),
                timeout_expired: Some(timeout_expired),
                spi_acquire: Some(spi_acquire),
                spi_release: Some(spi_release),
                spi_transfer: Some(spi_transfer),
                finalize: Some(finalize),
            }
        }
    }

    /// Returns the program behind `user_data`.
    fn program<'a>(user_data: *mut c_void) -> &'a mut Program {
        // SAFETY: the tests pass a Program that outlives the context, and use it only between calls.
        unsafe { &mut *user_data.cast::<Program>() }
    }

    unsafe extern "C" fn sleep_ms(user_data: *mut c_void, millis: c_int) -> TSS2_RC {
        program(user_data).slept += millis;
        program(user_data).answer("sleep_ms")
    }

    unsafe extern "C" fn start_timeout(user_data: *mut c_void, millis: c_int) -> TSS2_RC {
        program(user_data).timer = program(user_data).slept + millis;
        program(user_data).answer("start_timeout")
    }

    unsafe extern "C" fn timeout_expired(user_data: *mut c_void, result: *mut bool) -> TSS2_RC {
        // SAFETY: `Platform` passes a pointer to a writable byte.
        unsafe { result.write(program(user_data).slept >= program(user_data).timer) };
        program(user_data).answer("timeout_expired")
    }

    unsafe extern "C" fn spi_acquire(user_data: *mut c_void) -> TSS2_RC {
        let answer = program(user_data).answer("spi_acquire");
        if answer == 0 {
            program(user_data).sim.select();
        }
        answer
    }

    unsafe extern "C" fn spi_release(user_data: *mut c_void) -> TSS2_RC {
        program(user_data).sim.deselect();
        program(user_data).answer("spi_release")
    }

    unsafe extern "C" fn spi_transfer(
        user_data: *mut c_void,
        out: *const c_void,
        into: *mut c_void,
        cnt: usize,
    ) -> TSS2_RC {
        // SAFETY: `Platform` passes NULL or a pointer to `cnt` readable bytes.
        let out = (!out.is_null()).then(|| unsafe { core::slice::from_raw_parts(out.cast::<u8>(), cnt) });
        // SAFETY: `Platform` passes NULL or a pointer to `cnt` writable bytes.
        let into = (!into.is_null()).then(|| unsafe { core::slice::from_raw_parts_mut(into.cast::<u8>(), cnt) });
        program(user_data).sim.transfer(out, into, cnt).unwrap();
        program(user_data).answer("spi_transfer")
    }

    unsafe extern "C" fn finalize(user_data: *mut c_void) {
        program(user_data).finalized += 1;
    }

    /// The memory of a context.
    struct Caller([u64; CONTEXT_SIZE.div_ceil(8)]);

    impl Caller {
        fn open(platform: &TSS2_TCTI_SPI_HELPER_PLATFORM) -> (Caller, Result<()>) {
            let mut caller = Caller([0; CONTEXT_SIZE.div_ceil(8)]);
            let mut size = CONTEXT_SIZE;
            // SAFETY: `caller` has CONTEXT_SIZE bytes.
            let rc = unsafe { init_with(caller.0.as_mut_ptr().cast(), &mut size, platform, open) };
            (caller, ReturnCode::from_c(rc))
        }

        fn head(&self) -> TSS2_TCTI_CONTEXT_COMMON_V2 {
            // SAFETY: a context begins with this structure.
            unsafe { self.0.as_ptr().cast::<TSS2_TCTI_CONTEXT_COMMON_V2>().read() }
        }

        fn run(&mut self) -> Result<Vec<u8>> {
            let head = self.head();
            let ctx = self.0.as_mut_ptr().cast();
            // SAFETY: the context is open, and the buffers are borrowed during the call.
            ReturnCode::from_c(unsafe { head.v1.transmit.unwrap()(ctx, GET_RANDOM.len(), GET_RANDOM.as_ptr()) })?;
            let mut response = vec![0; 64];
            let mut size = response.len();
            // SAFETY: the context is open, and the buffers are borrowed during the call.
            ReturnCode::from_c(unsafe { head.v1.receive.unwrap()(ctx, &mut size, response.as_mut_ptr(), -1) })?;
            response.truncate(size);
            Ok(response)
        }

        fn finalize(&mut self) {
            // SAFETY: the context is open, and the buffers are borrowed during the call.
            unsafe { self.head().v1.finalize.unwrap()(self.0.as_mut_ptr().cast()) };
        }
    }

    #[test]
    fn commands_use_the_functions_and_finalize_is_called_once() {
        let with_wait_states = Faults { wait_states: 2, data_after: 3, ..Faults::default() };
        for (faults, held) in [(with_wait_states, true), (Faults { ready_after: 2, ..Faults::default() }, false)] {
            let mut program = Program::new(faults);
            let mut platform = program.platform();
            if !held {
                (platform.spi_acquire, platform.spi_release) = (None, None);
            }
            let (mut caller, opened) = Caller::open(&platform);
            assert_eq!(opened, Ok(()));
            assert_eq!(caller.head().v1.magic, 0x4d5c_6e8b_d481_1477);
            assert_eq!(caller.run().unwrap(), OK);
            assert_eq!(caller.run().unwrap(), OK);
            assert_eq!(program.finalized, 0);
            caller.finalize();
            caller.finalize();
            assert_eq!(program.finalized, 1);
            assert!(!program.sim.has_locality());
            assert!(program.sim.offences().is_empty());
        }
    }

    #[test]
    fn missing_functions_are_a_bad_value() {
        let mut program = Program::new(Faults::default());
        let whole = program.platform();
        let without = [
            TSS2_TCTI_SPI_HELPER_PLATFORM { sleep_ms: None, ..whole },
            TSS2_TCTI_SPI_HELPER_PLATFORM { start_timeout: None, ..whole },
            TSS2_TCTI_SPI_HELPER_PLATFORM { timeout_expired: None, ..whole },
            TSS2_TCTI_SPI_HELPER_PLATFORM { spi_transfer: None, ..whole },
            TSS2_TCTI_SPI_HELPER_PLATFORM { spi_acquire: None, ..whole },
            TSS2_TCTI_SPI_HELPER_PLATFORM { spi_release: None, ..whole },
            // SAFETY: all fields are pointers that may be NULL.
            unsafe { zeroed() },
        ];
        for platform in without {
            assert_eq!(Caller::open(&platform).1, Err(ReturnCode::BAD_VALUE.into()));
        }
        assert_eq!((program.sim.transactions(), program.finalized), (0, 0));
        let mut caller = Caller::open(&TSS2_TCTI_SPI_HELPER_PLATFORM { finalize: None, ..whole });
        assert_eq!(caller.1, Ok(()));
        caller.0.finalize();
    }

    #[test]
    fn without_functions_only_the_size_can_be_queried() {
        let mut size = 0;
        // SAFETY: a NULL context asks for the size only.
        assert_eq!(unsafe { init_with(null_mut(), &mut size, null(), open) }, 0);
        assert_eq!(size, CONTEXT_SIZE);
        let mut memory = [0_u64; CONTEXT_SIZE.div_ceil(8)];
        // SAFETY: `memory` has CONTEXT_SIZE bytes.
        let rc = unsafe { init_with(memory.as_mut_ptr().cast(), &mut size, null(), open) };
        assert_eq!(ReturnCode::from_c(rc), Err(ReturnCode::BAD_VALUE.into()));
    }

    #[test]
    fn memory_that_is_too_small_is_an_insufficient_buffer() {
        let mut program = Program::new(Faults::default());
        let mut size = CONTEXT_SIZE - 1;
        let mut memory = [0_u64; CONTEXT_SIZE / 8];
        // SAFETY: `memory` has at least `size` bytes.
        let rc = unsafe { init_with(memory.as_mut_ptr().cast(), &mut size, &program.platform(), open) };
        assert_eq!(
            (ReturnCode::from_c(rc), program.sim.transactions()),
            (Err(ReturnCode::INSUFFICIENT_BUFFER.into()), 0)
        );
    }

    #[test]
    fn a_function_that_fails_is_an_io_error_and_the_next_command_works() {
        for name in ["sleep_ms", "start_timeout", "timeout_expired", "spi_acquire", "spi_release", "spi_transfer"] {
            let busy = Faults { ready_after: 9, data_after: 9, ..Faults::default() };
            let mut program = Program::new(busy);
            program.fails = name;
            assert_eq!(Caller::open(&program.platform()).1, Err(ReturnCode::IO_ERROR.into()), "{name} in Init");
            assert_eq!(program.finalized, 0);
            program.fails = "";
            let (mut caller, opened) = Caller::open(&program.platform());
            assert_eq!(opened, Ok(()));
            assert_eq!(caller.run().unwrap(), OK); // leaves the TPM not ready at once, so that the next command uses the timer
            program.fails = name;
            assert_eq!(caller.run(), Err(ReturnCode::IO_ERROR.into()), "{name} in a command");
            program.fails = "";
            assert_eq!(caller.run().unwrap(), OK);
            caller.finalize();
            assert_eq!(program.finalized, 1);
        }
    }
}
