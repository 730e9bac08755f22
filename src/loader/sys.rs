// SPDX-License-Identifier: BSD-2-Clause
//! Loads other libraries and calls their contexts: [`Module`] is a library with a TCTI, [`Child`] an open context.
#![expect(unsafe_code, reason = "an island of unsafe code, see src/README.md")]

use core::ffi::{CStr, c_char, c_void};
use core::ptr::{NonNull, null, null_mut};
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW, Symbol};
use std::os::unix::ffi::OsStrExt;
use tcti_core::abi::{
    TSS2_RC, TSS2_TCTI_CONTEXT, TSS2_TCTI_CONTEXT_COMMON_V1, TSS2_TCTI_CONTEXT_COMMON_V2, TSS2_TCTI_INFO,
};
use tcti_core::visible::visible;
use tcti_core::{PollHandle, Result, ReturnCode, Tcti, Wait, fail};

type Init = unsafe extern "C" fn(*mut TSS2_TCTI_CONTEXT, *mut usize, *const c_char) -> TSS2_RC;
type InfoFn = unsafe extern "C" fn() -> *const TSS2_TCTI_INFO;

/// The largest number of poll handles that a module may have. Those of tpm2-tss and tpm2-abrmd have at most two.
const MAX_POLL_HANDLES: usize = 64;

/// A loaded library with a TCTI.
pub struct Module {
    info: NonNull<TSS2_TCTI_INFO>,
    /// The last field, so that it is dropped last.
    _library: Library,
}

impl Module {
    /// Loads a file by `dlopen(3)`; `None` if the file does not exist. Fails with `NOT_SUPPORTED` if the dynamic linker rejects
    /// the file, and with `BAD_REFERENCE` or `GENERAL_FAILURE` if the library has no TCTI.
    pub(crate) fn load(file: &CStr) -> Result<Option<Module>> {
        let os_file = std::ffi::OsStr::from_bytes(file.to_bytes());
        let shown = || visible(os_file);
        // SAFETY: the user who names a library guarantees that its initialisers may run.
        let library = match unsafe { Library::open(Some(os_file), RTLD_NOW | RTLD_LOCAL) } {
            Ok(library) => library,
            Err(error) => return refusal(&file.to_string_lossy(), &reason(&error)),
        };
        // SAFETY: a TCTI library exports a symbol of this name with this type (TCG "TSS 2.0 TCTI API", section 3.5).
        let info: Symbol<InfoFn> = unsafe { library.get(c"Tss2_Tcti_Info".to_bytes_with_nul()) }.map_err(|_| {
            fail!(ReturnCode::BAD_REFERENCE, "{} is not a TCTI: it has no function Tss2_Tcti_Info", shown())
        })?;
        // SAFETY: the specification defines the function without arguments; it returns NULL or a pointer to constant data.
        let info = unsafe { info() };
        let info = NonNull::new(info.cast_mut()).ok_or_else(|| {
            fail!(ReturnCode::GENERAL_FAILURE, "{} is not a TCTI: its Tss2_Tcti_Info returns NULL", shown())
        })?;
        Ok(Some(Module { info, _library: library }))
    }

    /// Returns whether this is the library that contains this code. Each library with a loader has its own copy.
    pub(crate) fn is_this_library(&self) -> bool {
        static HERE: u8 = 0;
        let here = base((&raw const HERE).cast());
        here.is_some() && here == base(self.info.as_ptr().cast())
    }

    fn info(&self) -> &TSS2_TCTI_INFO {
        // SAFETY: the library keeps the data constant until it is unloaded, and `self` keeps it loaded.
        unsafe { self.info.as_ref() }
    }

    /// Returns whether this is a module of tpm2-tss, in C or in Rust: they log the reason for an error.
    pub(crate) fn logs_errors(&self) -> bool {
        const NAMES: [&CStr; 13] = [
            c"tcti-cmd",
            c"tcti-device",
            c"tcti-i2c-ftdi",
            c"tcti-libtpms",
            c"tcti-null",
            c"tcti-pcap",
            c"tcti-socket", // mssim
            c"tcti-spi-ftdi",
            c"tcti-spi-ltt2go",
            c"tcti-spidev",
            c"tcti-swtpm",
            c"tctildr",
            c"tcti-spi-helper",
        ];
        let [name, ..] = self.texts();
        NAMES.contains(&name)
    }

    /// Returns the file from which the library was loaded.
    fn file(&self) -> String {
        found(self.info.as_ptr().cast()).filter(|found| !found.dli_fname.is_null()).map_or_else(String::new, |found| {
            // SAFETY: the dynamic linker keeps the name until the library is unloaded, and `self` keeps it loaded.
            visible(unsafe { CStr::from_ptr(found.dli_fname) }.to_string_lossy().as_ref())
        })
    }

    /// Returns the version of the module's contexts.
    pub fn version(&self) -> u32 {
        self.info().version
    }

    /// Returns the name, the description and the help for the configuration string; empty where the module has NULL.
    pub fn texts(&self) -> [&CStr; 3] {
        let info = self.info();
        [info.name, info.description, info.config_help].map(|text| match text.is_null() {
            true => c"",
            // SAFETY: the library keeps the strings constant until it is unloaded, and `self` keeps it loaded.
            false => unsafe { CStr::from_ptr(text) },
        })
    }

    /// Creates a context. Passes on the code of the module, without a message, because the module may have logged one.
    pub fn open(self, conf: Option<&CStr>) -> Result<Child> {
        let [name, ..] = self.texts();
        let init: Init = self.info().init.ok_or_else(|| {
            fail!(
                ReturnCode::BAD_REFERENCE,
                "the TCTI \"{}\" cannot be opened by name: only a program can configure it",
                name.to_string_lossy()
            )
        })?;
        let conf = conf.map_or(null(), CStr::as_ptr);
        let mut size = 0;
        // SAFETY: with a NULL context the module writes only the size, to a local variable.
        ReturnCode::from_c(unsafe { init(null_mut(), &mut size, conf) })?;
        if size < size_of::<TSS2_TCTI_CONTEXT_COMMON_V1>() {
            return Err(fail!(
                ReturnCode::GENERAL_FAILURE,
                "the TCTI \"{}\" requests a context of {size} bytes, which is smaller than its head",
                name.to_string_lossy()
            ));
        }
        let context = Memory::zeroed(size)?;
        // SAFETY: `context` has the size that the module has requested.
        ReturnCode::from_c(unsafe { init(context.start.as_ptr(), &mut size, conf) })?;
        Ok(Child { context, module: self })
    }
}

/// Interprets the reason for which the dynamic linker did not load a file: `None` if the file does not exist.
fn refusal(file: &str, reason: &str) -> Result<Option<Module>> {
    // The message begins with the name of the missing file, which may be one that the library needs. It may be translated,
    // as the messages of strerror(3) are.
    let no_such_file = nix::errno::Errno::ENOENT.desc();
    let translated = std::io::Error::from_raw_os_error(libc::ENOENT).to_string();
    let translated = translated.split(" (os error").next().unwrap_or(no_such_file);
    let is_missing = reason.ends_with(no_such_file) || reason.ends_with(translated);
    match is_missing && reason.starts_with(&format!("{file}:")) {
        true => Ok(None),
        false => {
            let shown = reason.strip_prefix(file).map(|rest| visible(file) + rest);
            Err(fail!(ReturnCode::NOT_SUPPORTED, "{}", shown.as_deref().unwrap_or(reason)))
        }
    }
}

/// Returns the base address of the library that contains an address.
fn base(address: *const c_void) -> Option<*mut c_void> {
    found(address).map(|found| found.dli_fbase)
}

/// Returns the library that contains an address.
fn found(address: *const c_void) -> Option<libc::Dl_info> {
    let mut found =
        libc::Dl_info { dli_fname: null(), dli_fbase: null_mut(), dli_sname: null(), dli_saddr: null_mut() };
    // SAFETY: dladdr accepts any address and writes to `found`, which outlives the call.
    let known = unsafe { libc::dladdr(address, &mut found) };
    (known != 0).then_some(found)
}

/// Returns the text of dlerror(3).
fn reason(error: &libloading::Error) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
}

/// The memory of a context, allocated with calloc.
struct Memory {
    start: NonNull<TSS2_TCTI_CONTEXT>,
    /// In bytes.
    size: usize,
}

impl Memory {
    fn zeroed(size: usize) -> Result<Memory> {
        // SAFETY: calloc has no preconditions.
        let memory = unsafe { libc::calloc(1, size) };
        NonNull::new(memory.cast())
            .map(|start| Memory { start, size })
            .ok_or_else(|| fail!(ReturnCode::MEMORY, "no memory for a context of {size} bytes"))
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: calloc has returned the memory, and `self` owns it.
        unsafe { libc::free(self.start.as_ptr().cast()) };
    }
}

/// An open context of another module. Dropping it finalizes the context, frees its memory, and then unloads the library.
pub struct Child {
    context: Memory,
    module: Module,
}

// SAFETY: a TCTI allows its context to be used from any thread, one at a time, and `&mut self` excludes the others.
unsafe impl Send for Child {}

impl Child {
    /// Returns the file of the library.
    pub(crate) fn file(&self) -> String {
        self.module.file()
    }

    /// Returns the context, for calls through its C functions.
    pub fn as_ptr(&self) -> *mut TSS2_TCTI_CONTEXT {
        self.context.start.as_ptr()
    }

    /// Returns the function of the context that `slot` selects, or the error that the macros of tss2_tcti.h return:
    /// `ABI_MISMATCH` if the context has an earlier version than `since`, and `NOT_IMPLEMENTED` if it lacks the function.
    pub fn function<F>(&self, since: u32, slot: impl FnOnce(&TSS2_TCTI_CONTEXT_COMMON_V2) -> Option<F>) -> Result<F> {
        let head: *const TSS2_TCTI_CONTEXT_COMMON_V1 = self.as_ptr().cast();
        // SAFETY: `open` has allocated zeroed memory for at least a head of version 1.
        let v1 = unsafe { head.read() };
        if v1.version < since {
            return Err(ReturnCode::ABI_MISMATCH.into());
        }
        #[expect(non_snake_case, reason = "C name")]
        let makeSticky = match v1.version >= 2 && self.context.size >= size_of::<TSS2_TCTI_CONTEXT_COMMON_V2>() {
            // SAFETY: the memory is large enough, as checked, and the module states that it has written this field.
            true => unsafe { head.cast::<TSS2_TCTI_CONTEXT_COMMON_V2>().read() }.makeSticky,
            false => None,
        };
        slot(&TSS2_TCTI_CONTEXT_COMMON_V2 { v1, makeSticky }).ok_or(ReturnCode::NOT_IMPLEMENTED.into())
    }
}

/// Each call returns the error of [`Child::function`], otherwise the code of the module.
impl Tcti for Child {
    fn transmit(&mut self, command: &[u8]) -> Result<()> {
        let transmit = self.function(1, |head| head.v1.transmit)?;
        // SAFETY: `self` keeps the context open, and `command` is readable for its length.
        ReturnCode::from_c(unsafe { transmit(self.as_ptr(), command.len(), command.as_ptr()) })
    }

    fn response_size(&mut self, wait: Wait) -> Result<usize> {
        let receive = self.function(1, |head| head.v1.receive)?;
        let mut size = 0;
        // SAFETY: `self` keeps the context open; with a NULL buffer the module writes only the size.
        ReturnCode::from_c(unsafe { receive(self.as_ptr(), &mut size, null_mut(), wait.to_c()) })?;
        Ok(size)
    }

    fn receive(&mut self, buffer: &mut [u8], wait: Wait) -> Result<usize> {
        let receive = self.function(1, |head| head.v1.receive)?;
        let mut size = buffer.len();
        // SAFETY: `self` keeps the context open, and `buffer` is writable for `size` bytes.
        ReturnCode::from_c(unsafe { receive(self.as_ptr(), &mut size, buffer.as_mut_ptr(), wait.to_c()) })?;
        Ok(size.min(buffer.len()))
    }

    fn cancel(&mut self) -> Result<()> {
        let cancel = self.function(1, |head| head.v1.cancel)?;
        // SAFETY: `self` keeps the context open.
        ReturnCode::from_c(unsafe { cancel(self.as_ptr()) })
    }

    fn set_locality(&mut self, locality: u8) -> Result<()> {
        let set_locality = self.function(1, |head| head.v1.setLocality)?;
        // SAFETY: `self` keeps the context open.
        ReturnCode::from_c(unsafe { set_locality(self.as_ptr(), locality) })
    }

    fn poll_handles(&mut self, each: &mut dyn FnMut(PollHandle)) -> Result<()> {
        let get = self.function(1, |head| head.v1.getPollHandles)?;
        let mut handles = [PollHandle { fd: -1, events: 0, revents: 0 }; MAX_POLL_HANDLES];
        let mut count = handles.len();
        // SAFETY: `self` keeps the context open, and `handles` has room for `count` handles.
        let result = ReturnCode::from_c(unsafe { get(self.as_ptr(), handles.as_mut_ptr(), &mut count) });
        if count > MAX_POLL_HANDLES {
            return Err(fail!(
                ReturnCode::GENERAL_FAILURE,
                "{} states {count} poll handles; the limit is {MAX_POLL_HANDLES}",
                self.file()
            ));
        }
        result?;
        handles.into_iter().take(count).for_each(each);
        Ok(())
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if let Ok(finalize) = self.function(1, |head| head.v1.finalize) {
            // SAFETY: the module has made this context, which `self` owns and does not use afterwards.
            unsafe { finalize(self.as_ptr()) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_recognises_itself() {
        static HERE: u8 = 0;
        let module = |info: *const TSS2_TCTI_INFO| Module {
            info: NonNull::new(info.cast_mut()).unwrap(),
            _library: Library::this(),
        };
        assert!(module((&raw const HERE).cast()).is_this_library());
        let elsewhere = (libc::getpid as unsafe extern "C" fn() -> libc::pid_t) as *const TSS2_TCTI_INFO;
        assert!(!module(elsewhere).is_this_library(), "a function of libc is in another library");
        assert!(!module(core::ptr::without_provenance(8)).is_this_library(), "no library is at this address");
    }
}
