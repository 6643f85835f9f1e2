//! Compiled components are kept; whatever could have been changed by another, or was damaged, is compiled anew.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use tidemill_stage::{Cache, Engine, Plugin};

use crate::harness::component;

struct Kept {
    folder: TempDir,
}

impl Kept {
    fn new() -> Kept {
        let kept = Kept { folder: tempfile::tempdir().unwrap() };
        assert!(kept.is_compiled(), "nothing is kept yet");
        assert!(!kept.is_compiled(), "it was kept");
        kept
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("tidemill/components")
    }

    fn file(&self) -> PathBuf {
        let files: Vec<PathBuf> = fs::read_dir(self.path()).unwrap().map(|file| file.unwrap().path()).collect();
        let [file] = &files[..] else { panic!("{files:?}") };
        file.clone()
    }

    /// Loads the component with an engine of its own, as another process would. It has to work either way.
    fn is_compiled(&self) -> bool {
        let engine = Engine::new().unwrap().with_cache(Cache::open(&self.path()).unwrap());
        let plugin = Plugin::load(&engine, "select", &component("shipped", "select")).unwrap();
        plugin.was_compiled()
    }

    fn compiled_anew_once(&self) {
        assert!(self.is_compiled(), "the kept file was used");
        assert!(!self.is_compiled(), "the new one was not kept");
    }
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn what_was_compiled_is_read_back_and_only_we_can_write_it() {
    let kept = Kept::new();
    assert_eq!(fs::metadata(kept.path()).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(fs::metadata(kept.file()).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_file_cut_anywhere_is_noticed() {
    let kept = Kept::new();
    let whole = fs::read(kept.file()).unwrap();
    for length in [0, 1, 31, 32, 33, whole.len() / 2, whole.len() - 1] {
        fs::write(kept.file(), &whole[..length]).unwrap();
        kept.compiled_anew_once();
    }
}

#[test]
fn a_changed_byte_is_noticed() {
    let kept = Kept::new();
    let whole = fs::read(kept.file()).unwrap();
    for place in [0, 40, whole.len() / 2, whole.len() - 1] {
        let mut bytes = whole.clone();
        bytes[place] ^= 1;
        fs::write(kept.file(), bytes).unwrap();
        kept.compiled_anew_once();
    }
}

#[test]
fn code_under_another_components_name_is_noticed() {
    let kept = Kept::new();
    let engine = Engine::new().unwrap().with_cache(Cache::open(&kept.path()).unwrap());
    let own = kept.file();
    Plugin::load(&engine, "hostile", &component("fixtures", "hostile")).unwrap();
    let files = fs::read_dir(kept.path()).unwrap().map(|file| file.unwrap().path());
    let other = files.into_iter().find(|file| *file != own).unwrap();
    fs::rename(other, own).unwrap();
    kept.compiled_anew_once();
}

#[test]
fn a_file_that_others_could_have_written_is_not_used() {
    let kept = Kept::new();
    mode(&kept.file(), 0o660);
    kept.compiled_anew_once();
}

#[test]
fn a_link_is_not_followed() {
    let kept = Kept::new();
    let elsewhere = kept.folder.path().join("elsewhere");
    fs::rename(kept.file(), &elsewhere).unwrap();
    let name = kept.path();
    let engine = Engine::new().unwrap().with_cache(Cache::open(&name).unwrap());
    Plugin::load(&engine, "select", &component("shipped", "select")).unwrap();
    let file = kept.file();
    fs::remove_file(&file).unwrap();
    symlink(&elsewhere, &file).unwrap();
    kept.compiled_anew_once();
    assert!(!fs::symlink_metadata(&file).unwrap().is_symlink());

    fs::hard_link(&file, kept.folder.path().join("second name")).unwrap();
    kept.compiled_anew_once();
}

#[test]
fn a_folder_that_others_can_write_is_refused() {
    let kept = Kept::new();
    mode(&kept.path(), 0o770);
    let why = Cache::open(&kept.path()).unwrap_err();
    assert!(why.contains("is open to others: its mode is 770"), "{why}");

    let link = kept.folder.path().join("link");
    mode(&kept.path(), 0o700);
    symlink(kept.path(), &link).unwrap();
    let why = Cache::open(&link).unwrap_err();
    assert!(why.contains("is no folder of our own"), "{why}");

    let file = kept.folder.path().join("file");
    fs::write(&file, "").unwrap();
    let why = Cache::open(&file).unwrap_err();
    assert!(why.contains("is no folder of our own"), "{why}");
}

#[test]
fn a_folder_that_cannot_be_written_costs_only_time() {
    let kept = Kept::new();
    let open = Cache::open(&kept.path()).unwrap();
    fs::remove_dir_all(kept.path()).unwrap();
    let engine = Engine::new().unwrap().with_cache(open);
    let plugin = Plugin::load(&engine, "select", &component("shipped", "select")).unwrap();
    assert!(plugin.was_compiled());
}
