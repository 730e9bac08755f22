// SPDX-License-Identifier: BSD-2-Clause
//! Binds libtpms, loaded at run time: its functions (`libtpms/tpm_library.h`) and the callbacks through which it loads and
//! stores its state. The library has one TPM per process, so there is one [`Chip`] at a time.
#![expect(unsafe_code, reason = "an island of unsafe code, see src/README.md")]

use core::ffi::{CStr, c_char, c_int, c_uchar};
use core::ops::Deref;
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::AsRawFd;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Mutex, PoisonError};
use tcti_core::io::file_in_memory;
use tcti_core::{Error, Result, ReturnCode, fail};
use zeroize::{Zeroize, Zeroizing};

/// The result of a libtpms function; 0 is success.
type TpmResult = u32;
const TPM_SUCCESS: TpmResult = 0;
const TPM_FAIL: TpmResult = 9;
/// Returned by the load callback if there is no such data (`tpm_error.h`).
const TPM_RETRY: TpmResult = 0x800;

/// `TPMLIB_TPM_VERSION_2` of `enum TPMLIB_TPMVersion`.
const TPM_VERSION_2: c_int = 1;
/// `TPMLIB_STATE_VOLATILE` of `enum TPMLIB_StateType`.
const STATE_VOLATILE: c_int = 2;

/// Names under which libtpms stores its state (`tpm_nvfilename.h`).
const PERMANENT: &CStr = c"permall";
const VOLATILE: &CStr = c"volatilestate";

/// A file descriptor that is never open, for messages that cannot be read. With a negative one libtpms writes important
/// messages to stderr (`tpm_library.c`).
const NOWHERE: c_int = c_int::MAX;

/// `struct libtpms_callbacks`.
#[repr(C)]
struct Callbacks {
    size: c_int,
    nvram_init: extern "C" fn() -> TpmResult,
    nvram_loaddata: unsafe extern "C" fn(*mut *mut c_uchar, *mut u32, u32, *const c_char) -> TpmResult,
    nvram_storedata: unsafe extern "C" fn(*const c_uchar, u32, u32, *const c_char) -> TpmResult,
    nvram_deletename: unsafe extern "C" fn(u32, *const c_char, c_uchar) -> TpmResult,
    io_init: extern "C" fn() -> TpmResult,
    io_getlocality: unsafe extern "C" fn(*mut u32, u32) -> TpmResult,
    io_getphysicalpresence: unsafe extern "C" fn(*mut c_uchar, u32) -> TpmResult,
}

/// Bytes that are overwritten when dropped.
pub type Secret = Zeroizing<Vec<u8>>;

/// The state of a TPM: two blobs in a format of libtpms.
#[derive(Default, PartialEq, Eq)]
#[cfg_attr(test, derive(Clone, Debug))]
pub struct Blobs {
    /// NV memory: hierarchies, persistent objects, NV indices. Empty in a new TPM.
    pub permanent: Secret,
    /// PCRs, loaded objects, sessions. Empty if the TPM was not powered on.
    pub volatile: Secret,
}

/// The state that the callbacks load and store. Static, because libtpms passes them no context.
static BLOBS: Mutex<Option<Blobs>> = Mutex::new(None);
static LOCALITY: AtomicU8 = AtomicU8::new(0);
static IN_USE: AtomicBool = AtomicBool::new(false);

fn with_blobs<R>(function: impl FnOnce(&mut Blobs) -> R) -> R {
    function(BLOBS.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_default())
}

/// The functions of libtpms that we call.
struct Functions {
    choose_version: unsafe extern "C" fn(c_int) -> TpmResult,
    register_callbacks: unsafe extern "C" fn(*const Callbacks) -> TpmResult,
    main_init: unsafe extern "C" fn() -> TpmResult,
    terminate: unsafe extern "C" fn(),
    process: unsafe extern "C" fn(*mut *mut c_uchar, *mut u32, *mut u32, *const c_uchar, u32) -> TpmResult,
    get_state: unsafe extern "C" fn(c_int, *mut *mut c_uchar, *mut u32) -> TpmResult,
    set_debug_fd: unsafe extern "C" fn(c_int),
    /// Keeps the library mapped.
    _library: Library,
}

/// The file that `dlopen(3)` searches for.
const NAME: &str = "libtpms.so.0";

#[cold]
#[inline(never)]
fn missing(function: &CStr, error: &libloading::Error) -> Error {
    fail!(ReturnCode::IO_ERROR, "{NAME} lacks {function:?}: {error}")
}

impl Functions {
    fn load() -> Result<Functions> {
        // SAFETY: libtpms does nothing when it is loaded.
        let library = unsafe { Library::open(Some(NAME), RTLD_NOW | RTLD_LOCAL) }.map_err(|error| {
            fail!(
                ReturnCode::IO_ERROR,
                "cannot load libtpms: {error}. Is it installed? (Debian: libtpms0, Fedora: libtpms)"
            )
        })?;
        macro_rules! symbol {
            ($name:literal) => {{
                // SAFETY: tpm_library.h declares the function with the type of the field.
                let found = unsafe { library.get($name.to_bytes_with_nul()) };
                *found.map_err(|error| missing($name, &error))?
            }};
        }
        Ok(Functions {
            choose_version: symbol!(c"TPMLIB_ChooseTPMVersion"),
            register_callbacks: symbol!(c"TPMLIB_RegisterCallbacks"),
            main_init: symbol!(c"TPMLIB_MainInit"),
            terminate: symbol!(c"TPMLIB_Terminate"),
            process: symbol!(c"TPMLIB_Process"),
            get_state: symbol!(c"TPMLIB_GetState"),
            set_debug_fd: symbol!(c"TPMLIB_SetDebugFD"),
            _library: library,
        })
    }
}

/// Whether the chip has power.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Power {
    Off,
    On,
}

/// The TPM of this process. Dropping it powers it off.
pub struct Chip {
    functions: Functions,
    power: Power,
    /// The last response, in memory that libtpms reuses for the next one: malloc(3) does not cache blocks of 4 KiB.
    response: CBuffer,
    /// The capacity of that memory in bytes.
    room: u32,
}

impl Chip {
    /// Takes the chip, powered off. `IO_ERROR` when it is taken already or libtpms cannot be loaded.
    pub fn take() -> Result<Chip> {
        if IN_USE.swap(true, Ordering::Acquire) {
            return Err(fail!(
                ReturnCode::IO_ERROR,
                "this process has a libtpms context already, and libtpms supports one TPM per process; finalize it first"
            ));
        }
        match Functions::load() {
            Ok(functions) => {
                let response = CBuffer { data: ptr::null_mut(), len: 0 };
                Ok(Chip { functions, power: Power::Off, response, room: 0 })
            }
            Err(error) => {
                IN_USE.store(false, Ordering::Release);
                Err(error)
            }
        }
    }

    /// Powers the chip on with this state; with a volatile state it resumes from there. An error has the messages of libtpms,
    /// which are taken only here: the program may close a descriptor that is open between two calls, and libtpms would write
    /// to whatever file gets its number.
    pub fn power_on(&mut self, blobs: Blobs) -> Result<()> {
        self.power_off();
        with_blobs(|served| *served = blobs);
        let messages = Messages::open().ok();
        self.send_messages_to(messages.as_ref().map_or(NOWHERE, |messages| messages.0.as_raw_fd()));
        let started = self.start();
        self.send_messages_to(NOWHERE);
        started.map_err(|error| {
            fail!(error.code(), "{}{}", error.message(), messages.map_or_else(String::new, Messages::take))
        })
    }

    fn start(&mut self) -> Result<()> {
        let callbacks = Callbacks {
            size: c_int::try_from(size_of::<Callbacks>()).unwrap_or_default(),
            nvram_init: succeed,
            nvram_loaddata: load,
            nvram_storedata: store,
            nvram_deletename: delete,
            io_init: succeed,
            io_getlocality: locality,
            io_getphysicalpresence: physical_presence,
        };
        // SAFETY: libtpms is powered off, as this function requires.
        let chosen = unsafe { (self.functions.choose_version)(TPM_VERSION_2) };
        check("choose TPM 2.0", chosen)?;
        // SAFETY: libtpms copies the structure during the call, and this library, which has the functions, stays mapped.
        let registered = unsafe { (self.functions.register_callbacks)(&callbacks) };
        check("take our callbacks", registered)?;
        // SAFETY: the version is chosen and the callbacks are registered, as this function requires.
        let started = unsafe { (self.functions.main_init)() };
        self.power = Power::On; // a failed start has to be terminated too
        check("start with this state", started)
    }

    /// Powers the chip off; volatile state is lost.
    fn power_off(&mut self) {
        if self.power == Power::On {
            // SAFETY: `power_on` has initialised libtpms.
            unsafe { (self.functions.terminate)() };
            self.power = Power::Off;
        }
    }

    /// Executes one command and returns its response.
    pub fn process(&mut self, locality: u8, command: &[u8]) -> Result<Secret> {
        LOCALITY.store(locality, Ordering::Relaxed);
        let size = u32::try_from(command.len()).map_err(|_| ReturnCode::BAD_VALUE)?;
        let (data, len, room) = (&raw mut self.response.data, &raw mut self.response.len, &raw mut self.room);
        // SAFETY: `command` has `size` bytes, which libtpms only reads; `data` is NULL or memory of malloc(3) with `room`
        // bytes, which libtpms fills or replaces by a larger block.
        let result = unsafe { (self.functions.process)(data, len, room, command.as_ptr(), size) };
        check("execute a command", result)?;
        let response = copy(&self.response);
        self.response.wipe();
        response
    }

    /// Calls `function` with the permanent state, which libtpms stores after each change.
    pub fn permanent<R>(&self, function: impl FnOnce(&[u8]) -> R) -> R {
        with_blobs(|blobs| function(&blobs.permanent))
    }

    fn send_messages_to(&self, fd: c_int) {
        // SAFETY: libtpms takes any number. This one is open until `power_on` sets the next, or is never open.
        unsafe { (self.functions.set_debug_fd)(fd) };
    }

    /// Returns the volatile state.
    pub fn volatile(&mut self) -> Result<CBuffer> {
        let mut volatile = CBuffer { data: ptr::null_mut(), len: 0 };
        let (data, len) = (&raw mut volatile.data, &raw mut volatile.len);
        // SAFETY: `data` and `len` are writable; libtpms writes a block of malloc(3), which `CBuffer` frees, and its size.
        let result = unsafe { (self.functions.get_state)(STATE_VOLATILE, data, len) };
        check("return its state", result)?;
        Ok(volatile)
    }
}

/// Turns an error of libtpms into ours.
fn check(what: &str, result: TpmResult) -> Result<()> {
    match result {
        TPM_SUCCESS => Ok(()),
        error => Err(fail!(ReturnCode::IO_ERROR, "libtpms cannot {what}: error {error:#x}")),
    }
}

impl Drop for Chip {
    fn drop(&mut self) {
        self.power_off();
        self.send_messages_to(-1); // its default
        with_blobs(|blobs| *blobs = Blobs::default());
        IN_USE.store(false, Ordering::Release);
    }
}

/// The messages of libtpms, in a file in memory instead of the program's stderr.
struct Messages(File);

/// How many bytes of the messages are read: the last ones.
const MAX_MESSAGES: u64 = 4096;

impl Messages {
    fn open() -> io::Result<Messages> {
        Ok(Messages(file_in_memory(c"libtpms")?.into()))
    }

    /// Takes the last lines, in parentheses; empty if there are none.
    fn take(mut self) -> String {
        let mut bytes = Vec::new();
        // Errors are ignored: the error code is reported without the messages then.
        let size = self.0.metadata().map_or(0, |metadata| metadata.len());
        let _ = self.0.seek(SeekFrom::Start(size.saturating_sub(MAX_MESSAGES)));
        let _ = (&self.0).take(MAX_MESSAGES).read_to_end(&mut bytes);
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().map(|line| line.trim_start_matches("libtpms/tpm2: ").trim()).collect();
        match lines.get(lines.len().saturating_sub(4)..) {
            None | Some([]) => String::new(),
            Some(last) => format!(" ({})", last.join("; ")),
        }
    }
}

/// A buffer that libtpms allocated for us.
pub struct CBuffer {
    data: *mut c_uchar,
    len: u32,
}

// SAFETY: `CBuffer` owns the only pointer to that memory, which any thread may read and free.
unsafe impl Send for CBuffer {}

impl Deref for CBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self.data.is_null() {
            true => &[],
            // SAFETY: libtpms has filled `len` bytes at `data`, which this buffer owns until its drop.
            false => unsafe { core::slice::from_raw_parts(self.data, self.len as usize) },
        }
    }
}

impl CBuffer {
    /// Overwrites the bytes.
    fn wipe(&mut self) {
        if !self.data.is_null() {
            // SAFETY: libtpms has filled `len` bytes at `data`, which this buffer owns until its drop.
            unsafe { core::slice::from_raw_parts_mut(self.data, self.len as usize) }.zeroize();
        }
    }
}

impl Drop for CBuffer {
    fn drop(&mut self) {
        self.wipe();
        // SAFETY: libtpms has allocated `data` with malloc(3), or it is NULL; only this buffer frees it.
        unsafe { libc::free(self.data.cast()) };
    }
}

/// Copies bytes; `MEMORY` if there is not enough.
pub fn copy(bytes: &[u8]) -> Result<Secret> {
    let mut copy = Secret::default();
    let reserved = copy.try_reserve_exact(bytes.len());
    reserved.map_err(|_| fail!(ReturnCode::MEMORY, "no memory for {} bytes", bytes.len()))?;
    copy.extend_from_slice(bytes);
    Ok(copy)
}

extern "C" fn succeed() -> TpmResult {
    TPM_SUCCESS
}

unsafe extern "C" fn load(data: *mut *mut c_uchar, length: *mut u32, _tpm: u32, name: *const c_char) -> TpmResult {
    // SAFETY: libtpms passes a C string that stays valid during the call.
    let name = unsafe { CStr::from_ptr(name) };
    with_blobs(|blobs| {
        let blob = match name {
            name if name == PERMANENT => &blobs.permanent,
            name if name == VOLATILE => &blobs.volatile,
            _ => return TPM_RETRY,
        };
        let Ok(size) = u32::try_from(blob.len()) else { return TPM_FAIL };
        if size == 0 {
            return TPM_RETRY;
        }
        // SAFETY: malloc(3) has no preconditions; libtpms frees the memory.
        let copy: *mut c_uchar = unsafe { libc::malloc(blob.len()) }.cast();
        if copy.is_null() {
            return TPM_FAIL;
        }
        // SAFETY: both blocks have `blob.len()` bytes, and malloc(3) returned a new one.
        unsafe { ptr::copy_nonoverlapping(blob.as_ptr(), copy, blob.len()) };
        // SAFETY: libtpms passes a pointer to a writable pointer.
        unsafe { data.write(copy) };
        // SAFETY: libtpms passes a pointer to a writable integer.
        unsafe { length.write(size) };
        TPM_SUCCESS
    })
}

unsafe extern "C" fn store(data: *const c_uchar, length: u32, _tpm: u32, name: *const c_char) -> TpmResult {
    // SAFETY: libtpms passes a C string that stays valid during the call.
    let name = unsafe { CStr::from_ptr(name) };
    if name == PERMANENT {
        // SAFETY: libtpms passes `length` readable bytes.
        let blob = unsafe { core::slice::from_raw_parts(data, length as usize) };
        return match copy(blob) {
            Ok(copy) => with_blobs(|blobs| {
                blobs.permanent = copy;
                TPM_SUCCESS
            }),
            Err(error) => {
                error.warn();
                TPM_FAIL
            }
        };
    }
    TPM_SUCCESS
}

unsafe extern "C" fn delete(_tpm: u32, name: *const c_char, _must_exist: c_uchar) -> TpmResult {
    // SAFETY: libtpms passes a C string that stays valid during the call.
    let name = unsafe { CStr::from_ptr(name) };
    with_blobs(|blobs| match name {
        name if name == PERMANENT => blobs.permanent = Secret::default(),
        name if name == VOLATILE => blobs.volatile = Secret::default(),
        _ => {}
    });
    TPM_SUCCESS
}

unsafe extern "C" fn locality(out: *mut u32, _tpm: u32) -> TpmResult {
    // SAFETY: libtpms passes a pointer to a writable integer.
    unsafe { out.write(LOCALITY.load(Ordering::Relaxed).into()) };
    TPM_SUCCESS
}

unsafe extern "C" fn physical_presence(out: *mut c_uchar, _tpm: u32) -> TpmResult {
    // SAFETY: libtpms passes a pointer to a writable byte.
    unsafe { out.write(0) };
    TPM_SUCCESS
}

#[cfg(test)]
mod tests;
