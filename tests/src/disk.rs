//! Disks that fill up, and synchronisations that fail: what a test needs to bring them about.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::nexus::{Nexus, TestNexus};

/// A small file system over a directory; it is unmounted when this is dropped.
#[derive(Debug)]
pub struct SmallDisk {
    directory: PathBuf,
}

impl SmallDisk {
    /// Mounts a tmpfs of this size, such as `16m`, over a directory, which is made; panics where that is not permitted.
    pub fn mount(directory: &Path, size: &str) -> SmallDisk {
        std::fs::create_dir_all(directory).expect("a directory");
        let mounted = Command::new("mount")
            .args([
                "-t",
                "tmpfs",
                "-o",
                &format!("size={size},mode=700"),
                "tmpfs",
            ])
            .arg(directory)
            .status()
            .expect("mount runs");
        assert!(
            mounted.success(),
            "this test has to mount a tmpfs: run it as root, in a container that may"
        );
        SmallDisk {
            directory: directory.to_owned(),
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // What still has files open keeps them until it ends.
        let _ = Command::new("umount")
            .arg("--lazy")
            .arg(&self.directory)
            .status();
    }
}

/// Fills the file system of a directory to the last byte; returns the file to remove.
pub fn fill(directory: &Path) -> PathBuf {
    let path = directory.join("ballast");
    let mut file = File::create(&path).expect("a file");
    // First in large pieces, then in ever smaller ones.
    for size in [1 << 20, 4096, 1] {
        let piece = vec![0; size];
        while file.write_all(&piece).is_ok() {}
    }
    path
}

impl Nexus {
    /// The same with libfiu loaded into it, which [`TestNexus::fail_fsync`] talks to; panics where it is not installed.
    #[must_use]
    pub fn with_failing_fsync(self) -> Nexus {
        let libraries = [
            "/usr/lib/fiu/fiu_run_preload.so",
            "/usr/lib/fiu/fiu_posix_preload.so",
        ];
        for library in libraries {
            assert!(
                Path::new(library).is_file(),
                "{library} is missing: apt-get install fiu-utils libfiu-dev"
            );
        }
        let fifo = self.data_dir().with_file_name("fiu").display().to_string();
        self.set("LD_PRELOAD", &libraries.join(" "))
            .set("FIU_CTRL_FIFO", &fifo)
    }
}

impl TestNexus {
    /// From now on every `fsync` and `fdatasync` fails with EIO, or none does any more.
    pub fn fail_fsync(&self, fail: bool) {
        for call in ["fsync", "fdatasync"] {
            let order = if fail {
                format!("enable name=posix/io/sync/{call},failinfo=5")
            } else {
                format!("disable name=posix/io/sync/{call}")
            };
            let done = Command::new("fiu-ctrl")
                .arg("-f")
                .arg(self.data_dir().with_file_name("fiu"))
                .args(["-c", &order, &self.pid().to_string()])
                .status()
                .expect("fiu-ctrl runs: apt-get install fiu-utils");
            assert!(done.success(), "fiu-ctrl {order}");
        }
    }
}
