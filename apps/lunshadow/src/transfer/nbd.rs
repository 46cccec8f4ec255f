//! A LUN as a network block device on a socket in a private folder, for `qemu-img` on the same machine: it reads and writes image
//! formats, and has what lies in between as blocks (<https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md>).
//!
//! One client, whose requests are answered one after the other. Reads come back in structured replies where the client wants them, and then
//! it may ask which blocks are stored, so that it passes over the others.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use lunshadow_lun::{BlockCount, LOGICAL_BLOCK_BYTES, Lba, LunError, LunHandle, PHYSICAL_BLOCK_BYTES};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufStream};
use tokio::net::{UnixListener, UnixStream};

const GREETING: u64 = 0x4e42_444d_4147_4943;
const OPTION: u64 = 0x4948_4156_454f_5054;
const OPTION_REPLY: u64 = 0x0003_e889_0455_65a9;
const REQUEST: u32 = 0x2560_9513;
const SIMPLE_REPLY: u32 = 0x6744_6698;
const STRUCTURED_REPLY: u32 = 0x668e_33ef;

/// FIXED_NEWSTYLE and NO_ZEROES.
const HANDSHAKE_FLAGS: u16 = 0b11;
/// HAS_FLAGS and SEND_FLUSH.
const TRANSMISSION_FLAGS: u16 = 0b101;

const OPT_EXPORT_NAME: u32 = 1;
const OPT_ABORT: u32 = 2;
const OPT_INFO: u32 = 6;
const OPT_GO: u32 = 7;
const OPT_STRUCTURED_REPLY: u32 = 8;
const OPT_SET_META_CONTEXT: u32 = 10;
const REP_ACK: u32 = 1;
const REP_INFO: u32 = 3;
const REP_META_CONTEXT: u32 = 4;
const REP_ERR_UNSUP: u32 = 0x8000_0001;
const INFO_EXPORT: u16 = 0;
const INFO_BLOCK_SIZE: u16 = 3;

const CMD_READ: u16 = 0;
const CMD_WRITE: u16 = 1;
const CMD_DISC: u16 = 2;
const CMD_FLUSH: u16 = 3;
const CMD_BLOCK_STATUS: u16 = 7;
const CHUNK_OFFSET_DATA: u16 = 1;
const CHUNK_BLOCK_STATUS: u16 = 5;
const CHUNK_ERROR: u16 = 0x8001;
/// DONE: the last chunk of a reply.
const CHUNK_DONE: u16 = 1;
/// HOLE and ZERO.
const STATE_HOLE: u32 = 0b11;

const EIO: u32 = 5;
const EINVAL: u32 = 22;
const ENOSPC: u32 = 28;

/// The longest option and the longest data of one request that are taken.
const OPTION_BYTES_MAX: u32 = 64 << 10;
const DATA_BYTES_MAX: u32 = 4 << 20;

const ALLOCATION: &[u8] = b"base:allocation";
const ALLOCATION_ID: u32 = 1;

/// What a device has been asked for.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// The end of what was read or written farthest, in bytes.
    pub(crate) reached_bytes: AtomicU64,
    /// Why the LUN failed, if it did; the client hears a number only.
    pub(crate) failure: Mutex<Option<String>>,
}

/// Serves the LUN on this socket to clients that come one after the other, for ever.
///
/// # Errors
/// If the socket cannot be made, or nobody can be accepted on it.
pub(crate) async fn serve(lun: LunHandle, socket: &Path, seen: Arc<Seen>) -> io::Result<()> {
    let listener = UnixListener::bind(socket)?;
    loop {
        let (stream, _) = listener.accept().await?;
        let connection =
            Connection { stream: BufStream::new(stream), lun: lun.clone(), seen: Arc::clone(&seen), structured: false };
        // A client that breaks off is none that has to be told; it says itself what went wrong.
        if let Err(error) = connection.run().await {
            tracing::debug!(%error, "a block device's client broke off");
        }
    }
}

struct Connection {
    stream: BufStream<UnixStream>,
    lun: LunHandle,
    seen: Arc<Seen>,
    structured: bool,
}

struct Asked {
    cookie: u64,
    offset: u64,
    len: u32,
}

fn malformed(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

impl Connection {
    async fn run(mut self) -> io::Result<()> {
        self.stream.write_u64(GREETING).await?;
        self.stream.write_u64(OPTION).await?;
        self.stream.write_u16(HANDSHAKE_FLAGS).await?;
        self.stream.flush().await?;
        let flags = self.stream.read_u32().await?;
        while !self.option(flags).await? {}
        while self.request().await? {}
        Ok(())
    }

    fn len_bytes(&self) -> u64 {
        self.lun.block_count().bytes()
    }

    /// Answers an option. True if requests come next.
    async fn option(&mut self, client_flags: u32) -> io::Result<bool> {
        if self.stream.read_u64().await? != OPTION {
            return Err(malformed("not an option"));
        }
        let (option, len) = (self.stream.read_u32().await?, self.stream.read_u32().await?);
        if len > OPTION_BYTES_MAX {
            return Err(malformed("a long option"));
        }
        let mut data = vec![0; usize::try_from(len).unwrap_or(usize::MAX)];
        self.stream.read_exact(&mut data).await?;
        match option {
            OPT_EXPORT_NAME => {
                self.stream.write_u64(self.len_bytes()).await?;
                self.stream.write_u16(TRANSMISSION_FLAGS).await?;
                if client_flags & u32::from(HANDSHAKE_FLAGS) & 0b10 == 0 {
                    self.stream.write_all(&[0; 124]).await?;
                }
                self.stream.flush().await?;
                return Ok(true);
            }
            OPT_GO | OPT_INFO => {
                let mut export = INFO_EXPORT.to_be_bytes().to_vec();
                export.extend(self.len_bytes().to_be_bytes());
                export.extend(TRANSMISSION_FLAGS.to_be_bytes());
                self.reply(option, REP_INFO, &export).await?;
                let mut sizes = INFO_BLOCK_SIZE.to_be_bytes().to_vec();
                for size in [LOGICAL_BLOCK_BYTES, PHYSICAL_BLOCK_BYTES, DATA_BYTES_MAX] {
                    sizes.extend(size.to_be_bytes());
                }
                self.reply(option, REP_INFO, &sizes).await?;
                self.reply(option, REP_ACK, &[]).await?;
            }
            OPT_STRUCTURED_REPLY => {
                self.structured = true;
                self.reply(option, REP_ACK, &[]).await?;
            }
            OPT_SET_META_CONTEXT => {
                if data.windows(ALLOCATION.len()).any(|part| part == ALLOCATION) {
                    let mut context = ALLOCATION_ID.to_be_bytes().to_vec();
                    context.extend(ALLOCATION);
                    self.reply(option, REP_META_CONTEXT, &context).await?;
                }
                self.reply(option, REP_ACK, &[]).await?;
            }
            OPT_ABORT => {
                self.reply(option, REP_ACK, &[]).await?;
                return Err(malformed("the client wants nothing"));
            }
            _ => self.reply(option, REP_ERR_UNSUP, &[]).await?,
        }
        Ok(option == OPT_GO)
    }

    async fn reply(&mut self, option: u32, kind: u32, data: &[u8]) -> io::Result<()> {
        self.stream.write_u64(OPTION_REPLY).await?;
        self.stream.write_u32(option).await?;
        self.stream.write_u32(kind).await?;
        self.stream.write_u32(u32::try_from(data.len()).expect("a short reply")).await?;
        self.stream.write_all(data).await?;
        self.stream.flush().await
    }

    /// Answers a request. False if the client has gone.
    async fn request(&mut self) -> io::Result<bool> {
        if self.stream.read_u32().await? != REQUEST {
            return Err(malformed("not a request"));
        }
        let _flags = self.stream.read_u16().await?;
        let kind = self.stream.read_u16().await?;
        let (cookie, offset) = (self.stream.read_u64().await?, self.stream.read_u64().await?);
        let asked = Asked { cookie, offset, len: self.stream.read_u32().await? };
        match kind {
            CMD_DISC => return Ok(false),
            CMD_WRITE => {
                if asked.len > DATA_BYTES_MAX {
                    return Err(malformed("a long write"));
                }
                let mut data = vec![0; usize::try_from(asked.len).unwrap_or(usize::MAX)];
                self.stream.read_exact(&mut data).await?;
                let written = match place(&asked) {
                    Some((at, _)) => self.lun.write(at, Bytes::from(data)).await.map_err(|error| self.failed(&error)),
                    None => Err(EINVAL),
                };
                self.simple(&asked, written).await?;
            }
            CMD_READ => self.read(&asked).await?,
            CMD_FLUSH => {
                let flushed = self.lun.flush().await.map_err(|error| self.failed(&error));
                self.simple(&asked, flushed).await?;
            }
            CMD_BLOCK_STATUS if self.structured => self.block_status(&asked).await?,
            _ => self.simple(&asked, Err(EINVAL)).await?,
        }
        self.stream.flush().await?;
        self.seen.reached_bytes.fetch_max(asked.offset.saturating_add(asked.len.into()), Ordering::Relaxed);
        Ok(true)
    }

    async fn read(&mut self, asked: &Asked) -> io::Result<()> {
        let content = match place(asked).filter(|_| asked.len <= DATA_BYTES_MAX) {
            Some((at, count)) => self.lun.read(at, count).await.map_err(|error| self.failed(&error)),
            None => Err(EINVAL),
        };
        match content {
            Ok(content) if self.structured => {
                self.chunk(asked, CHUNK_OFFSET_DATA, 8 + asked.len).await?;
                self.stream.write_u64(asked.offset).await?;
                self.stream.write_all(&content).await
            }
            Err(code) if self.structured => self.error_chunk(asked, code).await,
            Ok(content) => {
                self.simple(asked, Ok(())).await?;
                self.stream.write_all(&content).await
            }
            Err(code) => self.simple(asked, Err(code)).await,
        }
    }

    async fn block_status(&mut self, asked: &Asked) -> io::Result<()> {
        let found = match place(asked) {
            Some((at, count)) => self.lun.extent(at, count).await.map_err(|error| self.failed(&error)),
            None => Err(EINVAL),
        };
        match found {
            Ok(extent) => {
                self.chunk(asked, CHUNK_BLOCK_STATUS, 12).await?;
                self.stream.write_u32(ALLOCATION_ID).await?;
                // Not more than was asked for, which fits.
                self.stream.write_u32(u32::try_from(extent.count.bytes()).unwrap_or(asked.len)).await?;
                self.stream.write_u32(if extent.mapped { 0 } else { STATE_HOLE }).await
            }
            Err(code) => self.error_chunk(asked, code).await,
        }
    }

    async fn simple(&mut self, asked: &Asked, done: Result<(), u32>) -> io::Result<()> {
        self.stream.write_u32(SIMPLE_REPLY).await?;
        self.stream.write_u32(done.err().unwrap_or(0)).await?;
        self.stream.write_u64(asked.cookie).await
    }

    async fn chunk(&mut self, asked: &Asked, kind: u16, len: u32) -> io::Result<()> {
        self.stream.write_u32(STRUCTURED_REPLY).await?;
        self.stream.write_u16(CHUNK_DONE).await?;
        self.stream.write_u16(kind).await?;
        self.stream.write_u64(asked.cookie).await?;
        self.stream.write_u32(len).await
    }

    async fn error_chunk(&mut self, asked: &Asked, code: u32) -> io::Result<()> {
        self.chunk(asked, CHUNK_ERROR, 6).await?;
        self.stream.write_u32(code).await?;
        self.stream.write_u16(0).await
    }

    /// The number that the client gets, after the words are noted.
    fn failed(&self, error: &LunError) -> u32 {
        self.seen.failure.lock().get_or_insert_with(|| match error {
            // What lies behind it says more.
            LunError::Io(cause) => cause.to_string(),
            error => error.to_string(),
        });
        match error {
            LunError::OutOfSpace => ENOSPC,
            LunError::OutOfRange { .. } | LunError::NotWholeBlocks { .. } => EINVAL,
            LunError::Damaged { .. } | LunError::Poisoned | LunError::Gone | LunError::ReadOnly | LunError::Io(_) => {
                EIO
            }
        }
    }
}

/// The blocks of a request, if it is about whole ones.
fn place(asked: &Asked) -> Option<(Lba, BlockCount)> {
    let at = BlockCount::from_bytes(asked.offset)?;
    let count = BlockCount::from_bytes(asked.len.into()).filter(|count| count.0 > 0)?;
    Some((Lba(at.0), count))
}
