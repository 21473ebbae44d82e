// SPDX-License-Identifier: Apache-2.0 OR MIT

use super::*;
use crate::monitor::Silent;

/// Creates a cache with this maximum size in bytes.
fn cache(limit: u64) -> (tempfile::TempDir, Cache) {
    let dir = tempfile::tempdir().unwrap();
    let mut cache = Cache::open_at(dir.path().join("cache")).unwrap();
    cache.limit = limit;
    (dir, cache)
}

/// Creates an image of 64 KiB whose last use was `age` seconds ago. Returns the entry's lock.
fn add_image(cache: &Cache, key: &str, age: u64) -> EntryLock {
    let path = cache.entry_path("images", key);
    fs::create_dir(&path).unwrap();
    fs::write(path.join("kernel"), vec![1; 64 << 10]).unwrap();
    let lock = cache.lock("images", key, LockMode::Shared, &mut Silent).unwrap();
    lock.record_size(disk_usage(&path));
    let last_used = SystemTime::now() - Duration::from_secs(age);
    lock.file().unwrap().set_modified(last_used).unwrap();
    lock
}

/// Releases a lock. Drop is not enough: a child that another test has just forked holds a copy of
/// the descriptor until exec.
fn release_lock(lock: EntryLock) {
    lock.file().unwrap().unlock().unwrap();
}

#[test]
fn eviction_removes_the_least_recently_used_and_keeps_locked_entries() {
    let (_dir, cache) = cache(150 << 10);
    let lock_of_oldest = add_image(&cache, "a", 300);
    release_lock(add_image(&cache, "b", 200));
    release_lock(add_image(&cache, "c", 100));
    cache.evict();
    assert!(cache.entry_path("images", "a").exists(), "locked");
    assert!(!cache.entry_path("images", "b").exists(), "least recently used");
    assert!(cache.entry_path("images", "c").exists());
    assert!(!cache.lock_path("images", "b").exists());
    release_lock(lock_of_oldest);
    release_lock(add_image(&cache, "d", 0));
    cache.evict();
    assert!(!cache.entry_path("images", "a").exists());
}

#[test]
fn eviction_covers_all_folders_and_keeps_unfinished_bisections() {
    let (_dir, cache) = cache(0);
    fs::write(cache.entry_path("guests", "init"), [1; 4096]).unwrap();
    for (folder, key) in
        [("toolchains", "rust"), ("bisections", "finished"), ("bisections", "unfinished")]
    {
        fs::create_dir(cache.entry_path(folder, key)).unwrap();
        fs::write(cache.entry_path(folder, key).join("file"), [1; 4096]).unwrap();
    }
    let state = |over: bool| serde_json::json!({ "over": over, "steps": [] });
    cache.write_record("bisections", "finished/state.json", &state(true)).unwrap();
    cache.write_record("bisections", "unfinished/state.json", &state(false)).unwrap();
    let lock = cache.lock("guests", "init", LockMode::Shared, &mut Silent).unwrap();
    cache.evict();
    assert!(cache.entry_path("guests", "init").exists(), "locked");
    assert!(!cache.entry_path("toolchains", "rust").exists());
    assert!(!cache.entry_path("bisections", "finished").exists());
    assert!(cache.entry_path("bisections", "unfinished").exists());
    release_lock(lock);
    cache.evict();
    assert!(!cache.entry_path("guests", "init").exists());
}

#[test]
fn an_interrupt_ends_the_wait_for_a_lock_and_shared_locks_coexist() {
    let (_dir, cache) = cache(SIZE_LIMIT);
    let lock = cache.lock("slots", "x", LockMode::Exclusive, &mut Silent).unwrap();
    let mut interrupted = crate::monitor::tests::Interrupted::new();
    let error = cache.lock("slots", "x", LockMode::Shared, &mut interrupted).unwrap_err();
    assert_eq!(error.fault(), crate::Fault::Interrupted);
    release_lock(lock);
    let first = cache.lock("slots", "x", LockMode::Shared, &mut interrupted).unwrap();
    let second = cache.lock("slots", "x", LockMode::Shared, &mut interrupted).unwrap();
    drop((first, second));
}

#[test]
fn damaged_records_count_as_missing() {
    let (_dir, cache) = cache(SIZE_LIMIT);
    cache.write_record("recipes", "k", &vec![1, 2]).unwrap();
    assert_eq!(cache.read_record::<Vec<i32>>("recipes", "k"), Some(vec![1, 2]));
    fs::write(cache.entry_path("recipes", "k"), "[1,").unwrap();
    assert_eq!(cache.read_record::<Vec<i32>>("recipes", "k"), None);
    assert_eq!(fs::read_dir(cache.root().join("tmp")).unwrap().count(), 0);
}

#[test]
fn an_unwritable_directory_is_the_machines_fault() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let error = Cache::open_at(file.join("cache")).unwrap_err();
    assert_eq!(error.fault(), crate::Fault::Machine);
    assert!(error.to_string().contains("cache"), "{error}");
}

#[test]
fn a_full_disk_is_reported_as_such() {
    // Every write to /dev/full fails with ENOSPC.
    let error = fs::write("/dev/full", "x").context("write", Path::new("/dev/full"));
    let error = error.unwrap_err();
    assert_eq!(error.fault(), crate::Fault::Machine);
    assert!(error.to_string().starts_with("the disk is full"), "{error}");
}

#[test]
fn the_size_file_of_a_slot_is_not_waited_for_followed_or_believed() {
    let (dir, cache) = cache(u64::MAX);
    let slot = |key: &str| {
        let slot = cache.entry_path("sources", key).join("sudbox-slot");
        fs::create_dir_all(&slot).unwrap();
        slot.join(SLOT_SIZE_FILE_NAME)
    };
    let (kind, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU);
    rustix::fs::mknodat(rustix::fs::CWD, slot("fifo"), kind, mode, 0).unwrap();
    let size_file = dir.path().join("size");
    fs::write(&size_file, "500000000").unwrap();
    std::os::unix::fs::symlink(&size_file, slot("link")).unwrap();
    std::os::unix::fs::symlink("/dev/zero", slot("zero")).unwrap();
    fs::write(slot("large"), u64::MAX.to_string()).unwrap();
    fs::write(slot("true"), "700000000").unwrap();
    // A reader that opened the FIFO without NONBLOCK would wait for ever.
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || sender.send(cache.entries()));
    let entries = receiver.recv_timeout(Duration::from_secs(2)).expect("entries() waits");
    for entry in entries {
        assert_eq!(entry.bytes >= 500_000_000, entry.key == "true", "{entry:?}");
    }
}
