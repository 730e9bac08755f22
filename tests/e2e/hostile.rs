// SPDX-License-Identifier: BSD-2-Clause
//! Root keeps the state file of libtpms, a capture or a log in a directory in which another user, nobody, may write.

use nix::fcntl::{AT_FDCWD, FcntlArg, Flock, FlockArg, RenameFlags, fcntl, renameat2};
use nix::libc;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use std::fs::{self, File, Permissions};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tss2_kit::need::{CC, LIBTPMS, Need, PKG_CONFIG, SETPRIV};
use tss2_kit::program::{self, Link};
use tss2_kit::suite::Suite;
use tss2_kit::{output, stage};

const NOBODY: u32 = 65534;

/// Far less than the 60 s for which a process waits for a lock of its own user.
const SOON: Duration = Duration::from_secs(10);

pub(crate) fn tests(suite: &mut Suite) {
    let needs = [CC, PKG_CONFIG, LIBTPMS, SETPRIV, Need::Root];
    suite.test("hostile::a_link_swapped_in_during_commands_is_not_followed", &needs, swapped_link);
    suite.test("hostile::an_empty_file_of_another_user_is_refused", &needs, empty_file);
    suite.test("hostile::other_files_in_the_directory_have_no_effect", &needs, occupied_names);
    suite.test("hostile::a_file_that_is_not_regular_is_refused", &needs, other_kinds);
    suite.test("hostile::a_lock_of_another_user_delays_nobody", &needs, lock);
    suite.test("hostile::a_capture_is_not_written_to_what_another_user_has_placed", &needs, capture);
    suite.test("hostile::a_log_is_not_written_to_what_another_user_has_placed", &needs, log);
}

/// Makes a directory with the permissions of /tmp. Returns it and the path of a state file in it.
fn public() -> (TempDir, PathBuf) {
    let dir = program::readable_dir();
    fs::set_permissions(dir.path(), Permissions::from_mode(0o1777)).unwrap();
    let path = dir.path().join("tpm");
    (dir, path)
}

/// Opens a context on the state file and sends a command.
fn use_it(path: &Path) -> Output {
    let started = Instant::now();
    let output = output::run(stage::command(program::link_tctildr()).arg(format!("libtpms:{}", path.display())));
    assert!(started.elapsed() < SOON, "it took {:?}", started.elapsed());
    output
}

fn works(path: &Path) {
    let output = use_it(path);
    assert!(output.status.success(), "{}", output::show(&output));
    let metadata = fs::symlink_metadata(path).unwrap();
    assert!(metadata.is_file());
    assert_eq!((metadata.uid(), metadata.mode() & 0o7777), (0, 0o600));
}

fn refused(path: &Path, reason: &str) {
    let output = use_it(path);
    assert!(!output.status.success(), "{}", output::show(&output));
    let printed = output::stderr(&output);
    assert!(printed.contains(reason) && printed.contains(path.to_str().unwrap()), "{printed}");
    assert_eq!(printed.lines().count(), 1, "{printed}");
}

/// Runs a script as nobody.
fn stranger(script: &str, path: &Path) -> Child {
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "sh", "-c", script]).arg(path);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap()
}

/// The directory belongs to nobody, and the file first to root and then to nobody. Another file of root is the target
/// of the attack.
fn swapped_link() {
    let dir = program::readable_dir();
    let at = |name: &str| dir.path().join(name);
    let (victim, path, link) = (at("victim"), at("dir/tpm"), at("dir/link"));
    fs::create_dir(at("dir")).unwrap();
    chown(at("dir"), Some(NOBODY), Some(NOBODY)).unwrap();
    works(&victim);
    works(&path);
    symlink(&victim, &link).unwrap();
    let before = fs::read(&victim).unwrap();
    let many = program::build("many", Link::Staged("tss2-tctildr"), &[]);
    for (owner, can_work) in [(0, true), (NOBODY, false)] {
        // The name that the regular file has at this moment.
        let file = if fs::symlink_metadata(&path).unwrap().is_file() { &path } else { &link };
        chown(file, Some(owner), Some(owner)).unwrap();
        let stop = AtomicBool::new(false);
        let worked = thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    renameat2(AT_FDCWD, &path, AT_FDCWD, &link, RenameFlags::RENAME_EXCHANGE).unwrap();
                }
            });
            let name_conf = format!("libtpms:{}", path.display());
            let run = || output::run(stage::command(&many).args([&name_conf, "200"]).env("TSS2_LOG", "all+none"));
            let worked = (0..100).filter(|_| run().status.success()).count();
            stop.store(true, Ordering::Relaxed);
            worked
        });
        assert_eq!(worked > 0, can_work, "{worked} of 100");
        let metadata = fs::symlink_metadata(&victim).unwrap();
        assert_eq!((metadata.uid(), metadata.gid(), metadata.mode() & 0o7777), (0, 0, 0o600));
        assert!(fs::read(&victim).unwrap() == before, "the target was written to");
    }
}

fn empty_file() {
    let (_dir, path) = public();
    assert!(stranger("umask 0; : > \"$0\"", &path).wait().unwrap().success());
    refused(&path, "uid 65534");
    let metadata = fs::metadata(&path).unwrap();
    assert_eq!((metadata.uid(), metadata.len()), (NOBODY, 0));
}

/// Files with the names that a module may use for temporary files or locks.
fn occupied_names() {
    for script in [
        "mkfifo \"$0\" && echo",
        "ln -s /dev/full \"$0\" && echo",
        "mkdir -p \"$0/x\" && echo",
        "umask 0; : > \"$0\"; exec 3<\"$0\"; flock -x 3; echo; cat",
    ] {
        let (dir, path) = public();
        let names = [".tpm.tcti-libtpms.new", ".tpm.new", ".tpm.lock", "tpm.new", "tpm.lock", "tpm~"];
        let mut theirs: Vec<Child> = names.iter().map(|name| stranger(script, &dir.path().join(name))).collect();
        for child in &mut theirs {
            child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap(); // wait until it exists
        }
        works(&path);
        works(&path);
        for (name, mut child) in names.iter().zip(theirs) {
            drop(child.stdin.take());
            assert!(child.wait().unwrap().success());
            assert_eq!(fs::symlink_metadata(dir.path().join(name)).unwrap().uid(), NOBODY, "{name}");
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1 + names.len(), "no other file was created");
    }
}

fn other_kinds() {
    let (dir, path) = public();
    let target = dir.path().join("target");
    works(&target);
    let make: [(&dyn Fn(), &str); 4] = [
        (&|| mkfifo(&path, Mode::from_bits_truncate(0o666)).unwrap(), "a pipe"),
        (&|| symlink(&target, &path).unwrap(), "a symbolic link"),
        (&|| symlink(dir.path().join("nowhere"), &path).unwrap(), "a symbolic link"),
        (&|| fs::create_dir(&path).unwrap(), "a directory"),
    ];
    for (make, kind) in make {
        make();
        refused(&path, kind);
        refused(&path, "not a regular file");
        fs::remove_file(&path).or_else(|_| fs::remove_dir(&path)).unwrap();
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no file was created");
}

/// Another user can lock a file only if they can open it. Our module creates files that only their owner can open;
/// those of the C module are readable by others, who can then lock them.
fn lock() {
    let (_dir, path) = public();
    works(&path);
    assert!(!stranger("exec 3<\"$0\"", &path).wait().unwrap().success());

    fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
    let theirs = File::open(&path).unwrap();
    let set = |kind: libc::c_int| {
        let kind = i16::try_from(kind).unwrap();
        let whole = libc::flock { l_type: kind, l_whence: libc::SEEK_SET as i16, l_start: 0, l_len: 0, l_pid: 0 };
        fcntl(&theirs, FcntlArg::F_OFD_SETLK(&whole)).unwrap();
    };
    set(libc::F_RDLCK);
    let file = Flock::lock(theirs.try_clone().unwrap(), FlockArg::LockExclusive).unwrap();
    refused(&path, "locked by a program that only reads it");
    refused(&path, "chmod 600");
    set(libc::F_UNLCK);
    works(&path);
    // They have opened it before our module took their right to.
    set(libc::F_RDLCK);
    refused(&path, "locked by a program that only reads it");
    set(libc::F_UNLCK);
    works(&path);
    drop(file);
}

/// Makes in `dir` what another user may place under the name that root uses, with the reason for which it is refused.
fn placed(dir: &Path) -> Vec<(&'static str, &'static str)> {
    let victim = dir.join("victim");
    fs::write(&victim, "").unwrap();
    let all = [
        ("umask 0; : > \"$0\"", "it is owned by uid 65534, but this process runs as uid 0"),
        ("umask 0; mkfifo \"$0\"", "the pipe is owned by uid 65534"),
        ("ln -s victim \"$0\"", "a symbolic link is owned by uid 65534"),
        ("ln -s /dev/null \"$0\"", "a symbolic link is owned by uid 65534"),
        ("mkdir \"$0\"", "it is a directory"),
    ];
    all.into()
}

/// A reader makes sure that a FIFO can be opened for writing.
fn with_each(mut check: impl FnMut(&Path, &str)) {
    let (dir, path) = public();
    for (script, reason) in placed(dir.path()) {
        assert!(stranger(script, &path).wait().unwrap().success());
        let is_pipe = script.contains("mkfifo");
        let reader = is_pipe.then(|| File::options().read(true).write(true).open(&path).unwrap());
        check(&path, reason);
        drop(reader);
        assert_eq!(fs::symlink_metadata(&path).unwrap().uid(), NOBODY);
        assert_eq!(fs::metadata(dir.path().join("victim")).unwrap().len(), 0, "it was written to");
        let is_file = fs::symlink_metadata(&path).unwrap().is_file();
        assert!(!is_file || fs::metadata(&path).unwrap().len() == 0, "it was written to");
        fs::remove_file(&path).or_else(|_| fs::remove_dir(&path)).unwrap();
    }
}

fn capture() {
    with_each(|path, reason| {
        for name in [None, Some(path)] {
            let default = path.with_file_name("tpm2_log.pcap");
            if name.is_none() {
                fs::rename(path, &default).unwrap();
            }
            let mut command = stage::command(program::link_tctildr());
            command.arg("pcap:libtpms").current_dir(path.parent().unwrap()).env_remove("TCTI_PCAP_FILE");
            let output = output::run(command.envs(name.map(|name| ("TCTI_PCAP_FILE", name))));
            let printed = output::stderr(&output);
            assert!(!output.status.success() && printed.lines().count() == 1, "{}", output::show(&output));
            // The default name can only be a regular file.
            let is_refused = printed.contains(reason) || name.is_none() && printed.contains("not a regular file");
            assert!(is_refused, "{printed}");
            let _ = fs::rename(&default, path);
        }
    });
}

fn log() {
    with_each(|path, reason| {
        let output = output::run(stage::command(program::link_tctildr()).arg("no-such").env("TSS2_LOGFILE", path));
        let printed = output::stderr(&output);
        assert_eq!(printed.lines().count(), 2, "a warning and the error: {printed}");
        assert!(printed.contains("cannot write the log to") && printed.contains(reason), "{printed}");
    });
}
