// SPDX-License-Identifier: BSD-2-Clause
//! A root volume that the TPM unlocks in an initramfs. [`build`] makes an initramfs with our hook on the host, the
//! test makes the volume, and the machine boots again with both. `early_boot/init.sh` on the volume checks the result.

use std::env;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use tss2_kit::need::{ESYS, Need, TPM2_TOOLS};
use tss2_kit::output;
use tss2_kit::stage;
use tss2_kit::suite::Suite;

/// The UUID of the volume, which has to be known before the volume is made.
const UUID: &str = "7c2bd1f4-5b7e-4f0c-9a55-0d6f3f1f9a31";
const PASSWORD: &str = "a password";
/// The directory in which the host finds what to boot next.
const NEXT: &str = "/run/vm/next";
/// The TCTI in the initramfs. No tool copies it there by itself.
const TCTI: &str = "pcap:device:/dev/tpmrm0";

/// Environment variables for the programs in the initramfs. /run is kept when the root is changed.
const RECORD: &str = "TCTI_PCAP_FILE=/run/tpm.pcapng";
const LOG: &str = "TSS2_LOG=tcti+debug";
const LOGFILE: &str = "TSS2_LOGFILE=/run/tss2.log";

const CLEVIS: [Need; 4] = [
    Need::Program("clevis-luks-bind", "clevis-luks"),
    Need::Program("cryptsetup", "cryptsetup-bin"),
    TPM2_TOOLS,
    Need::Root,
];
const SYSTEMD: [Need; 4] =
    [Need::Program("systemd-cryptenroll", "systemd"), Need::Program("cryptsetup", "cryptsetup-bin"), ESYS, Need::Root];

pub(crate) fn tests_initramfs_tools(suite: &mut Suite) {
    suite.test("initramfs::has_the_listed_modules", &[], || has_the_listed_modules("initramfs", "usr/local/lib"));
    suite.test("initramfs::has_drivers_for_other_machines", &[], has_drivers_for_other_machines);
    suite.test("initramfs::is_not_built_without_a_listed_module", &[], is_not_built_without_a_listed_module);
    suite.test("initramfs::clevis_unlocks_the_root", &CLEVIS, clevis);
}

pub(crate) fn tests_dracut(suite: &mut Suite) {
    suite.test("dracut::has_the_listed_modules", &[], || {
        has_the_listed_modules("dracut", "usr/lib/x86_64-linux-gnu");
    });
    suite.test("dracut::systemd_unlocks_the_root", &SYSTEMD, systemd);
}

/// Builds the initramfs of a topic, on the host and as root. The directory `layer` has the programs, `modules` the
/// kernel's modules.
pub(crate) fn build(topic: &str, layer: &str, modules: &str) {
    let out = directory(topic);
    fs::create_dir_all(&out).unwrap();
    let mut unshare = Command::new("unshare");
    unshare.args(["--mount", "sh", "-c", include_str!("early_boot/build.sh"), "build.sh", topic, layer, modules]);
    output::succeed(unshare.arg(stage::root()).arg(UUID).arg(out));
}

/// Returns the directory with the initramfs of a topic.
fn directory(topic: &str) -> PathBuf {
    Path::new(&env::var_os("TSS2_PROGRAMS").unwrap()).join(topic)
}

/// The initramfs has the libraries under the names by which they are loaded, the udev rules, and users and groups.
fn has_the_listed_modules(topic: &str, libraries: &str) {
    let list = fs::read_to_string(directory(topic).join("list")).unwrap();
    let has = |path: &str| list.lines().any(|line| line == path);
    for library in ["tctildr", "tcti-device", "tcti-pcap"] {
        let path = format!("{libraries}/libtss2-{library}.so.0");
        assert!(has(&path) && has(&format!("{path}.0.0")), "{path} is not in\n{list}");
    }
    assert!(!list.contains("tcti-libtpms"), "libtpms is not listed");
    for path in ["usr/lib/udev/rules.d/60-tss2-tcti.rules", "etc/passwd", "etc/group"] {
        assert!(has(path), "{path} is not in\n{list}");
    }
}

fn has_drivers_for_other_machines() {
    let most = fs::read_to_string(directory("initramfs").join("most")).unwrap();
    for name in [
        "/tpm_tis_spi.ko",
        "/tpm_vtpm_proxy.ko",
        "/spi-pxa2xx-platform.ko",
        "/xhci-pci.ko",
        "/libtpms.so.0",
        "/libusb-1.0.so.0",
        "/libtss2-tcti-spidev.so.0",
        "/libtss2-tcti-spi-ltt2go.so.0",
    ] {
        // Some releases compress drivers, as NAME.ko.xz.
        let is_it = |line: &str| line.ends_with(name) || line.contains(&format!("{name}."));
        assert!(most.lines().any(is_it), "{name} is not in\n{most}");
    }
}

fn is_not_built_without_a_listed_module() {
    let refused = fs::read_to_string(directory("initramfs").join("refused")).unwrap();
    let wanted = "E: tss2-tcti: there is no library libtss2-tcti-devcie.so.0; install it, or correct \
                  /etc/tss2-tcti/initramfs.conf\n";
    assert_eq!(refused, wanted);
}

/// A disk image with an encrypted volume, and its loop device.
struct Volume {
    dir: tempfile::TempDir,
    device: String,
}

impl Volume {
    fn new() -> Volume {
        output::succeed(Command::new("modprobe").args(["--all", "loop", "dm-crypt", "ext4"]));
        let dir = tempfile::tempdir_in("/run").unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::File::create(path("disk")).unwrap().set_len(16 << 20).unwrap();
        fs::write(path("key"), PASSWORD).unwrap();
        let mut losetup = Command::new("losetup");
        let attached = output::succeed(losetup.args(["--find", "--show"]).arg(path("disk")));
        let device = attached.trim().to_owned();
        let mut format = stage::distribution_command("cryptsetup");
        format.args("luksFormat --batch-mode --type luks2 --pbkdf pbkdf2 --pbkdf-force-iterations 1000".split(' '));
        format.args("--luks2-metadata-size 16k --luks2-keyslots-size 1m --uuid".split(' '));
        output::succeed(format.args([UUID, &device, "--key-file"]).arg(path("key")));
        Volume { dir, device }
    }

    fn key(&self) -> PathBuf {
        self.dir.path().join("key")
    }

    /// Installs a system on it, and passes it to the host, which boots it with `words` on the kernel's command line.
    fn leave(self, topic: &str, words: &str) {
        let root = self.dir.path().join("root");
        for dir in ["bin", "sbin", "etc", "dev", "proc", "sys", "run"] {
            fs::create_dir_all(root.join(dir)).unwrap();
        }
        fs::copy("/usr/bin/busybox", root.join("bin/busybox")).unwrap();
        fs::write(root.join("sbin/init"), include_str!("early_boot/init.sh")).unwrap();
        fs::set_permissions(root.join("sbin/init"), fs::Permissions::from_mode(0o755)).unwrap();
        // systemd does not switch to a root without this file.
        fs::write(root.join("etc/os-release"), "ID=test\n").unwrap();
        // Without udev nothing would answer device-mapper.
        let no_udev = |name: &str| {
            let mut command = stage::distribution_command(name);
            command.env("DM_DISABLE_UDEV", "1");
            command
        };
        let mut open = no_udev("cryptsetup");
        output::succeed(open.args(["open", &self.device, "volume", "--key-file"]).arg(self.key()));
        let mut format = Command::new("mkfs.ext4");
        output::succeed(format.args(["-q", "-d"]).arg(&root).arg("/dev/mapper/volume"));
        output::succeed(no_udev("cryptsetup").args(["close", "volume"]));
        output::succeed(Command::new("losetup").args(["--detach", &self.device]));
        let next = Path::new(NEXT);
        fs::create_dir(next).unwrap();
        fs::copy(directory(topic).join("initramfs"), next.join("initramfs")).unwrap();
        fs::copy(self.dir.path().join("disk"), next.join("disk")).unwrap();
        fs::write(next.join("words"), format!("root=/dev/mapper/volume rootfstype=ext4 {words}")).unwrap();
    }
}

/// A word of the command line that the kernel does not know and that has no dot becomes an environment variable of the
/// first process, which its children inherit.
fn clevis() {
    let volume = Volume::new();
    // The package of cracklib would have made this dictionary. The password that Clevis generates is looked up in it.
    fs::create_dir_all("/var/cache/cracklib").unwrap();
    let dictionary = "echo password | cracklib-packer /var/cache/cracklib/cracklib_dict";
    output::succeed(Command::new("sh").args(["-c", dictionary]));
    let mut bind = stage::command("clevis");
    bind.args(["luks", "bind", "-f", "-d", &volume.device, "-k"]).arg(volume.key()).args(["tpm2", "{}"]);
    output::succeed(&mut bind);
    let words = format!("TPM2TOOLS_TCTI={TCTI} {RECORD} {LOG} {LOGFILE}");
    volume.leave("initramfs", &words);
}

/// systemd 252 first uses a plugin of libcryptsetup, which looks only at the kernel's devices; the variable disables
/// it.
fn systemd() {
    let volume = Volume::new();
    let mut enroll = stage::command("systemd-cryptenroll");
    enroll.args(["--tpm2-device=/dev/tpmrm0", &volume.device]).env("PASSWORD", PASSWORD);
    output::succeed(&mut enroll);
    let variables = ["SYSTEMD_CRYPTSETUP_USE_TOKEN_MODULE=0", RECORD, LOG, LOGFILE]
        .map(|variable| format!("systemd.setenv={variable}"))
        .join(" ");
    // Dracut waits this long for the root, and does not start a shell then.
    let options = format!(
        "rd.luks.name={UUID}=volume rd.luks.options={UUID}=tpm2-device={TCTI},headless=true \
         rd.retry=300 rd.timeout=300 rd.shell=0 rd.emergency=poweroff"
    );
    volume.leave("dracut", &format!("{options} {variables}"));
}
