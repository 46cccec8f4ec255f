//! Single transfers with the calls that every kernel has, to their end: what was done in part is gone on with.

use std::fs::File;
use std::io::{self, IoSlice};
use std::os::unix::fs::FileExt as _;

use super::WritePart;

/// What every Linux takes in one call.
pub(super) const GATHERED_MAX: usize = 1024;

/// Reads from `done` bytes of the buffer on until it is full.
pub(super) fn read(file: &File, offset_bytes: u64, buffer: &mut [u8], done: usize, unit: usize) -> io::Result<()> {
    read_with(|part, offset| file.read_at(part, offset), offset_bytes, buffer, done, unit)
}

/// Writes from `done` bytes of the data on until all is written.
pub(super) fn write(file: &File, offset_bytes: u64, data: &[u8], done: usize, unit: usize) -> io::Result<()> {
    write_with(|part, offset| file.write_at(part, offset), offset_bytes, data, done, unit)
}

/// Writes parts that follow each other on the medium, with as few calls as the kernel allows.
pub(super) fn write_gathered(file: &File, parts: &[WritePart<'_>], unit: usize) -> io::Result<()> {
    for parts in parts.chunks(GATHERED_MAX) {
        let slices: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part.data)).collect();
        let done = match rustix::io::pwritev(file, &slices, parts[0].offset_bytes) {
            Ok(count) => count,
            Err(rustix::io::Errno::INTR) => 0,
            Err(error) => return Err(error.into()),
        };
        write_rest(file, parts.iter().map(|part| (part.offset_bytes, part.data)), done, unit)?;
    }
    Ok(())
}

/// Writes what is left of parts that follow each other, of which so much is written.
pub(super) fn write_rest<'a>(
    file: &File,
    parts: impl Iterator<Item = (u64, &'a [u8])>,
    mut done: usize,
    unit: usize,
) -> io::Result<()> {
    for (offset_bytes, data) in parts {
        let of_part = done.min(data.len());
        write(file, offset_bytes, data, of_part, unit)?;
        done -= of_part;
    }
    Ok(())
}

/// A call that moves a part says how much, which direct I/O goes on with at a whole `unit` only: what is beyond it is moved again.
fn read_with(
    call: impl Fn(&mut [u8], u64) -> io::Result<usize>,
    offset_bytes: u64,
    buffer: &mut [u8],
    done: usize,
    unit: usize,
) -> io::Result<()> {
    let len = buffer.len();
    let mut done = if done < len { done - done % unit } else { done };
    while done < len {
        match call(&mut buffer[done..], offset_bytes + number(done)) {
            Ok(count) if done + count >= len => done = len,
            // Less than a unit is what is left before the end.
            Ok(count) if count < unit => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => done += count - count % unit,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn write_with(
    call: impl Fn(&[u8], u64) -> io::Result<usize>,
    offset_bytes: u64,
    data: &[u8],
    done: usize,
    unit: usize,
) -> io::Result<()> {
    let mut done = if done < data.len() { done - done % unit } else { done };
    while done < data.len() {
        match call(&data[done..], offset_bytes + number(done)) {
            Ok(count) if done + count >= data.len() => done = data.len(),
            Ok(count) if count < unit => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => done += count - count % unit,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn number(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    const CONTENT: [u8; 4096] = {
        let mut content = [0; 4096];
        let mut at = 0;
        while at < content.len() {
            content[at] = (at / 7 % 251).to_le_bytes()[0];
            at += 1;
        }
        content
    };

    /// Reads as a medium with `CONTENT` does that never moves more than `most` bytes, and is interrupted each second time.
    fn reluctantly(most: usize) -> impl Fn(&mut [u8], u64) -> io::Result<usize> {
        let calls = RefCell::new(0);
        move |part, offset| {
            *calls.borrow_mut() += 1;
            if *calls.borrow() % 2 == 0 {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let from = usize::try_from(offset).unwrap();
            let count = most.min(part.len()).min(CONTENT.len() - from);
            part[..count].copy_from_slice(&CONTENT[from..from + count]);
            Ok(count)
        }
    }

    #[test]
    fn what_is_read_in_part_is_gone_on_with() {
        for (unit, most) in [(1, 1), (1, 1000), (512, 512), (512, 700), (512, 4096)] {
            let mut buffer = [0; 3072];
            read_with(reluctantly(most), 512, &mut buffer, 0, unit).unwrap();
            assert_eq!(buffer, CONTENT[512..3584], "{unit} {most}");
            // The kernel may have moved a part before, not in whole units.
            buffer[1000..].fill(0);
            read_with(reluctantly(most), 512, &mut buffer, 1000, unit).unwrap();
            assert_eq!(buffer, CONTENT[512..3584], "{unit} {most}");
        }
        let mut beyond = [0; 1024];
        let error = read_with(reluctantly(4096), 3584, &mut beyond, 0, 512).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn what_is_written_in_part_is_gone_on_with() {
        for (unit, most) in [(1, 1), (1, 1000), (512, 512), (512, 700)] {
            let written = RefCell::new([0; 4096]);
            let call = |part: &[u8], offset: u64| {
                let (from, count) = (usize::try_from(offset).unwrap(), most.min(part.len()));
                written.borrow_mut()[from..from + count].copy_from_slice(&part[..count]);
                Ok(count)
            };
            write_with(call, 512, &CONTENT[..2048], 0, unit).unwrap();
            assert_eq!(written.borrow()[512..2560], CONTENT[..2048], "{unit} {most}");
        }
        let stuck = write_with(|_, _| Ok(0), 0, &CONTENT, 0, 1).unwrap_err();
        assert_eq!(stuck.kind(), io::ErrorKind::WriteZero);
    }

    #[test]
    fn errors_are_passed_on() {
        let full = |_: &[u8], _| Err(io::ErrorKind::StorageFull.into());
        assert_eq!(write_with(full, 0, &CONTENT, 0, 1).unwrap_err().kind(), io::ErrorKind::StorageFull);
        let bad = |_: &mut [u8], _| Err(io::Error::from_raw_os_error(5));
        assert_eq!(read_with(bad, 0, &mut [0; 512], 0, 1).unwrap_err().raw_os_error(), Some(5));
    }
}
