//! The files of a volume as the kernel's FUSE asks for them.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{
    AccessFlags, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, IoctlFlags,
    LockOwner, OpenAccMode, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty,
    ReplyEntry, ReplyIoctl, ReplyLseek, ReplyOpen, ReplyStatfs, ReplyWrite, ReplyXattr, Request, TimeOrNow, WriteFlags,
};
use lunshadow_coordinator::disk::{Attributes, FileError, FileKind, FileNumber, VolumeFiles};
use rustix::process::{getgid, getuid};

/// How long the kernel may rely on what it was told. Nothing changes, so it is as long as it likes.
const VALID_FOR: Duration = Duration::from_secs(24 * 60 * 60);

/// How many entries of a directory are asked for at once. The kernel takes as many as fit a page or a few.
const LISTED_AT_ONCE: usize = 512;

/// The longest names: 255 characters of NTFS and FAT have up to three bytes each here.
const NAME_LEN_MAX_BYTES: u32 = 765;

/// How much is read at once with advantage.
const READ_BYTES: u32 = 128 * 1024;

/// A volume behind a mount. The kernel refers to the files that are in its own caches, which take more memory for each than is taken here, and lets
/// go of them when memory is short. It is read-only: whatever would change something is refused, although a mount that says so is hardly asked.
pub(super) struct MountedFiles {
    files: Arc<VolumeFiles>,
    /// Whom files belong to that belong to nobody in their file system.
    owner: (u32, u32),
}

impl MountedFiles {
    pub(super) fn new(files: Arc<VolumeFiles>) -> Self {
        Self { files, owner: (getuid().as_raw(), getgid().as_raw()) }
    }

    fn attr(&self, number: FileNumber, attributes: &Attributes) -> FileAttr {
        let kind = file_type(attributes.kind);
        // Who may log in to the LUN may read all of it, so permissions are there to be seen.
        let default_mode = if kind == FileType::Directory { 0o555 } else { 0o444 };
        let (uid, gid) = attributes.owner.unwrap_or(self.owner);
        let time = |time: Option<SystemTime>| time.or(attributes.modified).unwrap_or(UNIX_EPOCH);
        FileAttr {
            ino: INodeNo(number.0),
            size: attributes.len_bytes,
            blocks: attributes.len_bytes.div_ceil(512),
            atime: time(attributes.accessed),
            mtime: time(attributes.modified),
            ctime: time(attributes.changed),
            crtime: UNIX_EPOCH,
            kind,
            perm: attributes.mode.unwrap_or(default_mode),
            nlink: attributes.links,
            uid,
            gid,
            rdev: 0,
            blksize: READ_BYTES,
            flags: 0,
        }
    }

    /// Fills a reply with entries from the one at `offset` on, of which the first two are the directory itself and what contains it.
    fn fill(&self, directory: INodeNo, mut offset: u64, reply: &mut ReplyDirectory) -> Result<(), FileError> {
        const OWN: [&str; 2] = [".", ".."];
        while let Some(name) = usize::try_from(offset).ok().and_then(|index| OWN.get(index)) {
            offset += 1;
            if reply.add(directory, offset, FileType::Directory, name) {
                return Ok(());
            }
        }
        for entry in self.files.list(FileNumber(directory.0), offset - 2, LISTED_AT_ONCE)? {
            offset += 1;
            let name = OsStr::from_bytes(&entry.name);
            if reply.add(INodeNo(entry.number.0), offset, file_type(entry.kind), name) {
                break;
            }
        }
        Ok(())
    }
}

fn file_type(kind: FileKind) -> FileType {
    match kind {
        FileKind::File => FileType::RegularFile,
        FileKind::Directory => FileType::Directory,
        FileKind::Link => FileType::Symlink,
        FileKind::NamedPipe => FileType::NamedPipe,
        FileKind::CharacterDevice => FileType::CharDevice,
        FileKind::BlockDevice => FileType::BlockDevice,
        FileKind::Socket => FileType::Socket,
    }
}

fn errno(error: &FileError) -> Errno {
    match error {
        FileError::Disk(_) | FileError::Damaged(_) | FileError::Closed => Errno::EIO,
        FileError::Unread(_) => Errno::EOPNOTSUPP,
        FileError::WrongKind => Errno::EINVAL,
        FileError::Unknown => Errno::ESTALE,
    }
}

impl Filesystem for MountedFiles {
    fn lookup(&self, _request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.files.look_up(FileNumber(parent.0), name.as_bytes()) {
            Ok(Some((number, attributes))) => {
                reply.entry(&VALID_FOR, &self.attr(number, &attributes), Generation(0));
            }
            Ok(None) => reply.error(Errno::ENOENT),
            Err(error) => reply.error(errno(&error)),
        }
    }

    fn forget(&self, _request: &Request, file: INodeNo, count: u64) {
        self.files.forget(FileNumber(file.0), count);
    }

    fn getattr(&self, _request: &Request, file: INodeNo, _handle: Option<FileHandle>, reply: ReplyAttr) {
        let number = FileNumber(file.0);
        match self.files.attributes(number) {
            Ok(attributes) => reply.attr(&VALID_FOR, &self.attr(number, &attributes)),
            Err(error) => reply.error(errno(&error)),
        }
    }

    fn readlink(&self, _request: &Request, link: INodeNo, reply: ReplyData) {
        match self.files.target(FileNumber(link.0)) {
            Ok(target) => reply.data(&target),
            Err(error) => reply.error(errno(&error)),
        }
    }

    fn open(&self, _request: &Request, file: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        if flags.acc_mode() != OpenAccMode::O_RDONLY {
            return reply.error(Errno::EROFS);
        }
        match self.files.open_file(FileNumber(file.0)) {
            Ok(()) => reply.opened(FileHandle(0), FopenFlags::FOPEN_KEEP_CACHE),
            Err(error) => reply.error(errno(&error)),
        }
    }

    fn read(
        &self,
        _request: &Request,
        file: INodeNo,
        _handle: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        match self.files.read(FileNumber(file.0), offset, size) {
            Ok(bytes) => reply.data(&bytes),
            Err(error) => reply.error(errno(&error)),
        }
    }

    fn flush(&self, _request: &Request, _file: INodeNo, _handle: FileHandle, _owner: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(&self, _request: &Request, _file: INodeNo, _handle: FileHandle, _data_only: bool, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsyncdir(&self, _request: &Request, _file: INodeNo, _handle: FileHandle, _data_only: bool, reply: ReplyEmpty) {
        reply.ok();
    }

    fn opendir(&self, _request: &Request, _directory: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(0), FopenFlags::FOPEN_KEEP_CACHE | FopenFlags::FOPEN_CACHE_DIR);
    }

    fn readdir(
        &self,
        _request: &Request,
        directory: INodeNo,
        _handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        match self.fill(directory, offset, &mut reply) {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(errno(&error)),
        }
    }

    fn statfs(&self, _request: &Request, _file: INodeNo, reply: ReplyStatfs) {
        match self.files.space() {
            Ok(space) => reply.statfs(
                space.blocks,
                space.free_blocks,
                space.free_blocks,
                space.files,
                space.free_files,
                space.block_bytes,
                NAME_LEN_MAX_BYTES,
                space.block_bytes,
            ),
            Err(error) => reply.error(errno(&error)),
        }
    }

    fn access(&self, _request: &Request, _file: INodeNo, mask: AccessFlags, reply: ReplyEmpty) {
        if mask.contains(AccessFlags::W_OK) { reply.error(Errno::EROFS) } else { reply.ok() }
    }

    // Said once, so that the kernel does without from then on.

    fn getxattr(&self, _request: &Request, _file: INodeNo, _name: &OsStr, _size: u32, reply: ReplyXattr) {
        reply.error(Errno::ENOSYS);
    }

    fn listxattr(&self, _request: &Request, _file: INodeNo, _size: u32, reply: ReplyXattr) {
        reply.error(Errno::ENOSYS);
    }

    fn lseek(
        &self,
        _request: &Request,
        _file: INodeNo,
        _handle: FileHandle,
        _offset: i64,
        _whence: i32,
        reply: ReplyLseek,
    ) {
        reply.error(Errno::ENOSYS);
    }

    fn ioctl(
        &self,
        _request: &Request,
        _file: INodeNo,
        _handle: FileHandle,
        _flags: IoctlFlags,
        _command: u32,
        _data: &[u8],
        _size: u32,
        reply: ReplyIoctl,
    ) {
        reply.error(Errno::ENOTTY);
    }

    // What would change something, if somebody has mounted it anew for writing.

    fn setattr(
        &self,
        _request: &Request,
        _file: INodeNo,
        _mode: Option<u32>,
        _uid: Option<u32>,
        _gid: Option<u32>,
        _size: Option<u64>,
        _atime: Option<TimeOrNow>,
        _mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _handle: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<fuser::BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        reply.error(Errno::EROFS);
    }

    fn mknod(
        &self,
        _request: &Request,
        _parent: INodeNo,
        _name: &OsStr,
        _mode: u32,
        _umask: u32,
        _device: u32,
        reply: ReplyEntry,
    ) {
        reply.error(Errno::EROFS);
    }

    fn mkdir(&self, _request: &Request, _parent: INodeNo, _name: &OsStr, _mode: u32, _umask: u32, reply: ReplyEntry) {
        reply.error(Errno::EROFS);
    }

    fn unlink(&self, _request: &Request, _parent: INodeNo, _name: &OsStr, reply: ReplyEmpty) {
        reply.error(Errno::EROFS);
    }

    fn rmdir(&self, _request: &Request, _parent: INodeNo, _name: &OsStr, reply: ReplyEmpty) {
        reply.error(Errno::EROFS);
    }

    fn symlink(&self, _request: &Request, _parent: INodeNo, _name: &OsStr, _target: &Path, reply: ReplyEntry) {
        reply.error(Errno::EROFS);
    }

    fn rename(
        &self,
        _request: &Request,
        _parent: INodeNo,
        _name: &OsStr,
        _new_parent: INodeNo,
        _new_name: &OsStr,
        _flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        reply.error(Errno::EROFS);
    }

    fn link(&self, _request: &Request, _file: INodeNo, _new_parent: INodeNo, _new_name: &OsStr, reply: ReplyEntry) {
        reply.error(Errno::EROFS);
    }

    fn create(
        &self,
        _request: &Request,
        _parent: INodeNo,
        _name: &OsStr,
        _mode: u32,
        _umask: u32,
        _flags: i32,
        reply: ReplyCreate,
    ) {
        reply.error(Errno::EROFS);
    }

    fn write(
        &self,
        _request: &Request,
        _file: INodeNo,
        _handle: FileHandle,
        _offset: u64,
        _data: &[u8],
        _write_flags: WriteFlags,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        reply.error(Errno::EROFS);
    }

    fn fallocate(
        &self,
        _request: &Request,
        _file: INodeNo,
        _handle: FileHandle,
        _offset: u64,
        _length: u64,
        _mode: i32,
        reply: ReplyEmpty,
    ) {
        reply.error(Errno::EROFS);
    }

    fn setxattr(
        &self,
        _request: &Request,
        _file: INodeNo,
        _name: &OsStr,
        _value: &[u8],
        _flags: i32,
        _position: u32,
        reply: ReplyEmpty,
    ) {
        reply.error(Errno::EROFS);
    }

    fn removexattr(&self, _request: &Request, _file: INodeNo, _name: &OsStr, reply: ReplyEmpty) {
        reply.error(Errno::EROFS);
    }
}
