//! A medium with a pool of more than 10 TiB of mapped data that nobody has to write: its pages are made when they are read, from
//! `docs/format.md`. Every LUN has pages of its own; the data is zeros.
//!
//! Where things lie, by the place in a region: data of three leaves from 512 on, these leaves at 16, 17 and 18, their second copies at 32, 33
//! and 34, a page of level 1 at 48 and 49, a root at 52 and 53, and the four places of a page of the table of LUNs from 56 on.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Mutex;

use lunshadow_store::Media;

pub(crate) const BLOCK: usize = 4096;
const LOG_BLOCKS: u64 = 2040;
/// A multiple of the length of a region, so that places in regions are the low bits of block numbers.
const DATA_START: u64 = 8 + LOG_BLOCKS;
const REGION: u64 = 2048;
const LEAVES_PER_REGION: u64 = 3;
/// All LUNs but the last have so many pages of level 1, of 256 leaves each: 128 GiB.
const PAGES_PER_LUN: u64 = 256;
const FULL_LUNS: u64 = 80;
/// The last one has 8 GiB, so that it can be given back in a moment.
const PAGES_OF_LAST: u64 = 16;
const PAGES: u64 = FULL_LUNS * PAGES_PER_LUN + PAGES_OF_LAST;
const LEAVES: u64 = PAGES * 256;
const REGIONS: u64 = LEAVES.div_ceil(LEAVES_PER_REGION);
/// Of the table of LUNs; the page of the index that leads to them lies in the region behind them.
const TABLE_PAGES: u64 = LUNS.div_ceil(32);

pub(crate) const LUNS: u64 = FULL_LUNS + 1;
/// The bytes of LUNs that refer to a block of their own.
pub(crate) const MAPPED_BYTES: u64 = LEAVES * (2 << 20);

type Block = [u8; BLOCK];

/// Of a region: how many leaves it has, and whether it has a page of level 1, a root, a page of the table.
type Kind = (u64, bool, bool, bool);

fn check_of(content: &[u8]) -> u64 {
    u64::from(crc32c::crc32c(content) & 0x0fff_ffff)
}

fn entry(block: u64, check: u64) -> u64 {
    block << 28 | check
}

fn place(region: u64, at: u64) -> u64 {
    DATA_START + region * REGION + at
}

fn put(block: &mut Block, offset: usize, value: u64) {
    block[offset..offset + 8].copy_from_slice(&value.to_le_bytes());
}

fn index(number: u64) -> usize {
    usize::try_from(number).expect("numbers here are small")
}

pub(crate) fn lun_id(lun: u64) -> u128 {
    u128::from(lun) + 1
}

pub(crate) fn lun_bytes(lun: u64) -> u64 {
    (if lun < FULL_LUNS { PAGES_PER_LUN } else { PAGES_OF_LAST }) * (512 << 20)
}

fn leaf_block(leaf: u64) -> u64 {
    place(leaf / LEAVES_PER_REGION, 16 + leaf % LEAVES_PER_REGION)
}

fn data_block(leaf: u64) -> u64 {
    place(leaf / LEAVES_PER_REGION, 512 * (1 + leaf % LEAVES_PER_REGION))
}

/// See the module.
pub(crate) struct Synthetic {
    zeros_check: u64,
    /// The check of a leaf whose data begins at block 0, and what each bit of that number changes in it: a CRC is linear.
    leaf_check: u64,
    leaf_check_bits: Vec<u64>,
    page_checks: Vec<u64>,
    counts_checks: HashMap<Kind, u64>,
    /// Of the pages of level 1 of the index of regions.
    index_checks: Vec<u64>,
    /// What was written, and the place of each block in the file.
    written: Mutex<HashMap<u64, u64>>,
    file: File,
}

impl Synthetic {
    pub(crate) fn new() -> io::Result<Self> {
        let mut synthetic = Self {
            zeros_check: check_of(&[0; BLOCK]),
            leaf_check: 0,
            leaf_check_bits: Vec::new(),
            page_checks: Vec::new(),
            counts_checks: HashMap::new(),
            index_checks: Vec::new(),
            written: Mutex::default(),
            file: tempfile::tempfile()?,
        };
        synthetic.leaf_check = check_of(&synthetic.leaf_from(0));
        let nothing = check_of(&[0; BLOCK]);
        synthetic.leaf_check_bits = (0..36)
            .map(|bit| {
                let mut content = [0; BLOCK];
                (0..512).for_each(|at| put(&mut content, at * 8, 1 << (28 + bit)));
                check_of(&content) ^ nothing
            })
            .collect();
        synthetic.page_checks = (0..PAGES).map(|page| check_of(&synthetic.page(page))).collect();
        for leaves in 1..=LEAVES_PER_REGION {
            for at_most in 0..=3 {
                let kind = (leaves, at_most > 0, at_most > 1, at_most > 2);
                synthetic.counts_checks.insert(kind, check_of(&Self::counts_of(kind)));
            }
        }
        let pages = 0..REGIONS.div_ceil(512);
        synthetic.index_checks = pages.map(|page| check_of(&synthetic.regions_index(1, page))).collect();
        Ok(synthetic)
    }

    fn leaf_from(&self, data: u64) -> Block {
        let mut content = [0; BLOCK];
        for at in 0..512 {
            put(&mut content, index(at) * 8, entry(data | at, self.zeros_check));
        }
        content
    }

    fn check_of_leaf(&self, leaf: u64) -> u64 {
        let data = data_block(leaf);
        let bits = self.leaf_check_bits.iter().enumerate().filter(|(bit, _)| data >> bit & 1 == 1);
        bits.fold(self.leaf_check, |check, (_, change)| check ^ change)
    }

    /// A page of level 1.
    fn page(&self, page: u64) -> Block {
        let mut content = [0; BLOCK];
        for at in 0..256 {
            let leaf = page * 256 + at;
            let (block, check) = (leaf_block(leaf), self.check_of_leaf(leaf));
            put(&mut content, index(at) * 16, entry(block, check));
            put(&mut content, index(at) * 16 + 8, entry(block + 16, check));
        }
        content
    }

    fn root(&self, lun: u64) -> Block {
        let mut content = [0; BLOCK];
        let first = lun * PAGES_PER_LUN;
        for page in first..(first + PAGES_PER_LUN).min(PAGES) {
            let (block, check) = (place(page, 48), self.page_checks[index(page)]);
            put(&mut content, index(page - first) * 16, entry(block, check));
            put(&mut content, index(page - first) * 16 + 8, entry(block + 1, check));
        }
        content
    }

    fn counts_of((leaves, has_page, has_root, has_table): Kind) -> Block {
        let mut content = [0; BLOCK];
        let mut count = |at: u64| content[index(at) * 2] = 1;
        for leaf in 0..leaves {
            [16, 32].into_iter().for_each(|copy| count(copy + leaf));
            (0..512).for_each(|at| count(512 * (1 + leaf) + at));
        }
        [48, 49].into_iter().filter(|_| has_page).for_each(&mut count);
        [52, 53].into_iter().filter(|_| has_root).for_each(&mut count);
        (56..60).filter(|_| has_table).for_each(&mut count);
        content
    }

    fn kind_of_region(region: u64) -> Kind {
        let leaves = (LEAVES - region * LEAVES_PER_REGION).min(LEAVES_PER_REGION);
        (leaves, region < PAGES, region < LUNS, region <= TABLE_PAGES)
    }

    /// A page of the index of regions: level 1 refers to counts, level 2 to level 1.
    fn regions_index(&self, level: u8, number: u64) -> Block {
        let mut content = [0; BLOCK];
        let count = if level == 1 { REGIONS } else { REGIONS.div_ceil(512) };
        for child in number * 512..(number * 512 + 512).min(count) {
            let raw = match level {
                1 => entry(place(child, 0), self.counts_checks[&Self::kind_of_region(child)]),
                _ => entry(place(child * 512, 2), self.index_checks[index(child)]),
            };
            put(&mut content, index(child % 512) * 8, raw);
        }
        content
    }

    fn table_page(&self, page: u64) -> Block {
        let mut content = [0; BLOCK];
        for lun in page * 32..(page * 32 + 32).min(LUNS) {
            let record = index(lun % 32) * 128;
            let check = check_of(&self.root(lun));
            (content[record], content[record + 1]) = (1, 3);
            put(&mut content, record + 8, lun_bytes(lun) / 512);
            content[record + 16..record + 32].copy_from_slice(&lun_id(lun).to_le_bytes());
            put(&mut content, record + 64, entry(place(lun, 52), check));
            put(&mut content, record + 72, lun_bytes(lun) / 4096);
            put(&mut content, record + 88, entry(place(lun, 53), check));
        }
        content
    }

    /// The page of the index that refers to the pages of the table.
    fn table_index(&self) -> Block {
        let mut content = [0; BLOCK];
        for page in 0..TABLE_PAGES {
            Self::put_site(&mut content, index(page) * 32, page, check_of(&self.table_page(page)));
        }
        content
    }

    fn table_root(&self) -> Block {
        let mut content = [0; BLOCK];
        Self::put_site(&mut content, 0, TABLE_PAGES, check_of(&self.table_index()));
        content
    }

    fn put_site(content: &mut Block, offset: usize, region: u64, check: u64) {
        for (at, check) in (0..).zip([check, check, 0, 0]) {
            put(content, offset + index(at) * 8, entry(place(region, 56 + at), check));
        }
    }

    fn superblock(&self, generation: u64) -> Block {
        let mut content = [0; BLOCK];
        content[..8].copy_from_slice(b"LUNSHDW\x01");
        let map_blocks = 2 * (LEAVES + PAGES + LUNS) + 4 * (TABLE_PAGES + 1);
        put(&mut content, 8, 3);
        content[24..40].copy_from_slice(&7_u128.to_le_bytes());
        let fields = [generation, 1, 1, 0, self.len_blocks(), LOG_BLOCKS, LEAVES * 512 + map_blocks];
        (40..).step_by(8).zip(fields).for_each(|(offset, value)| put(&mut content, offset, value));
        put(&mut content, 96, entry(2, check_of(&self.table_root())));
        for number in 0..REGIONS.div_ceil(512 * 512) {
            let raw = entry(place(number * 512 * 512, 4), check_of(&self.regions_index(2, number)));
            put(&mut content, 104 + index(number) * 8, raw);
        }
        put(&mut content, 1128, map_blocks);
        let crc = crc32c::crc32c(&content[..4092]);
        content[4092..].copy_from_slice(&crc.to_le_bytes());
        content
    }

    fn len_blocks(&self) -> u64 {
        place(REGIONS, 0)
    }

    fn made(&self, block: u64) -> Block {
        let zeros = [0; BLOCK];
        match block {
            0 | 1 => return self.superblock(2 - block),
            4 | 5 => return self.superblock(2 - (block - 4)),
            2 | 6 => return self.table_root(),
            ..DATA_START => return zeros,
            _ => {}
        }
        let (region, at) = ((block - DATA_START) / REGION, (block - DATA_START) % REGION);
        let leaf = |first: u64| Some(region * LEAVES_PER_REGION + at - first).filter(|leaf| *leaf < LEAVES);
        match at {
            0 => Self::counts_of(Self::kind_of_region(region)),
            2 | 6 if region.is_multiple_of(512) => self.regions_index(1, region / 512),
            4 | 8 if region.is_multiple_of(512 * 512) => self.regions_index(2, region / (512 * 512)),
            16..19 => leaf(16).map_or(zeros, |leaf| self.leaf_from(data_block(leaf))),
            32..35 => leaf(32).map_or(zeros, |leaf| self.leaf_from(data_block(leaf))),
            48 | 49 if region < PAGES => self.page(region),
            52 | 53 if region < LUNS => self.root(region),
            56 | 57 if region < TABLE_PAGES => self.table_page(region),
            56 | 57 if region == TABLE_PAGES => self.table_index(),
            _ => zeros,
        }
    }
}

impl Media for Synthetic {
    fn read_at(&self, offset_bytes: u64, buffer: &mut [u8]) -> io::Result<()> {
        for (block, part) in (offset_bytes / BLOCK as u64..).zip(buffer.chunks_exact_mut(BLOCK)) {
            let written = self.written.lock().expect("nobody panics here").get(&block).copied();
            match written {
                Some(at) => self.file.read_exact_at(part, at * BLOCK as u64)?,
                None => part.copy_from_slice(&self.made(block)),
            }
        }
        Ok(())
    }

    fn write_at(&self, offset_bytes: u64, data: &[u8]) -> io::Result<()> {
        for (block, part) in (offset_bytes / BLOCK as u64..).zip(data.chunks_exact(BLOCK)) {
            let mut written = self.written.lock().expect("nobody panics here");
            let next = written.len() as u64;
            let at = *written.entry(block).or_insert(next);
            self.file.write_all_at(part, at * BLOCK as u64)?;
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn len_bytes(&self) -> io::Result<u64> {
        Ok(self.len_blocks() * BLOCK as u64)
    }

    fn set_len_bytes(&self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}
