//! Compiled components, kept from one start to the next: a Python component takes half a minute to compile, and milliseconds to
//! read back.
//!
//! A kept file is machine code that this process will run, so wasmtime's checks are not enough. Invariant, held by this module
//! alone: what is handed to `Component::deserialize` comes from a file that nobody but our user can have written (its folder
//! and itself are ours, 0700 and 0600, no links), and is byte for byte what was written. All else is compiled anew.
#![expect(unsafe_code, reason = "wasmtime cannot know where precompiled code comes from; `read` does")]

use std::fmt::Write as _;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Read, Write as _};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::SystemTime;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags};
use sha2::{Digest, Sha256};
use wasmtime::component::Component;

/// Past so many bytes, what was not used for longest makes room.
const BYTES_MAX: u64 = 1 << 30;
/// A file is the digest of what follows, then the code.
const DIGEST_BYTES: usize = 32;
/// The end of the name of each file.
const ENDING: &str = ".cwasm";

/// A folder of compiled components that only our user can write.
#[derive(Debug)]
pub struct Cache {
    folder: OwnedFd,
}

/// What a compiled component is kept under: another component, another version or setting of the compiler, or another kind of
/// processor is another name.
pub(crate) struct Key {
    name: String,
}

impl Key {
    pub(crate) fn new(sha256: &str, engine: &wasmtime::Engine) -> Key {
        let mut hasher = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        Key { name: format!("{sha256}-{:016x}{ENDING}", hasher.finish()) }
    }
}

impl Cache {
    /// Makes the folder when it is missing. An error says why it is not to be used.
    pub fn open(path: &Path) -> Result<Cache, String> {
        let shown = path.display();
        fs::create_dir_all(path.parent().unwrap_or(path))
            .map_err(|error| format!("{shown} cannot be made: {error}"))?;
        match rustix::fs::mkdirat(CWD, path, Mode::RWXU) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(error) => return Err(format!("{shown} cannot be made: {error}")),
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let folder = rustix::fs::openat(CWD, path, flags, Mode::empty())
            .map_err(|error| format!("{shown} is no folder of our own: {error}"))?;
        let stat = rustix::fs::fstat(&folder).map_err(|error| format!("{shown} cannot be looked at: {error}"))?;
        ours(&stat, FileType::Directory).map_err(|why| format!("{shown} {why}"))?;
        Ok(Cache { folder })
    }

    /// The component as it was compiled before; `None` where it was not, or where the file is not to be trusted.
    pub(crate) fn read(&self, key: &Key, engine: &wasmtime::Engine) -> Option<Component> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = rustix::fs::openat(&self.folder, &key.name, flags, Mode::empty()).ok()?;
        ours(&rustix::fs::fstat(&file).ok()?, FileType::RegularFile).ok()?;
        let mut file = File::from(file);
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).ok()?;
        let (digest, code) = bytes.split_at_checked(DIGEST_BYTES)?;
        if digest != key.digest(code) {
            return None;
        }
        // What was used last stays longest. A file system that cannot say so only keeps the wrong ones.
        let _ = file.set_modified(SystemTime::now());
        // SAFETY: `code` is what `keep` wrote for this key, in a file that only our user can have written, in a folder that only
        // our user can have changed; wasmtime itself refuses another version's or other settings' code.
        unsafe { Component::deserialize(engine, code) }.ok()
    }

    /// Keeps a component for the next start. It appears under its name as a whole or not at all.
    pub(crate) fn keep(&self, key: &Key, component: &Component) -> io::Result<()> {
        let code = component.serialize().map_err(io::Error::other)?;
        self.make_room(code.len() as u64)?;
        let nanos = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_nanos());
        let unfinished = format!("{}.{}.{nanos}", key.name, std::process::id());
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let written = (|| {
            let file = rustix::fs::openat(&self.folder, &unfinished, flags, Mode::RUSR | Mode::WUSR)?;
            let mut file = File::from(file);
            file.write_all(&key.digest(&code))?;
            file.write_all(&code)?;
            rustix::fs::renameat(&self.folder, &unfinished, &self.folder, &key.name)?;
            Ok(())
        })();
        if written.is_err() {
            let _ = rustix::fs::unlinkat(&self.folder, &unfinished, AtFlags::empty());
        }
        written
    }

    fn make_room(&self, bytes: u64) -> io::Result<()> {
        let mut files = Vec::new();
        for entry in rustix::fs::Dir::read_from(&self.folder)? {
            let entry = entry?;
            let name = entry.file_name().to_owned();
            let Ok(stat) = rustix::fs::statat(&self.folder, name.as_c_str(), AtFlags::SYMLINK_NOFOLLOW) else {
                continue;
            };
            if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile {
                files.push((stat.st_mtime, stat.st_size as u64, name));
            }
        }
        files.sort();
        let mut all = bytes + files.iter().map(|(_, size, _)| size).sum::<u64>();
        for (_, size, name) in files {
            if all <= BYTES_MAX {
                break;
            }
            rustix::fs::unlinkat(&self.folder, name, AtFlags::empty())?;
            all -= size;
        }
        Ok(())
    }
}

impl Key {
    /// Of the name too, so that a file under another's name is not taken for it.
    fn digest(&self, code: &[u8]) -> [u8; DIGEST_BYTES] {
        Sha256::new().chain_update(&self.name).chain_update(code).finalize().into()
    }
}

/// Says why somebody else could have written it.
fn ours(stat: &rustix::fs::Stat, kind: FileType) -> Result<(), String> {
    let mut why = String::new();
    if FileType::from_raw_mode(stat.st_mode) != kind {
        why.push_str("is of another kind");
    } else if stat.st_uid != rustix::process::geteuid().as_raw() {
        let _ = write!(why, "belongs to user {}", stat.st_uid);
    } else if stat.st_mode & 0o077 != 0 {
        let _ = write!(why, "is open to others: its mode is {:03o}", stat.st_mode & 0o777);
    } else if kind == FileType::RegularFile && stat.st_nlink != 1 {
        why.push_str("has a second name");
    }
    if why.is_empty() { Ok(()) } else { Err(why) }
}
