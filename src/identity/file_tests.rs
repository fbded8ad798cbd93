//! What `certs` writes, what is read back, and what is refused.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::Barrier;
use std::time::{Duration, SystemTime};

use super::*;

const DAY: Duration = Duration::from_secs(24 * 3600);

fn new() -> NewCertificate {
    NewCertificate { names: Vec::new(), days: DEFAULT_DAYS, now: SystemTime::now() }
}

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o7777
}

fn load_error(folder: &Path) -> String {
    Identity::load(folder, SystemTime::now()).unwrap_err().to_string()
}

#[test]
fn an_identity_is_written_and_read_back() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("a/certs");
    let made = Identity::create(&folder, &new(), false).unwrap();
    assert_eq!(mode(&folder.join(KEY_FILE)), 0o600);
    assert_eq!(mode(&folder), 0o700);
    let loaded = Identity::load(&folder, SystemTime::now()).unwrap();
    assert_eq!(loaded.pin(), made.pin());
    assert!(!format!("{loaded:?}").contains("PRIVATE"), "{loaded:?}");
    let mut left: Vec<_> =
        fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, [".gitignore", "cert.pem", "key.pem"]);
}

#[test]
fn nothing_is_overwritten_without_force() {
    let folder = tempfile::tempdir().unwrap();
    let first = Identity::create(folder.path(), &new(), false).unwrap();
    let error = Identity::create(folder.path(), &new(), false).unwrap_err().to_string();
    assert!(error.contains("key.pem exists already and is not overwritten"), "{error}");
    assert!(error.contains("or replace it"), "{error}");
    assert_eq!(Identity::load(folder.path(), SystemTime::now()).unwrap().pin(), first.pin());

    let second = Identity::create(folder.path(), &new(), true).unwrap();
    assert_ne!(second.pin(), first.pin());
    assert_eq!(Identity::load(folder.path(), SystemTime::now()).unwrap().pin(), second.pin());
    assert_eq!(mode(&folder.path().join(KEY_FILE)), 0o600);
}

#[test]
fn force_replaces_a_link_and_not_what_it_points_to() {
    let folder = tempfile::tempdir().unwrap();
    let other = folder.path().join("other");
    fs::write(&other, "precious").unwrap();
    let certs = folder.path().join("certs");
    fs::create_dir(&certs).unwrap();
    symlink(&other, certs.join(KEY_FILE)).unwrap();
    assert!(Identity::create(&certs, &new(), false).is_err());
    Identity::create(&certs, &new(), true).unwrap();
    assert_eq!(fs::read_to_string(&other).unwrap(), "precious");
}

#[test]
fn an_identity_is_made_once() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("certs");
    let barrier = Barrier::new(4);
    let made: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    barrier.wait();
                    Identity::load_or_create(&folder, &new()).unwrap()
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(made.iter().filter(|(_, origin)| *origin == Origin::Created).count(), 1);
    assert!(made.iter().all(|(identity, _)| identity.pin() == made[0].0.pin()));
}

#[test]
fn what_a_crash_left_is_cleared_away() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(".key.pem.new"), "half").unwrap();
    Identity::create(folder.path(), &new(), false).unwrap();
    assert!(!folder.path().join(".key.pem.new").exists());
    assert!(Identity::load(folder.path(), SystemTime::now()).is_ok());
}

#[test]
fn a_folder_in_the_place_of_the_key_is_told_as_one() {
    let folder = tempfile::tempdir().unwrap();
    Identity::create(folder.path(), &new(), false).unwrap();
    fs::remove_file(folder.path().join(KEY_FILE)).unwrap();
    fs::create_dir(folder.path().join(KEY_FILE)).unwrap();
    let error = Identity::load(folder.path(), SystemTime::now()).unwrap_err().to_string();
    assert!(error.contains("directory") && !error.contains("chmod"), "{error}");
}

#[test]
fn half_an_identity_is_refused_by_name() {
    let empty = tempfile::tempdir().unwrap();
    let error = load_error(empty.path());
    assert!(
        error.contains("there is no identity in") && error.contains("make one there"),
        "{error}"
    );
    assert_eq!(
        load_error(&empty.path().join("none")),
        error.replace(
            &empty.path().display().to_string(),
            &empty.path().join("none").display().to_string()
        )
    );

    for (removed, kept) in [(CERTIFICATE_FILE, KEY_FILE), (KEY_FILE, CERTIFICATE_FILE)] {
        let folder = tempfile::tempdir().unwrap();
        Identity::create(folder.path(), &new(), false).unwrap();
        fs::remove_file(folder.path().join(removed)).unwrap();
        let error = load_error(folder.path());
        let expected = format!(
            "{} is there but {} is missing",
            folder.path().join(kept).display(),
            folder.path().join(removed).display()
        );
        assert!(
            error.contains(&expected) && error.contains("make a new identity there"),
            "{error}"
        );
        // Making one where half is there would leave the other half behind.
        let error = Identity::load_or_create(folder.path(), &new()).unwrap_err().to_string();
        assert!(error.contains(&expected), "{error}");
    }
}

#[test]
fn a_key_that_others_can_read_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    Identity::create(folder.path(), &new(), false).unwrap();
    let key = folder.path().join(KEY_FILE);
    for bits in [0o640, 0o604, 0o620] {
        fs::set_permissions(&key, fs::Permissions::from_mode(bits)).unwrap();
        let error = load_error(folder.path());
        assert!(error.contains(&format!("(mode {bits:04o})")), "{error}");
        assert!(error.contains(if bits == 0o604 {
            "other users can read"
        } else {
            "the group can "
        }));
        assert!(error.contains(&format!("chmod 600 {}", key.display())), "{error}");
    }
    fs::set_permissions(&key, fs::Permissions::from_mode(0o400)).unwrap();
    assert!(Identity::load(folder.path(), SystemTime::now()).is_ok());
}

#[test]
fn damaged_files_are_named_and_never_quoted() {
    let folder = tempfile::tempdir().unwrap();
    Identity::create(folder.path(), &new(), false).unwrap();
    for file in [CERTIFICATE_FILE, KEY_FILE] {
        let path = folder.path().join(file);
        let whole = fs::read_to_string(&path).unwrap();
        let line = whole.lines().nth(1).unwrap();
        for (text, expected) in [
            (String::new(), "nothing of the kind in it"),
            ("hello".to_owned(), "nothing of the kind in it"),
            (whole[..whole.len() / 2].to_owned(), "it is cut off"),
            (whole.replacen(line, &format!("!{}", &line[1..]), 1), "it is damaged"),
            ("x".repeat(300_000), "is larger than 262144 bytes"),
        ] {
            fs::write(&path, text).unwrap();
            let error = load_error(folder.path());
            assert!(error.contains(file) && error.contains(expected), "{error}");
            assert!(!error.contains(&line[10..30]), "{error}");
        }
        fs::write(&path, whole).unwrap();
    }
    // PEM around bytes that are no certificate.
    let pem = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    fs::write(folder.path().join(CERTIFICATE_FILE), pem).unwrap();
    assert!(
        load_error(folder.path()).contains("make a new identity there"),
        "{}",
        load_error(folder.path())
    );
}

#[test]
fn a_key_of_another_certificate_is_refused() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    Identity::create(one.path(), &new(), false).unwrap();
    Identity::create(two.path(), &new(), false).unwrap();
    fs::copy(two.path().join(KEY_FILE), one.path().join(KEY_FILE)).unwrap();
    let error = load_error(one.path());
    assert!(
        error.contains("do not fit together") && error.contains("make a new identity there"),
        "{error}"
    );
}

#[test]
fn a_certificate_out_of_its_time_is_used_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let now = SystemTime::UNIX_EPOCH + 21_000 * DAY;
    let made = NewCertificate { names: Vec::new(), days: 10, now };
    let identity = Identity::create(folder.path(), &made, false).unwrap();
    assert_eq!(identity.valid_until(), "2027-07-11");
    for at in [now, now + 11 * DAY, now + 10_000 * DAY, SystemTime::UNIX_EPOCH] {
        assert_eq!(Identity::load(folder.path(), at).unwrap().pin(), identity.pin());
    }
}

#[test]
fn a_certificate_outlives_the_clock_that_it_was_made_by() {
    let second = Duration::from_secs(1);
    for (now, until) in [
        (SystemTime::UNIX_EPOCH, "2125-12-08"),
        (SystemTime::UNIX_EPOCH + 12 * second, "2125-12-08"),
        // 2000-01-01.
        (SystemTime::UNIX_EPOCH + 10_957 * DAY, "2125-12-08"),
        (SystemTime::UNIX_EPOCH + 21_000 * DAY, "2127-06-07"),
        // 9999-12-30: X.509 has no later year.
        (SystemTime::UNIX_EPOCH + 2_932_895 * DAY, "9999-12-31"),
    ] {
        let new = NewCertificate { now, ..new() };
        let identity = Identity::generate(&new).unwrap();
        assert_eq!(identity.valid_until(), until);
        let leaf = &identity.chain()[0];
        for at in [SystemTime::UNIX_EPOCH, now, SystemTime::now()] {
            assert_eq!(validity::check(leaf, validity::unix_time(at)), Ok(()), "{at:?}");
        }
        let is_wrong = now < SystemTime::UNIX_EPOCH + 20_000 * DAY;
        assert_eq!(new.clock_remark().is_some(), is_wrong);
    }
    let wrong = NewCertificate { now: SystemTime::UNIX_EPOCH + 90 * second, ..new() };
    let remark = wrong.clock_remark().unwrap();
    assert!(remark.contains("clock says 1970-01-01 00:01:30 UTC, which is wrong"), "{remark}");
}

#[test]
fn impossible_certificates_leave_nothing_behind() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("certs");
    for (names, days, expected) in [
        (vec!["two words".to_owned()], 1, "\"two words\" is neither a host name nor"),
        (vec![String::new()], 1, "\"\" is neither a host name nor"),
        (vec!["a".to_owned(); 101], 1, "101 names are too many"),
        (vec![], 0, "cannot be valid for 0 days, but for 1 to 36500"),
        (vec![], 36_501, "cannot be valid for 36501 days"),
    ] {
        let made = NewCertificate { names, days, now: SystemTime::now() };
        let error = Identity::create(&folder, &made, false).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        assert!(!folder.exists());
    }
    let century = NewCertificate { days: MAX_DAYS, ..new() };
    assert!(Identity::generate(&century).unwrap().valid_until().starts_with("21"));
}

#[test]
fn a_folder_that_is_a_file_is_named() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("certs");
    fs::write(&path, "").unwrap();
    let error = Identity::create(&path, &new(), false).unwrap_err().to_string();
    assert!(error.contains(&format!("cannot create the folder {}", path.display())), "{error}");
}
