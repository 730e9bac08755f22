// SPDX-License-Identifier: BSD-2-Clause
//! The state file: BE32 length, permanent state, BE32 length, volatile state. It is locked while a context uses it and
//! replaced as a whole, so that a process killed at any moment leaves the last consistent state.
#![forbid(unsafe_code)]

use crate::sys::Blobs;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use std::fs::{File, OpenOptions, canonicalize, remove_file, rename};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tcti_core::{Deadline, Rc, Result, fail};

/// Largest state file we read, in bytes. That of libtpms 0.9 is some 100 KiB with all its NV memory in use.
const MAX_SIZE: u64 = 16 << 20;

/// How long to wait for another process that uses the file: the commands of a pipe line run at the same time.
const LOCK_TIMEOUT: Duration = Duration::from_secs(10);

/// A state file, locked.
pub(crate) struct StateFile {
    path: PathBuf,
    /// Where the next state is written: always the same name, so that a process killed there leaves one file at most.
    next: PathBuf,
    /// The file at `path`; its lock is ours.
    file: Flock<File>,
}

impl StateFile {
    /// Opens and locks the file, making an empty one, mode 0600, when there is none.
    pub(crate) fn open(path: &Path) -> Result<StateFile> {
        let failed = |error: io::Error| {
            fail!(code(&error), "cannot open the TPM state file {}: {}", path.display(), reason(&error))
        };
        let deadline = Deadline::within(LOCK_TIMEOUT);
        loop {
            let file = options().read(true).open(path).map_err(failed)?;
            let metadata = file.metadata().map_err(failed)?;
            if !metadata.is_file() {
                return Err(fail!(Rc::IO_ERROR, "the TPM state file {} is not a regular file", path.display()));
            }
            let file = lock(file, path, &deadline)?;
            // Who held the lock may have replaced the file since we opened it.
            let current = std::fs::metadata(path).ok().map(|now| (now.dev(), now.ino()));
            if current == Some((metadata.dev(), metadata.ino())) {
                let path = canonicalize(path).map_err(failed)?;
                let mut next = path.clone().into_os_string();
                next.push(".new");
                return Ok(StateFile { path, next: next.into(), file });
            }
        }
    }

    /// The state in the file; empty blobs for an empty file, which is a new TPM.
    pub(crate) fn load(&mut self) -> Result<Blobs> {
        let mut bytes = Vec::new();
        let path = self.path.display();
        (&*self.file)
            .take(MAX_SIZE + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| fail!(Rc::IO_ERROR, "cannot read the TPM state file {path}: {}", reason(&error)))?;
        if bytes.is_empty() {
            return Ok(Blobs::default());
        }
        decode(&bytes).map_err(|what| {
            fail!(
                Rc::IO_ERROR,
                "{path} is no TPM state file, or is damaged: {what}. Name another file for a new TPM, or restore this one \
                 from a copy"
            )
        })
    }

    /// Replaces the state; on an error the file is as before.
    pub(crate) fn store(&mut self, blobs: &Blobs) -> Result<()> {
        self.replace(blobs).map_err(|error| {
            let _ = remove_file(&self.next);
            fail!(
                code(&error),
                "cannot write the TPM state file {}: {}. The TPM stays as it was before",
                self.path.display(),
                reason(&error)
            )
        })
    }

    fn replace(&mut self, blobs: &Blobs) -> io::Result<()> {
        let too_large = |_| io::Error::from(io::ErrorKind::FileTooLarge);
        let mut bytes = Vec::with_capacity(8 + blobs.permanent.len() + blobs.volatile.len());
        for blob in [&blobs.permanent, &blobs.volatile] {
            bytes.extend(u32::try_from(blob.len()).map_err(too_large)?.to_be_bytes());
            bytes.extend(blob);
        }
        let file = options().truncate(true).custom_flags(nix::libc::O_NOFOLLOW).open(&self.next)?;
        // The lock moves to the new file before that has the name: nobody gets in between.
        let mut file = Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, error)| error)?;
        file.write_all(&bytes)?;
        file.sync_data()?;
        rename(&self.next, &self.path)?;
        self.file = file;
        Ok(())
    }
}

fn code(error: &io::Error) -> Rc {
    match error.kind() {
        io::ErrorKind::PermissionDenied => Rc::NOT_PERMITTED,
        _ => Rc::IO_ERROR,
    }
}

/// The system's words, without the number that std adds.
fn reason(error: &io::Error) -> String {
    error.raw_os_error().map_or_else(|| error.to_string(), |number| Errno::from_raw(number).desc().to_owned())
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).create(true).mode(0o600);
    options
}

/// Waits for the lock. flock(2) knows no time-out, so this asks again, less and less often.
fn lock(mut file: File, path: &Path, deadline: &Deadline) -> Result<Flock<File>> {
    let mut pause = Duration::from_millis(1);
    loop {
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(locked) => return Ok(locked),
            Err((_, Errno::EWOULDBLOCK)) if deadline.has_passed() => {
                return Err(fail!(
                    Rc::IO_ERROR,
                    "the TPM state file {} is in use by another process, still after {} s",
                    path.display(),
                    LOCK_TIMEOUT.as_secs()
                ));
            }
            Err((unlocked, Errno::EWOULDBLOCK)) => {
                file = unlocked;
                std::thread::sleep(pause);
                pause = (pause * 2).min(Duration::from_millis(50));
            }
            Err((unlocked, Errno::EINTR)) => file = unlocked,
            Err((_, error)) => {
                return Err(fail!(Rc::IO_ERROR, "cannot lock the TPM state file {}: {}", path.display(), error.desc()));
            }
        }
    }
}

fn decode(bytes: &[u8]) -> core::result::Result<Blobs, &'static str> {
    let (permanent, rest) = blob(bytes).ok_or("the permanent state ends early")?;
    let (volatile, rest) = blob(rest).ok_or("the volatile state ends early")?;
    // The C module of this name leaves zeroes behind the state when its process is killed.
    if rest.iter().any(|byte| *byte != 0) {
        return Err("something follows the state");
    }
    if permanent.is_empty() {
        return Err("the permanent state is missing");
    }
    Ok(Blobs { permanent: permanent.to_vec(), volatile: volatile.to_vec() })
}

fn blob(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn blobs() -> Blobs {
        Blobs { permanent: vec![1, 2, 3], volatile: vec![4, 5] }
    }

    const BYTES: [u8; 13] = [0, 0, 0, 3, 1, 2, 3, 0, 0, 0, 2, 4, 5];

    #[test]
    fn the_file_is_two_blobs_with_their_lengths_and_mode_0600() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        let mut file = StateFile::open(&path).unwrap();
        assert!(file.load().unwrap() == Blobs::default(), "a new TPM");
        file.store(&blobs()).unwrap();
        drop(file);
        assert_eq!(std::fs::read(&path).unwrap(), BYTES);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        assert!(StateFile::open(&path).unwrap().load().unwrap() == blobs());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing else is left");
    }

    #[test]
    fn a_damaged_file_is_an_error_and_stays_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        let mut longer = BYTES.to_vec();
        longer.push(1);
        let mut damaged: Vec<Vec<u8>> = (1..BYTES.len()).map(|cut| BYTES[..cut].to_vec()).collect();
        damaged.extend([longer, vec![0xff; 13], vec![0; 8]]);
        for bytes in damaged {
            std::fs::write(&path, &bytes).unwrap();
            assert_eq!(StateFile::open(&path).unwrap().load().err(), Some(Rc::IO_ERROR), "{bytes:?}");
            assert_eq!(std::fs::read(&path).unwrap(), bytes);
        }
    }

    #[test]
    fn zeroes_behind_the_state_do_not_count() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        std::fs::write(&path, [&BYTES[..], &[0; 100]].concat()).unwrap();
        assert!(StateFile::open(&path).unwrap().load().unwrap() == blobs());
    }

    #[test]
    fn the_lock_moves_with_each_replacement() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        let mut file = StateFile::open(&path).unwrap();
        let waiting = File::open(&path).unwrap();
        let refused = |file| Flock::lock(file, FlockArg::LockExclusiveNonblock).is_err();
        assert!(refused(waiting.try_clone().unwrap()));
        file.store(&blobs()).unwrap();
        assert!(refused(File::open(&path).unwrap()), "the new file is ours too");
        drop(file);
        assert!(!refused(File::open(&path).unwrap()));
    }

    #[test]
    fn who_waited_for_a_replaced_file_opens_the_new_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        let mut first = StateFile::open(&path).unwrap();
        let second = std::thread::spawn({
            let path = path.clone();
            move || StateFile::open(&path).unwrap().load().unwrap()
        });
        first.store(&blobs()).unwrap();
        drop(first);
        assert!(second.join().unwrap() == blobs());
    }

    #[test]
    fn a_link_is_followed_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let (path, link) = (dir.path().join("state"), dir.path().join("link"));
        std::fs::write(&path, BYTES).unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let mut file = StateFile::open(&link).unwrap();
        file.store(&Blobs { permanent: vec![9], volatile: vec![] }).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), [0, 0, 0, 1, 9, 0, 0, 0, 0]);
        assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
    }

    #[test]
    fn what_is_no_file_is_refused() {
        assert_eq!(StateFile::open(Path::new("/dev/null")).err(), Some(Rc::IO_ERROR));
        assert_eq!(StateFile::open(Path::new("/nonexistent/state")).err(), Some(Rc::IO_ERROR));
        assert_eq!(StateFile::open(Path::new("/")).err(), Some(Rc::IO_ERROR));
    }
}
