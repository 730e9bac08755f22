// SPDX-License-Identifier: BSD-2-Clause
//! Programs of systemd, which load a module without the loader: credentials, and an encrypted volume that the TPM
//! unlocks. Each test runs with several modules: `tpm2_device` is the option of systemd, and `module` the library that
//! has to be loaded.

use std::fs;
use std::path::Path;
use std::process::Command;
use tss2_kit::need::{ESYS, Need, SWTPM, TPM2_TOOLS};
use tss2_kit::simulator::Simulator;
use tss2_kit::suite::Suite;
use tss2_kit::{linker, output, stage};

const CREDS: Need = Need::Program("systemd-creds", "systemd");
const CRYPTENROLL: Need = Need::Program("systemd-cryptenroll", "systemd");
const CRYPTSETUP: Need = Need::Program("cryptsetup", "cryptsetup-bin");
/// The program is not in the search path, because it is not for users. In Debian 12 its package is systemd.
const ATTACH: &str = "/lib/systemd/systemd-cryptsetup";

/// The needs of [`credential`].
const CREDENTIAL: [Need; 3] = [CREDS, ESYS, Need::Root];
/// The needs of [`volume`].
const VOLUME: [Need; 5] = [CRYPTENROLL, CRYPTSETUP, Need::File(ATTACH, "systemd-cryptsetup"), ESYS, Need::Root];

pub(crate) fn tests(suite: &mut Suite) {
    for (name, tpm2_device) in [("its_path", "/dev/tpmrm0"), ("the_module", "device:/dev/tpmrm0")] {
        suite.test(format!("systemd::a_credential_with_the_device_by_{name}"), &CREDENTIAL, move || {
            credential(tpm2_device, "tcti-device");
        });
    }
    suite.test("systemd::the_tpm_unlocks_a_volume", &VOLUME, || volume("/dev/tpmrm0", "tcti-device"));
    suite.test("systemd::a_credential_with_the_stick", &[&CREDENTIAL[..], &[SWTPM, TPM2_TOOLS]].concat(), || {
        let _stick = Simulator::plug_in("0043");
        credential("spi-ltt2go:", "tcti-spi-ltt2go");
    });
    suite.test("systemd::the_stick_unlocks_a_volume", &[&VOLUME[..], &[SWTPM, TPM2_TOOLS]].concat(), || {
        let _sticks = [Simulator::plug_in("0042"), Simulator::plug_in("0043")];
        volume("spi-ltt2go:^0043$", "tcti-spi-ltt2go");
    });
}

/// Runs a program that has to succeed and to load this module, and no TCTI module that is not ours.
fn with_ours(command: &mut Command, module: &str) {
    let (output, files) = linker::run(command);
    assert!(output.status.success(), "{command:?}\n{}", output::show(&output));
    let modules = linker::named(&files, "libtss2-tcti-");
    // systemd-cryptsetup also opens the kernel's TPM.
    assert!(modules.contains(&stage::library(module).as_path()), "{command:?}: {modules:?}");
    assert!(modules.iter().all(|file| file.starts_with(stage::lib())), "{command:?}: {modules:?}");
    // Without a resource manager the sessions of a program stay in the TPM, which has room for three.
    if module == "tcti-spi-ltt2go" {
        output::succeed(stage::command("tpm2_flushcontext").args(["-l", "-T", "spi-ltt2go:^0043$"]));
    }
}

/// Seals a secret with the TPM, and unseals it.
fn credential(tpm2_device: &str, module: &str) {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    fs::write(path("secret"), "a secret").unwrap();
    let device = format!("--tpm2-device={tpm2_device}");
    let mut encrypt = stage::command("systemd-creds");
    encrypt.args(["encrypt", "--with-key=tpm2", "--name=test", &device]).args([path("secret"), path("sealed")]);
    with_ours(&mut encrypt, module);
    assert!(!fs::read_to_string(path("sealed")).unwrap().contains("a secret"));
    let mut decrypt = stage::command("systemd-creds");
    decrypt.args(["decrypt", "--name=test", &device]).args([path("sealed"), path("secret2")]);
    with_ours(&mut decrypt, module);
    assert_eq!(fs::read_to_string(path("secret2")).unwrap(), "a secret");
}

/// Makes an encrypted volume in a file, and has the TPM unlock it without a password.
fn volume(tpm2_device: &str, module: &str) {
    const NAME: &str = "tpm-volume";
    const PASSWORD: &str = "a password";
    output::succeed(Command::new("modprobe").args(["--all", "loop", "dm-crypt"]));
    let dir = tempfile::tempdir_in("/run").unwrap();
    let file = dir.path().join("volume");
    fs::File::create(&file).unwrap().set_len(8 << 20).unwrap();
    let key = dir.path().join("key");
    fs::write(&key, PASSWORD).unwrap();
    // The key derivation is fast, because it is not what this tests.
    let mut format = stage::distribution_command("cryptsetup");
    format.args("luksFormat --batch-mode --type luks2 --pbkdf pbkdf2 --pbkdf-force-iterations 1000".split(' '));
    format.args("--luks2-metadata-size 16k --luks2-keyslots-size 512k --key-file".split(' '));
    output::succeed(format.arg(&key).arg(&file));

    let mut enroll = stage::command("systemd-cryptenroll");
    enroll.arg(format!("--tpm2-device={tpm2_device}")).arg(&file).env("PASSWORD", PASSWORD);
    with_ours(&mut enroll, module);
    let attached = Path::new("/dev/mapper").join(NAME);
    let contents = |attached: &Path| fs::read(attached).map(|bytes| bytes.get(..4).map(<[u8]>::to_vec));
    for written in [false, true] {
        let mut attach = no_udev(stage::command(ATTACH));
        let options = format!("tpm2-device={tpm2_device},headless=true");
        with_ours(attach.args(["attach", NAME]).arg(&file).args(["-", &options]), module);
        assert_eq!(contents(&attached).unwrap() == Some(b"mark".to_vec()), written);
        let volume = fs::OpenOptions::new().write(true).open(&attached).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&volume, b"mark", 0).unwrap();
        drop(volume);
        output::succeed(no_udev(stage::command(ATTACH)).args(["detach", NAME]));
        assert!(!attached.exists());
    }
}

/// Has device nodes created without waiting for udev, which does not run.
fn no_udev(mut command: Command) -> Command {
    command.env("DM_DISABLE_UDEV", "1");
    command
}
