// SPDX-License-Identifier: BSD-2-Clause
//! libtpms, opened at run time: its functions (`libtpms/tpm_library.h`) and the callbacks it stores and loads state
//! through. The library is one TPM per process, so a [`Chip`] is the only one while it lives.
#![expect(unsafe_code, reason = "an island of unsafe code, see src/README.md")]

use core::ffi::{CStr, c_char, c_int, c_uchar};
use core::ops::Deref;
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::AsRawFd;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Mutex, PoisonError};
use tcti_core::io::file_in_memory;
use tcti_core::{Result, ReturnCode, fail};

/// Result of a libtpms function; 0 is success.
type TpmResult = u32;
const TPM_SUCCESS: TpmResult = 0;
const TPM_FAIL: TpmResult = 9;
/// "There is no such data", from the callback that loads it (`tpm_error.h`).
const TPM_RETRY: TpmResult = 0x800;

/// `TPMLIB_TPM_VERSION_2` of `enum TPMLIB_TPMVersion`.
const TPM_VERSION_2: c_int = 1;
/// `TPMLIB_STATE_VOLATILE` of `enum TPMLIB_StateType`.
const STATE_VOLATILE: c_int = 2;

/// Names under which libtpms stores its state (`tpm_nvfilename.h`).
const PERMANENT: &CStr = c"permall";
const VOLATILE: &CStr = c"volatilestate";

/// A descriptor that is never open, where messages go that nobody can read. A negative one is none to libtpms, which then
/// takes stderr for what is important (`tpm_library.c`).
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

/// What survives the process: two blobs whose inside only libtpms knows.
#[derive(Default, PartialEq, Eq)]
#[cfg_attr(test, derive(Clone, Debug))]
pub struct Blobs {
    /// NV memory: hierarchies, persistent objects, NV indices. Empty in a new TPM.
    pub permanent: Vec<u8>,
    /// PCRs, loaded objects, sessions. Empty when the TPM was not powered.
    pub volatile: Vec<u8>,
}

/// What the callbacks serve and take. libtpms passes them no context.
static BLOBS: Mutex<Blobs> = Mutex::new(Blobs { permanent: Vec::new(), volatile: Vec::new() });
static LOCALITY: AtomicU8 = AtomicU8::new(0);
static IN_USE: AtomicBool = AtomicBool::new(false);

fn with_blobs<R>(function: impl FnOnce(&mut Blobs) -> R) -> R {
    function(&mut BLOBS.lock().unwrap_or_else(PoisonError::into_inner))
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
    /// Keeps the functions in memory.
    _library: Library,
}

impl Functions {
    fn load() -> Result<Functions> {
        const NAME: &str = "libtpms.so.0";
        // SAFETY: libtpms does nothing when it is loaded.
        let library = unsafe { Library::open(Some(NAME), RTLD_NOW | RTLD_LOCAL) }.map_err(|error| {
            fail!(
                ReturnCode::IO_ERROR,
                "cannot load libtpms: {error}. Is it installed? (Debian: libtpms0, Fedora: libtpms)"
            )
        })?;
        macro_rules! symbol {
            ($name:literal) => {{
                // SAFETY: the type is the one that tpm_library.h declares.
                let found = unsafe { library.get($name.to_bytes_with_nul()) };
                *found.map_err(|error| fail!(ReturnCode::IO_ERROR, "{NAME} lacks {:?}: {error}", $name))?
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

/// Whether the chip runs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Power {
    Off,
    On,
}

/// The one TPM of this process. Dropping it takes its power.
pub struct Chip {
    functions: Functions,
    power: Power,
    /// None in a forked process that could not make them.
    messages: Option<Messages>,
    /// The last response, in memory that libtpms takes for the next one: malloc(3) has no shelf for 4 KiB.
    response: CBuffer,
    /// Bytes of that memory.
    room: u32,
}

impl Chip {
    /// Takes the chip, powered off. `IO_ERROR` when it is taken or there is no libtpms.
    pub fn take() -> Result<Chip> {
        if IN_USE.swap(true, Ordering::Acquire) {
            return Err(fail!(
                ReturnCode::IO_ERROR,
                "this process has a libtpms context already, and libtpms is one TPM per process; finalize it first"
            ));
        }
        let parts = Messages::open().and_then(|messages| Ok((messages, Functions::load()?)));
        match parts {
            Ok((messages, functions)) => {
                let response = CBuffer { data: ptr::null_mut(), len: 0 };
                Ok(Chip { functions, power: Power::Off, messages: Some(messages), response, room: 0 })
            }
            Err(rc) => {
                IN_USE.store(false, Ordering::Release);
                Err(rc)
            }
        }
    }

    /// Powers the chip on with this state; with volatile state it carries on where that was taken.
    pub fn power_on(&mut self, blobs: Blobs) -> Result<()> {
        self.power_off();
        with_blobs(|held| *held = blobs);
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
        self.point_to_messages();
        // SAFETY: libtpms is powered off, as the choice demands.
        let chosen = unsafe { (self.functions.choose_version)(TPM_VERSION_2) };
        self.check("choose TPM 2.0", chosen)?;
        // SAFETY: libtpms copies the structure; its functions live as long as this library, which is never unmapped.
        let registered = unsafe { (self.functions.register_callbacks)(&callbacks) };
        self.check("take our callbacks", registered)?;
        // SAFETY: the callbacks are in place.
        let started = unsafe { (self.functions.main_init)() };
        self.power = Power::On; // even a failed start has to be terminated
        self.check("start with this state", started)
    }

    /// Takes the power; what is volatile is gone.
    fn power_off(&mut self) {
        if self.power == Power::On {
            // SAFETY: libtpms was initialised.
            unsafe { (self.functions.terminate)() };
            self.power = Power::Off;
        }
    }

    /// Executes one command and gives its response.
    pub fn process(&mut self, locality: u8, command: &[u8]) -> Result<Vec<u8>> {
        LOCALITY.store(locality, Ordering::Relaxed);
        let size = u32::try_from(command.len()).map_err(|_| ReturnCode::BAD_VALUE)?;
        let (data, len, room) = (&raw mut self.response.data, &raw mut self.response.len, &raw mut self.room);
        // SAFETY: libtpms reads `size` bytes of the command, and fills memory of malloc(3) of `room` bytes, or a larger piece
        // that it puts in its place.
        let result = unsafe { (self.functions.process)(data, len, room, command.as_ptr(), size) };
        self.check("execute a command", result)?;
        copy(&self.response)
    }

    /// NV memory as of now; libtpms told of each change.
    pub fn permanent<R>(&self, function: impl FnOnce(&[u8]) -> R) -> R {
        with_blobs(|held| function(&held.permanent))
    }

    /// This process was forked: what libtpms says here is no business of the other's.
    pub fn after_fork(&mut self) {
        let _parents = std::mem::replace(&mut self.messages, Messages::open().ok());
        self.point_to_messages();
    }

    fn point_to_messages(&self) {
        let fd = self.messages.as_ref().map_or(NOWHERE, |messages| messages.0.as_raw_fd());
        // SAFETY: the descriptor is open until the chip has another or is dropped, or it is none.
        unsafe { (self.functions.set_debug_fd)(fd) };
    }

    /// An error of libtpms with what it said about it.
    fn check(&mut self, what: &str, result: TpmResult) -> Result<()> {
        match result {
            TPM_SUCCESS => Ok(()),
            error => {
                let said = self.messages.as_mut().map_or_else(String::new, Messages::take);
                Err(fail!(ReturnCode::IO_ERROR, "libtpms cannot {what}: error {error:#x}{said}"))
            }
        }
    }

    /// The volatile state as of now.
    pub fn volatile(&mut self) -> Result<CBuffer> {
        let mut volatile = CBuffer { data: ptr::null_mut(), len: 0 };
        let (data, len) = (&raw mut volatile.data, &raw mut volatile.len);
        // SAFETY: libtpms allocates the blob with malloc.
        let given = unsafe { (self.functions.get_state)(STATE_VOLATILE, data, len) };
        self.check("give its state", given)?;
        Ok(volatile)
    }
}

impl Drop for Chip {
    fn drop(&mut self) {
        self.power_off();
        // SAFETY: libtpms must not keep the number of a descriptor that is about to be closed.
        unsafe { (self.functions.set_debug_fd)(-1) };
        with_blobs(|held| *held = Blobs::default());
        IN_USE.store(false, Ordering::Release);
    }
}

/// What libtpms says when something is wrong: in memory, not on the program's stderr, where it would go by default.
struct Messages(File);

/// Bytes of them that we read at most.
const LAST_WORDS: u64 = 4096;

impl Messages {
    fn open() -> Result<Messages> {
        let file = file_in_memory(c"libtpms");
        let file = file.map_err(|error| fail!(ReturnCode::IO_ERROR, "cannot take the messages of libtpms: {error}"))?;
        Ok(Messages(file.into()))
    }

    /// What was said, in parentheses; empty when there is nothing.
    fn take(&mut self) -> String {
        let mut bytes = Vec::new();
        // Messages that cannot be read are not missed: the error code stands without them.
        let said = self.0.metadata().map_or(0, |metadata| metadata.len());
        let _ = self.0.seek(SeekFrom::Start(said.saturating_sub(LAST_WORDS)));
        let _ = (&self.0).take(LAST_WORDS).read_to_end(&mut bytes);
        let _ = self.0.set_len(0);
        let _ = self.0.rewind();
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

// SAFETY: it is the only pointer to that memory, which any thread may read and free.
unsafe impl Send for CBuffer {}

impl Deref for CBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self.data.is_null() {
            true => &[],
            // SAFETY: libtpms filled `len` bytes at `data`, which are ours until they are freed.
            false => unsafe { core::slice::from_raw_parts(self.data, self.len as usize) },
        }
    }
}

impl Drop for CBuffer {
    fn drop(&mut self) {
        // SAFETY: libtpms allocated it with malloc, or it is NULL; nobody else frees it.
        unsafe { libc::free(self.data.cast()) };
    }
}

/// A copy of something large, which may be more than there is memory for.
pub fn copy(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut copy = Vec::new();
    let reserved = copy.try_reserve_exact(bytes.len());
    reserved.map_err(|_| fail!(ReturnCode::MEMORY, "no memory for {} bytes", bytes.len()))?;
    copy.extend_from_slice(bytes);
    Ok(copy)
}

extern "C" fn succeed() -> TpmResult {
    TPM_SUCCESS
}

unsafe extern "C" fn load(data: *mut *mut c_uchar, length: *mut u32, _tpm: u32, name: *const c_char) -> TpmResult {
    // SAFETY: libtpms passes a C string.
    let name = unsafe { CStr::from_ptr(name) };
    with_blobs(|held| {
        let blob = match name {
            name if name == PERMANENT => &held.permanent,
            name if name == VOLATILE => &held.volatile,
            _ => return TPM_RETRY,
        };
        let Ok(size) = u32::try_from(blob.len()) else { return TPM_FAIL };
        if size == 0 {
            return TPM_RETRY;
        }
        // SAFETY: malloc has no preconditions; libtpms frees the memory.
        let copy: *mut c_uchar = unsafe { libc::malloc(blob.len()) }.cast();
        if copy.is_null() {
            return TPM_FAIL;
        }
        // SAFETY: the new memory holds as many bytes.
        unsafe { ptr::copy_nonoverlapping(blob.as_ptr(), copy, blob.len()) };
        // SAFETY: libtpms passes writable places.
        unsafe { data.write(copy) };
        // SAFETY: libtpms passes writable places.
        unsafe { length.write(size) };
        TPM_SUCCESS
    })
}

unsafe extern "C" fn store(data: *const c_uchar, length: u32, _tpm: u32, name: *const c_char) -> TpmResult {
    // SAFETY: libtpms passes a C string.
    let name = unsafe { CStr::from_ptr(name) };
    if name == PERMANENT {
        // SAFETY: libtpms passes `length` readable bytes.
        let blob = unsafe { core::slice::from_raw_parts(data, length as usize) };
        return match copy(blob) {
            Ok(copy) => with_blobs(|held| {
                held.permanent = copy;
                TPM_SUCCESS
            }),
            Err(_) => TPM_FAIL,
        };
    }
    TPM_SUCCESS
}

unsafe extern "C" fn delete(_tpm: u32, name: *const c_char, _must_exist: c_uchar) -> TpmResult {
    // SAFETY: libtpms passes a C string.
    let name = unsafe { CStr::from_ptr(name) };
    with_blobs(|held| match name {
        name if name == PERMANENT => held.permanent.clear(),
        name if name == VOLATILE => held.volatile.clear(),
        _ => {}
    });
    TPM_SUCCESS
}

unsafe extern "C" fn locality(out: *mut u32, _tpm: u32) -> TpmResult {
    // SAFETY: libtpms passes a writable place.
    unsafe { out.write(LOCALITY.load(Ordering::Relaxed).into()) };
    TPM_SUCCESS
}

unsafe extern "C" fn physical_presence(out: *mut c_uchar, _tpm: u32) -> TpmResult {
    // SAFETY: libtpms passes a writable place.
    unsafe { out.write(0) };
    TPM_SUCCESS
}

#[cfg(test)]
mod tests;
