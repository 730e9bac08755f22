// SPDX-License-Identifier: BSD-2-Clause
//! Foreign libraries and the contexts they make.
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

/// A loaded library that holds a TCTI.
pub struct Module {
    info: NonNull<TSS2_TCTI_INFO>,
    /// Last, so that it goes last.
    _library: Library,
}

impl Module {
    /// Loads one file, which `dlopen(3)` looks for; `None` when the file does not exist. `NOT_SUPPORTED` when the dynamic
    /// linker refuses it, `BAD_REFERENCE` or `GENERAL_FAILURE` when it is a library without a TCTI.
    pub(crate) fn load(file: &CStr) -> Result<Option<Module>> {
        let shown = file.to_string_lossy();
        let os_file = std::ffi::OsStr::from_bytes(file.to_bytes());
        // SAFETY: whoever names a library trusts what it does when it is loaded.
        let library = match unsafe { Library::open(Some(os_file), RTLD_NOW | RTLD_LOCAL) } {
            Ok(library) => library,
            Err(error) => return refusal(&shown, &reason(&error)),
        };
        // SAFETY: in a TCTI library the symbol has this type (TCG "TSS 2.0 TCTI API", section 3.5).
        let info: Symbol<InfoFn> = unsafe { library.get(c"Tss2_Tcti_Info".to_bytes_with_nul()) }
            .map_err(|_| fail!(ReturnCode::BAD_REFERENCE, "{shown} is no TCTI: it has no function Tss2_Tcti_Info"))?;
        // SAFETY: the function takes nothing and returns a pointer to constant data, or NULL.
        let info = unsafe { info() };
        let info = NonNull::new(info.cast_mut())
            .ok_or_else(|| fail!(ReturnCode::GENERAL_FAILURE, "{shown} is no TCTI: its Tss2_Tcti_Info answers NULL"))?;
        Ok(Some(Module { info, _library: library }))
    }

    /// Whether it is the library that this code is in; each that has a loader has its own copy.
    pub(crate) fn is_this_library(&self) -> bool {
        static HERE: u8 = 0;
        let here = base((&raw const HERE).cast());
        here.is_some() && here == base(self.info.as_ptr().cast())
    }

    fn info(&self) -> &TSS2_TCTI_INFO {
        // SAFETY: the data is constant and lives as long as the library, which we hold.
        unsafe { self.info.as_ref() }
    }

    /// Whether it is a module of tpm2-tss, ours or its own: those say in the log what is wrong.
    pub(crate) fn is_of_the_stack(&self) -> bool {
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

    /// The file that it was loaded from.
    fn file(&self) -> String {
        found(self.info.as_ptr().cast()).filter(|found| !found.dli_fname.is_null()).map_or_else(String::new, |found| {
            // SAFETY: the linker's name of a library lives as long as the library, which we hold.
            visible(unsafe { CStr::from_ptr(found.dli_fname) }.to_string_lossy().as_ref())
        })
    }

    /// Version of the module's contexts.
    pub fn version(&self) -> u32 {
        self.info().version
    }

    /// Name, description and help on the configuration string; empty where the module has NULL.
    pub fn texts(&self) -> [&CStr; 3] {
        let info = self.info();
        [info.name, info.description, info.config_help].map(|text| match text.is_null() {
            true => c"",
            // SAFETY: the strings are constant and live as long as the library, which we hold.
            false => unsafe { CStr::from_ptr(text) },
        })
    }

    /// Makes a context. The code of the module passes through, without a message: the module may have logged one.
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
        // SAFETY: NULL asks for the size.
        ReturnCode::from_c(unsafe { init(null_mut(), &mut size, conf) })?;
        if size < size_of::<TSS2_TCTI_CONTEXT_COMMON_V1>() {
            return Err(fail!(
                ReturnCode::GENERAL_FAILURE,
                "the TCTI \"{}\" asks for a context of {size} bytes, less than its head has",
                name.to_string_lossy()
            ));
        }
        let context = Memory::zeroed(size)?;
        // SAFETY: the memory has the size that was asked for.
        ReturnCode::from_c(unsafe { init(context.0.as_ptr(), &mut size, conf) })?;
        Ok(Child { context, module: self })
    }
}

/// The dynamic linker does not load a file, for this reason: `None` when the file does not exist.
fn refusal(file: &str, reason: &str) -> Result<Option<Module>> {
    // The linker names the file that is missing first, which may be one that the library needs. Its message is in the
    // language of the program, as is the system's.
    let no_such_file = nix::errno::Errno::ENOENT.desc();
    let translated = std::io::Error::from_raw_os_error(libc::ENOENT).to_string();
    let translated = translated.split(" (os error").next().unwrap_or(no_such_file);
    let is_missing = reason.ends_with(no_such_file) || reason.ends_with(translated);
    match is_missing && reason.starts_with(&format!("{file}:")) {
        true => Ok(None),
        false => Err(fail!(ReturnCode::NOT_SUPPORTED, "{reason}")),
    }
}

/// Where the library is that has something at this address.
fn base(address: *const c_void) -> Option<*mut c_void> {
    found(address).map(|found| found.dli_fbase)
}

/// The library that has something at this address.
fn found(address: *const c_void) -> Option<libc::Dl_info> {
    let mut found =
        libc::Dl_info { dli_fname: null(), dli_fbase: null_mut(), dli_sname: null(), dli_saddr: null_mut() };
    // SAFETY: any address may be asked for, and the place for the answer lives during the call.
    let known = unsafe { libc::dladdr(address, &mut found) };
    (known != 0).then_some(found)
}

/// dlerror's sentence.
fn reason(error: &libloading::Error) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
}

/// Memory of a context, from calloc.
struct Memory(NonNull<TSS2_TCTI_CONTEXT>);

impl Memory {
    fn zeroed(size: usize) -> Result<Memory> {
        // SAFETY: calloc has no preconditions.
        let memory = unsafe { libc::calloc(1, size) };
        NonNull::new(memory.cast())
            .map(Memory)
            .ok_or_else(|| fail!(ReturnCode::MEMORY, "no memory for a context of {size} bytes"))
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: the memory is from calloc and nobody else's.
        unsafe { libc::free(self.0.as_ptr().cast()) };
    }
}

/// An open context of another module. Dropping it finalizes the context, frees its memory, then lets the library go.
pub struct Child {
    context: Memory,
    module: Module,
}

// SAFETY: a TCTI context may be used from any thread, one at a time.
unsafe impl Send for Child {}

impl Child {
    /// The file of the library.
    pub(crate) fn file(&self) -> String {
        self.module.file()
    }

    /// The context, for calls as C makes them.
    pub fn as_ptr(&self) -> *mut TSS2_TCTI_CONTEXT {
        self.context.0.as_ptr()
    }

    /// The functions of the context; those that its version lacks are absent.
    pub fn head(&self) -> TSS2_TCTI_CONTEXT_COMMON_V2 {
        let head: *const TSS2_TCTI_CONTEXT_COMMON_V1 = self.as_ptr().cast();
        // SAFETY: a context opens with its head, at least of version 1.
        let v1 = unsafe { head.read() };
        #[expect(non_snake_case, reason = "C name")]
        let makeSticky = match v1.version {
            0 | 1 => None,
            // SAFETY: from version 2 on the head has this slot too.
            _ => unsafe { head.cast::<TSS2_TCTI_CONTEXT_COMMON_V2>().read() }.makeSticky,
        };
        TSS2_TCTI_CONTEXT_COMMON_V2 { v1, makeSticky }
    }
}

/// Each call answers as the macros of tss2_tcti.h do: `ABI_MISMATCH` for a context that is
/// too old, `NOT_IMPLEMENTED` for a function that it lacks; else the code of the module passes through.
impl Tcti for Child {
    fn transmit(&mut self, command: &[u8]) -> Result<()> {
        let transmit = self.slot(|head| head.v1.transmit)?;
        // SAFETY: the context is open and `command` readable.
        ReturnCode::from_c(unsafe { transmit(self.as_ptr(), command.len(), command.as_ptr()) })
    }

    fn response_size(&mut self, wait: Wait) -> Result<usize> {
        let receive = self.slot(|head| head.v1.receive)?;
        let mut size = 0;
        // SAFETY: the context is open; NULL asks for the size.
        ReturnCode::from_c(unsafe { receive(self.as_ptr(), &mut size, null_mut(), wait.to_c()) })?;
        Ok(size)
    }

    fn receive(&mut self, room: &mut [u8], wait: Wait) -> Result<usize> {
        let receive = self.slot(|head| head.v1.receive)?;
        let mut size = room.len();
        // SAFETY: the context is open and `room` writable for `size` bytes.
        ReturnCode::from_c(unsafe { receive(self.as_ptr(), &mut size, room.as_mut_ptr(), wait.to_c()) })?;
        Ok(size.min(room.len()))
    }

    fn cancel(&mut self) -> Result<()> {
        let cancel = self.slot(|head| head.v1.cancel)?;
        // SAFETY: the context is open.
        ReturnCode::from_c(unsafe { cancel(self.as_ptr()) })
    }

    fn set_locality(&mut self, locality: u8) -> Result<()> {
        let set_locality = self.slot(|head| head.v1.setLocality)?;
        // SAFETY: the context is open.
        ReturnCode::from_c(unsafe { set_locality(self.as_ptr(), locality) })
    }

    fn poll_handles(&mut self) -> Result<Vec<PollHandle>> {
        let get = self.slot(|head| head.v1.getPollHandles)?;
        let mut count = 0;
        // SAFETY: the context is open; NULL asks for the count.
        ReturnCode::from_c(unsafe { get(self.as_ptr(), null_mut(), &mut count) })?;
        let mut handles = vec![PollHandle { fd: -1, events: 0, revents: 0 }; count];
        // SAFETY: the context is open and there is room for `count` handles.
        ReturnCode::from_c(unsafe { get(self.as_ptr(), handles.as_mut_ptr(), &mut count) })?;
        handles.truncate(count);
        Ok(handles)
    }
}

impl Child {
    fn slot<F>(&self, slot: impl FnOnce(&TSS2_TCTI_CONTEXT_COMMON_V2) -> Option<F>) -> Result<F> {
        let head = self.head();
        match head.v1.version {
            0 => Err(ReturnCode::ABI_MISMATCH.into()),
            _ => slot(&head).ok_or(ReturnCode::NOT_IMPLEMENTED.into()),
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if let Some(finalize) = self.head().v1.finalize {
            // SAFETY: the module made this context, and nobody uses it any more.
            unsafe { finalize(self.as_ptr()) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tcti_ffi::Info;

    #[test]
    fn a_library_knows_itself() {
        static INFO: Info = Info::new(c"test", c"", c"", None);
        let module = |info: *const TSS2_TCTI_INFO| Module {
            info: NonNull::new(info.cast_mut()).unwrap(),
            _library: Library::this(),
        };
        assert!(module(INFO.as_ptr()).is_this_library());
        let elsewhere = (libc::getpid as unsafe extern "C" fn() -> libc::pid_t) as *const TSS2_TCTI_INFO;
        assert!(!module(elsewhere).is_this_library(), "only its address counts");
        assert!(!module(core::ptr::without_provenance(8)).is_this_library(), "nothing is there");
    }
}
