//! The configuration and the state, as files.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::{PRODUCTS, both_refuse, documents_are_right, is_mended, shop};
use crate::harness::{Outcome, World};

/// Each place that reads the file refuses it alike.
#[track_caller]
fn all_refuse(world: &World, words: &[&str]) {
    both_refuse(world, 2, words);
    for args in [&["status", "--json"][..], &["teardown", "--yes"]] {
        world.tidemill(args).refused(2, words);
    }
}

/// A configuration with one thing replaced; then the right one works.
fn wrong_text(story: &str, from: &str, to: &str, words: &[&str]) {
    let world = shop(story);
    let path = world.dir.path().join("tidemill.yaml");
    let right = std::fs::read_to_string(&path).expect("written by the story");
    assert!(right.contains(from), "the story's text has no `{from}`");
    world.file("tidemill.yaml", right.replacen(from, to, 1));
    all_refuse(&world, words);
    world.file("tidemill.yaml", right);
    is_mended(&world);
    world.drop_slot();
}

#[test]
fn what_is_not_yaml() {
    wrong_text("not_yaml", "streams:", "streams: [", &["tidemill.yaml:", "YAML"]);
}

#[test]
fn an_unknown_key() {
    wrong_text("unknown_key", "    index: products", "    indx: products", &["tidemill.yaml:", "indx", "index"]);
    wrong_text("unknown_top", "state: ", "statte: ", &["tidemill.yaml:", "statte", "state"]);
}

#[test]
fn a_wrong_type() {
    let words = ["tidemill.yaml:", "streams[0].columns", "list", "text"];
    wrong_text("wrong_type", "columns: [name, price, in_stock]", "columns: name", &words);
    let words = ["tidemill.yaml:", "documents", "number"];
    wrong_text("wrong_number", "index: products", "index: products\n    batch: { documents: many }", &words);
}

#[test]
fn a_key_that_is_not_there_yet() {
    let words = ["tidemill.yaml:", "spill", "not there yet"];
    wrong_text("not_yet", "sink:", "  wal: { spill: 1GiB }\nsink:", &words);
}

#[test]
fn a_variable_that_is_not_set() {
    let mut world = shop("variable");
    world.config_with(&format!("url: {}", world.url()), "url: \"${TIDEMILL_TEST_SINK}\"", PRODUCTS);
    all_refuse(&world, &["tidemill.yaml:", "TIDEMILL_TEST_SINK", ":-|default|not set|unset"]);
    world.variables.push(("TIDEMILL_TEST_SINK", world.index.url.clone()));
    is_mended(&world);
    world.drop_slot();
}

#[test]
fn a_secret_file_that_is_not_there() {
    let world = shop("secret");
    let (before, place) = world.url().rsplit_once('@').map(|(a, b)| (a.to_owned(), b.to_owned())).expect("a password");
    let password = before.rsplit_once(':').expect("a password").1.to_owned();
    let source = format!("url: postgres://postgres@{place}\npassword: {{ file: secrets/pg }}");
    world.config_with(&source, &format!("url: {}", world.index.url), PRODUCTS);
    all_refuse(&world, &["tidemill.yaml:", "secrets/pg"]);
    std::fs::create_dir(world.dir.path().join("secrets")).expect("a folder");
    world.file("secrets/pg", password + "\n");
    is_mended(&world);
    world.drop_slot();
}

#[test]
fn a_file_that_is_not_there() {
    let world = shop("no_file");
    for args in [&["check"][..], &["run"], &["status"], &["teardown", "--yes"]] {
        Outcome::of(world.command_by("tidemil.yaml", args)).refused(2, &["tidemil.yaml", "--config|no such file"]);
    }
    is_mended(&world);
    world.drop_slot();
}

#[test]
fn a_port_in_use() {
    let world = shop("port");
    let holder = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = holder.local_addr().expect("bound").port().to_string();
    world.config(&format!("{PRODUCTS}\nhttp: {{ listen: 127.0.0.1:{port} }}"));
    let before = world.made();
    world.tidemill(&["run"]).refused(1, &[&port, "http.listen", "in use"]);
    assert_eq!(world.made(), before);
    drop(holder);
    is_mended(&world);
    world.drop_slot();
}

#[test]
fn a_file_that_is_no_state() {
    let world = shop("not_state");
    let notes = world.file("notes.txt", "these are my notes, and no database\n".repeat(100));
    let text = std::fs::read_to_string(world.dir.path().join("tidemill.yaml")).expect("written by the story");
    world.file("tidemill.yaml", text.replace("state: tidemill.db", "state: notes.txt"));
    both_refuse(&world, 1, &["notes.txt", "not a state file", "state:"]);
    let kept = std::fs::read_to_string(&notes).expect("still there");
    assert!(kept.starts_with("these are my notes") && kept.lines().count() == 100, "the file was touched");
    world.file("tidemill.yaml", text);
    is_mended(&world);
    world.drop_slot();
}

#[test]
fn a_folder_that_is_not_there() {
    let world = shop("no_folder");
    let text = std::fs::read_to_string(world.dir.path().join("tidemill.yaml")).expect("written by the story");
    world.file("tidemill.yaml", text.replace("state: tidemill.db", "state: var/lib/tidemill.db"));
    both_refuse(&world, 1, &["var/lib/tidemill.db", "folder", "state:"]);
    std::fs::create_dir_all(world.dir.path().join("var/lib")).expect("a folder");
    is_mended(&world);
    world.drop_slot();
}

/// A folder in which this user, root included, can make no file; and the guard that gives it back.
struct ReadOnly(PathBuf);

impl ReadOnly {
    fn find(world: &World) -> ReadOnly {
        if rustix::process::geteuid().is_root() {
            // Permissions do not bind root; the kernel's own file systems do.
            return ReadOnly("/sys".into());
        }
        let path = world.dir.path().join("locked");
        std::fs::create_dir(&path).expect("a folder");
        let locked = ReadOnly(path);
        locked.mode(0o555);
        locked
    }

    fn mode(&self, mode: u32) {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(&self.0, std::fs::Permissions::from_mode(mode)).expect("our own folder");
    }
}

impl Drop for ReadOnly {
    fn drop(&mut self) {
        if self.0.starts_with(std::env::temp_dir()) {
            self.mode(0o755);
        }
    }
}

#[test]
fn a_folder_that_is_read_only() {
    let world = shop("read_only");
    let locked = ReadOnly::find(&world);
    let state = locked.0.join("tidemill.db");
    let text = std::fs::read_to_string(world.dir.path().join("tidemill.yaml")).expect("written by the story");
    world.file("tidemill.yaml", text.replace("state: tidemill.db", &format!("state: {}", state.display())));
    both_refuse(&world, 1, &[&state.display().to_string(), "write|writable", "state:"]);
    world.file("tidemill.yaml", text);
    is_mended(&world);
    world.drop_slot();
}

/// The command, bound by permissions as everybody's is: of root the power to pass over them is taken.
fn bound_by_permissions(command: &Command) -> Command {
    let mut bound = Command::new(command.get_program());
    if rustix::process::geteuid().is_root() {
        bound = Command::new("setpriv");
        bound.args(["--bounding-set=-dac_override", "--inh-caps=-dac_override"]).arg(command.get_program());
    }
    bound.args(command.get_args()).env_remove("STATE_DIRECTORY").stdin(Stdio::null());
    bound
}

/// A state that was there and may only be read: no document is sent whose progress could not be kept.
#[test]
fn a_state_that_may_only_be_read() {
    use std::os::unix::fs::PermissionsExt as _;
    let world = shop("state_read_only");
    world.catch_up();
    let state = world.dir.path().join("tidemill.db");
    let mode = |mode| std::fs::set_permissions(&state, std::fs::Permissions::from_mode(mode)).expect("our own file");
    mode(0o444);
    world.sql.run("UPDATE products SET in_stock = true WHERE id = 2");
    let before = world.made();
    for args in [&["check"][..], &["run", "--until-caught-up"]] {
        let command = bound_by_permissions(&world.command(args));
        Outcome::of(command).refused(1, &["tidemill.db", "write|writable", "state:"]);
        assert_eq!(world.made(), before, "after {args:?}");
    }
    documents_are_right(&world);
    mode(0o644);
    world.catch_up();
    assert_eq!(world.documents("products").len(), 3);
    world.drop_slot();
}
