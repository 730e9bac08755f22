// SPDX-License-Identifier: BSD-2-Clause
//! Calls to libc that no crate wraps.
#![expect(unsafe_code, reason = "an island of unsafe code, see src/README.md")]

use std::io;
use std::mem::MaybeUninit;
use std::ops::Deref;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::AtomicU32;

/// Whether this process runs with more rights than its user (set-user-id, set-group-id, file capabilities).
pub fn runs_with_foreign_rights() -> bool {
    // SAFETY: getauxval has no preconditions.
    let secure = unsafe { libc::getauxval(libc::AT_SECURE) };
    secure != 0
}

/// A number in memory that is 0 at first and again in a child process (`MADV_WIPEONFORK`, madvise(2)). It stays for good.
pub(crate) fn cleared_in_child() -> io::Result<&'static AtomicU32> {
    let size = size_of::<AtomicU32>(); // the kernel gives whole pages
    let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: the kernel chooses a place where nothing is.
    let page = unsafe { libc::mmap(ptr::null_mut(), size, access, kind, -1, 0) };
    if page == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the page is ours, and nothing is in it.
    let advise = |advice| unsafe { libc::madvise(page, size, advice) };
    // An emulator that takes any advice follows none.
    let takes_nonsense = advise(-1) == 0;
    if takes_nonsense || advise(libc::MADV_WIPEONFORK) != 0 {
        let error = io::Error::last_os_error();
        // SAFETY: nobody has seen the page.
        unsafe { libc::munmap(page, size) };
        return Err(error);
    }
    // SAFETY: the page is never unmapped, is aligned for anything, and all zeroes are a number.
    Ok(unsafe { &*page.cast() })
}

/// Words that all processes see that were forked from the one that made them, and that one itself. All are 0 at first.
#[repr(C)]
pub(crate) struct Words {
    /// Not 0 once a second process has used the connection.
    pub(crate) shared: AtomicU32,
    /// What is under way.
    pub(crate) exchange: AtomicU32,
    /// Who had the last turn.
    pub(crate) last: AtomicU32,
    /// The last number that was taken.
    pub(crate) numbers: AtomicU32,
    /// Not 0 while somebody may wait for the bell.
    pub(crate) waiting: AtomicU32,
    /// Changes when the turn may be free, for the one that is next.
    pub(crate) bell: AtomicU32,
    /// Changes when the place of the next one may be free, for all others.
    pub(crate) line: AtomicU32,
}

/// A page with such words. What is in it is whatever the others write; each word is a value of its type.
pub(crate) struct SharedPage(NonNull<Words>);

// SAFETY: the words are atomic, and the page is where it is until the value is dropped.
unsafe impl Send for SharedPage {}

impl SharedPage {
    pub(crate) fn new() -> io::Result<SharedPage> {
        let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
        // SAFETY: the kernel chooses a place where nothing is.
        let page = unsafe { libc::mmap(ptr::null_mut(), size_of::<Words>(), access, kind, -1, 0) };
        match NonNull::new(page.cast()) {
            Some(words) if page != libc::MAP_FAILED => Ok(SharedPage(words)),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

#[cfg(any(test, feature = "testing"))]
impl SharedPage {
    /// The same page at another place, as a forked process has it. For tests.
    pub(crate) fn again(&self) -> SharedPage {
        let (old, size) = (self.0.as_ptr().cast(), size_of::<Words>());
        // SAFETY: an old size of 0 maps the pages of a shared mapping a second time and leaves the first (mremap(2)).
        let page = unsafe { libc::mremap(old, 0, size, libc::MREMAP_MAYMOVE) };
        assert!(page != libc::MAP_FAILED, "{}", io::Error::last_os_error());
        SharedPage(NonNull::new(page.cast()).unwrap_or(self.0))
    }
}

impl Deref for SharedPage {
    type Target = Words;

    fn deref(&self) -> &Words {
        // SAFETY: the page is ours, is aligned for anything, and all that can be in it are numbers.
        unsafe { self.0.as_ref() }
    }
}

impl Drop for SharedPage {
    fn drop(&mut self) {
        // SAFETY: nobody of this process has the page any more; other processes have mappings of their own.
        unsafe { libc::munmap(self.0.as_ptr().cast(), size_of::<Words>()) };
    }
}

/// A forked process. For tests.
#[cfg(any(test, feature = "testing"))]
#[derive(Debug)]
pub struct Forked(libc::pid_t);

#[cfg(any(test, feature = "testing"))]
impl Forked {
    /// Asks there, and ends: with 0 for yes, and without dropping what the question only borrows.
    pub fn asks(question: impl FnOnce() -> bool) -> Forked {
        // SAFETY: the child only asks and ends, and takes no lock that a thread of this process may hold.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let yes = std::panic::catch_unwind(std::panic::AssertUnwindSafe(question)).unwrap_or(false);
            // SAFETY: _exit has no preconditions.
            unsafe { libc::_exit(libc::c_int::from(!yes)) };
        }
        Forked(child)
    }

    /// Asks there, and returns its exit status: 0 for yes.
    pub fn status_of(question: impl FnOnce() -> bool) -> Option<libc::c_int> {
        Forked::asks(question).status()
    }

    /// Its number.
    pub fn id(&self) -> libc::pid_t {
        self.0
    }

    /// Ends it, wherever it is. So does a drop.
    pub fn kill(self) {}

    /// Its exit status; `None` for a signal.
    pub fn status(mut self) -> Option<libc::c_int> {
        self.wait()
    }

    fn wait(&mut self) -> Option<libc::c_int> {
        let mut status = 0;
        // SAFETY: the status is ours.
        let ended = unsafe { libc::waitpid(self.0, &mut status, 0) };
        (ended == core::mem::take(&mut self.0) && libc::WIFEXITED(status)).then(|| libc::WEXITSTATUS(status))
    }
}

#[cfg(any(test, feature = "testing"))]
impl Drop for Forked {
    fn drop(&mut self) {
        if self.0 != 0 {
            // SAFETY: the child is ours, and was not waited for.
            unsafe { libc::kill(self.0, libc::SIGKILL) };
            self.wait();
        }
    }
}

/// Whether `poll(2)` finds one of these ready now. For tests.
#[cfg(any(test, feature = "property"))]
pub(crate) fn is_ready(handles: &mut [libc::pollfd]) -> bool {
    let count = libc::nfds_t::try_from(handles.len()).unwrap_or_default();
    // SAFETY: the kernel reads and writes the handles, which live during the call; a closed descriptor is an answer.
    unsafe { libc::poll(handles.as_mut_ptr(), count, 0) > 0 }
}

/// How many bytes wait to be read; none where the descriptor is closed. For tests.
#[cfg(any(test, feature = "property"))]
pub(crate) fn unread(fd: libc::c_int) -> usize {
    let mut count: libc::c_int = 0;
    // SAFETY: the kernel writes to a number that lives during the call.
    let result = unsafe { libc::ioctl(fd, libc::FIONREAD, &mut count) };
    if result == 0 { usize::try_from(count).unwrap_or_default() } else { 0 }
}

/// Whether files may have any size (`RLIMIT_FSIZE`, getrlimit(2)). Asked before each write to a file, and libc asks by a call
/// that takes the kernel twice as long, because it can ask about other processes, too.
#[cfg(target_arch = "x86_64")]
pub(crate) fn files_are_unlimited() -> bool {
    let mut limit = MaybeUninit::<libc::rlimit>::uninit();
    // SAFETY: the kernel fills a limit that is ours, and which has the layout of its own.
    let result = unsafe { libc::syscall(libc::SYS_getrlimit, libc::RLIMIT_FSIZE, limit.as_mut_ptr()) };
    // SAFETY: after success it is filled.
    result == 0 && unsafe { limit.assume_init() }.rlim_cur == libc::RLIM_INFINITY
}

/// The same elsewhere, where libc's call may know only 32 bits of a limit.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn files_are_unlimited() -> bool {
    rustix::process::getrlimit(rustix::process::Resource::Fsize).current.is_none()
}

/// `write(2)` that answers EPIPE or EFBIG instead of raising SIGPIPE or SIGXFSZ, leaving the signal mask and a signal
/// that was pending before as they were.
pub(crate) fn write_without_signal(fd: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    let both = set_of(&[libc::SIGPIPE, libc::SIGXFSZ]);
    let mut pending = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: the kernel fills the set that we own.
    unsafe { libc::sigpending(pending.as_mut_ptr()) };
    let mut before = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: both sets are ours; only this thread's mask changes, until the end of this function.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &both, before.as_mut_ptr()) };
    // SAFETY: `bytes` is readable for its length.
    let written = unsafe { libc::write(fd.as_raw_fd(), bytes.as_ptr().cast(), bytes.len()) };
    let result = usize::try_from(written).map_err(|_| io::Error::last_os_error());
    let raised = match result.as_ref().err().and_then(io::Error::raw_os_error) {
        Some(libc::EPIPE) => Some(libc::SIGPIPE),
        Some(libc::EFBIG) => Some(libc::SIGXFSZ),
        _ => None,
    };
    if let Some(signal) = raised {
        // SAFETY: sigpending filled the set; it fails only for a bad address.
        let was_pending = unsafe { libc::sigismember(pending.as_ptr(), signal) } == 1;
        if !was_pending {
            let at_once = libc::timespec { tv_sec: 0, tv_nsec: 0 };
            // SAFETY: the set and the time are ours; no details of the signal are wanted.
            unsafe { libc::sigtimedwait(&set_of(&[signal]), ptr::null_mut(), &at_once) };
        }
    }
    // SAFETY: pthread_sigmask filled the set above.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), ptr::null_mut()) };
    result
}

fn set_of(signals: &[libc::c_int]) -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: sigemptyset initialises the set that we own.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    for signal in signals {
        // SAFETY: the set is initialised.
        unsafe { libc::sigaddset(set.as_mut_ptr(), *signal) };
    }
    // SAFETY: the set is initialised.
    unsafe { set.assume_init() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn a_broken_pipe_is_an_error_and_no_signal() {
        let (reader, writer) = nix::unistd::pipe().unwrap();
        assert_eq!(write_without_signal(writer.as_fd(), b"abc").unwrap(), 3);
        drop(reader);
        let sigpipe = set_of(&[libc::SIGPIPE]);
        // SAFETY: the set is initialised; the default action would end this test.
        unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
        let error = write_without_signal(writer.as_fd(), b"abc").unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EPIPE));
        let at_once = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the set and the time are ours.
        let left = unsafe { libc::sigtimedwait(&sigpipe, ptr::null_mut(), &at_once) };
        assert_eq!(left, -1, "no SIGPIPE is left pending");
    }
}
