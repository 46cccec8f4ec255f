//! An array without room: a LUN of it is written to until the pool takes no more.

use std::time::{Duration, Instant};

use super::{ArraySide, Host};

/// The host that writes, and its LUN, which is longer than the pool is large.
const FILLER: &str = "filler";
const FILLER_MEBIBYTES: u64 = 1024;

const MEBIBYTE: usize = 1 << 20;

/// With less room an array has none for a shadow copy, and with as much as this it has some for what tests do.
const NO_ROOM_BYTES: u64 = 4 << 20;
const ROOM_BYTES: u64 = 32 << 20;

/// How long the space of a LUN may take to come back after it was deleted.
const COMES_BACK_WITHIN: Duration = Duration::from_secs(60);

/// Writes until the array has no room.
///
/// # Panics
/// If it refuses writes while it has room.
pub fn fill(array: &ArraySide) {
    drain(array);
    let _enrolment = array.add_host(FILLER, None);
    let lun = array.add_lun(FILLER, FILLER_MEBIBYTES, FILLER);
    let host = Host::log_in(FILLER, array.portal()).expect("the array lets the host in");
    let disk = host.disk(&host.device_of(lun));
    let content = vec![0xf1; MEBIBYTE];
    let refused = (0..FILLER_MEBIBYTES).find_map(|at| disk.write_at(at * MEBIBYTE as u64, &content).err());
    let refused = refused.expect("the pool is smaller than the LUN");
    let room_bytes = array.room_bytes();
    assert!(room_bytes < NO_ROOM_BYTES, "with room for {room_bytes} bytes the array refused a write: {refused}");
}

/// Deletes what [`fill`] has written, if it has, and waits until there is room again.
///
/// # Panics
/// If there is none.
pub fn drain(array: &ArraySide) {
    if array.has_lun(FILLER) {
        array.delete_lun(FILLER);
    }
    let until = Instant::now() + COMES_BACK_WITHIN;
    while array.room_bytes() < ROOM_BYTES {
        assert!(Instant::now() < until, "the space does not come back");
        std::thread::yield_now();
    }
}
