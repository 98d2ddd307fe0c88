//! A new generation begins whole or not at all, wherever it is killed.

use super::*;
use bannkreis_core::command::LEVEL;
use bannkreis_core::ids::Position;
use bannkreis_core::settings::Settings;

fn list(generation: u32) -> BanList {
    let mut list = BanList::new(Settings::at_birth([5; 16]));
    list.skip(Position { generation, index: 40 });
    list
}

/// A node of generation 1 with a log and a snapshot, as far as files go.
fn old_life(dir: &Path) -> Identity {
    let born = Identity { stage: Stage::Member, ..Identity::founding().unwrap() };
    born.write(dir).unwrap();
    fs::create_dir(dir.join(RAFT_DIR)).unwrap();
    fs::write(dir.join(RAFT_DIR).join("old"), "log").unwrap();
    let meta =
        SnapshotMeta { last_log_id: Some(first_log_id(&list(1), born.node)), ..SnapshotMeta::default() };
    snapshot::write(&dir.join(SNAPSHOTS_DIR), 1, &meta, &list(1)).unwrap();
    born
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn is_old(dir: &Path, born: &Identity) -> bool {
    Identity::read(dir).unwrap() == Some(*born)
        && dir.join(RAFT_DIR).join("old").exists()
        && snapshot::newest(&dir.join(SNAPSHOTS_DIR), 2, LEVEL).unwrap().is_none()
}

fn is_new(dir: &Path, next: &Identity) -> bool {
    let newest = snapshot::newest(&dir.join(SNAPSHOTS_DIR), 2, LEVEL).unwrap();
    Identity::read(dir).unwrap() == Some(*next)
        && !dir.join(RAFT_DIR).exists()
        && archive(dir, next.node).join(RAFT_DIR).join("old").exists()
        && archive(dir, next.node).join(IDENTITY_FILE).exists()
        && newest.is_some_and(|(_, header, list)| header.index == 40 && list.position().generation == 2)
}

#[test]
fn wherever_it_is_killed_the_next_start_has_one_life_or_the_other() {
    let place = tempfile::tempdir().unwrap();
    let dir = place.path().join("state");
    fs::create_dir(&dir).unwrap();
    let born = old_life(&dir);
    let next = identity_for(born.cluster, 2).unwrap();

    // Nothing but a part of the next life.
    fs::create_dir(dir.join(NEXT_DIR)).unwrap();
    fs::write(dir.join(NEXT_DIR).join("part"), "of it").unwrap();
    finish_generation(&dir).unwrap();
    assert!(is_old(&dir, &born) && !dir.join(NEXT_DIR).exists());

    // All of it but the identity.
    begin_generation(&dir, &next, &list(2), "kopano:7420", "kopano").unwrap();
    let begun = place.path().join("begun");
    copy(&dir, &begun);
    born.write(&begun).unwrap();
    finish_generation(&begun).unwrap();
    assert!(is_old(&begun, &born));

    // Each step that follows, done or not.
    for n_done in 0..5 {
        let here = place.path().join(format!("killed-{n_done}"));
        copy(&dir, &here);
        let archive = archive(&here, next.node);
        let steps: [&dyn Fn(); 4] = [
            &|| fs::create_dir(&archive).unwrap(),
            &|| fs::rename(here.join(RAFT_DIR), archive.join(RAFT_DIR)).unwrap(),
            &|| fs::rename(here.join(SNAPSHOTS_DIR), archive.join(SNAPSHOTS_DIR)).unwrap(),
            &|| {
                let next = here.join(NEXT_DIR);
                fs::rename(next.join(IDENTITY_FILE), archive.join(IDENTITY_FILE)).unwrap();
                fs::rename(next.join(SNAPSHOTS_DIR), here.join(SNAPSHOTS_DIR)).unwrap();
            },
        ];
        steps.iter().take(n_done).for_each(|step| step());
        finish_generation(&here).unwrap();
        assert!(is_new(&here, &next), "{n_done} steps were done");
        // And once more, for a start that is killed later.
        finish_generation(&here).unwrap();
        assert!(is_new(&here, &next) && !here.join(NEXT_DIR).exists());
    }
}

#[test]
fn of_former_lives_the_newest_are_kept() {
    let place = tempfile::tempdir().unwrap();
    for n in 0..ARCHIVES_MAX + 2 {
        let former = place.path().join(format!("{ARCHIVE_PREFIX}{n}"));
        fs::create_dir(&former).unwrap();
        let at = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(n as u64);
        File::open(&former).unwrap().set_modified(at).unwrap();
    }
    fs::create_dir(place.path().join("lost-1")).unwrap();
    forget_oldest(place.path(), ARCHIVE_PREFIX);
    assert!(!place.path().join("before-0").exists() && !place.path().join("before-1").exists());
    assert!(place.path().join("before-2").exists() && place.path().join("lost-1").exists());
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), ARCHIVES_MAX + 1);
}
