//! A part of the cache that has a lock of its own.

use bytes::Bytes;
use rustc_hash::FxHashMap;

use crate::page::{BLOCK_LEN, index};

/// How many neighbours on the medium are a group. What is written at the same time lies side by side, so that a group is looked up once for many blocks.
pub(super) const NEIGHBOURS: u64 = u16::BITS as u64;
/// What a block takes: its content, and what shares it.
const MEMORY_BYTES: u64 = BLOCK_LEN + 80;
/// What a group takes besides its blocks: its slot, and its place in the table.
const GROUP_BYTES: u64 = 640;

/// Memory for one block of a group of its own.
pub(super) const ONE_BLOCK_BYTES: u64 = GROUP_BYTES + MEMORY_BYTES;

/// See the module.
pub(super) struct Shard {
    pub(super) hits: u64,
    pub(super) misses: u64,
    /// The slot of each group that has anything.
    places: FxHashMap<u64, usize>,
    slots: Vec<Group>,
    /// Slots that hold nothing.
    empty: Vec<usize>,
    /// The slot that is looked at next when memory is needed.
    hand: usize,
    /// How many blocks are held.
    held: u64,
    limit_bytes: u64,
}

/// Neighbours on the medium, as far as they are here.
#[derive(Default)]
pub(super) struct Group {
    number: u64,
    blocks: [Option<Bytes>; u16::BITS as usize],
    /// A bit for each block that is here.
    present: u16,
    /// A bit for each block that somebody has asked for since the hand last passed.
    wanted: u16,
}

/// The group of a block, and its place there.
pub(super) fn group_of(block: u64) -> (u64, usize) {
    (block / NEIGHBOURS, index(block % NEIGHBOURS))
}

impl Shard {
    pub(super) fn new(limit_bytes: u64) -> Self {
        Self {
            hits: 0,
            misses: 0,
            places: FxHashMap::default(),
            slots: Vec::new(),
            empty: Vec::new(),
            hand: 0,
            held: 0,
            limit_bytes,
        }
    }

    /// Lets go of everything.
    pub(super) fn clear(&mut self) {
        *self = Self { hits: self.hits, misses: self.misses, ..Self::new(self.limit_bytes) };
    }

    pub(super) fn limit_bytes(&self) -> u64 {
        self.limit_bytes
    }

    /// The content of what is held.
    pub(super) fn kept_bytes(&self) -> u64 {
        self.held * BLOCK_LEN
    }

    fn used_bytes(&self) -> u64 {
        self.held * MEMORY_BYTES + u64::try_from(self.slots.len()).unwrap_or(u64::MAX) * GROUP_BYTES
    }

    /// A group, if anything of it is here.
    pub(super) fn group(&mut self, number: u64) -> Option<&mut Group> {
        let place = *self.places.get(&number)?;
        Some(&mut self.slots[place])
    }

    pub(super) fn get(&mut self, block: u64) -> Option<&Bytes> {
        let (number, at) = group_of(block);
        self.group(number)?.get(at)
    }

    /// What is here of a block, and whether it is wanted. This does not count as asking for it.
    pub(super) fn look(&self, block: u64) -> Option<(Bytes, bool)> {
        let (number, at) = group_of(block);
        let group = &self.slots[*self.places.get(&number)?];
        Some((group.blocks[at].clone()?, group.wanted & bit(at) != 0))
    }

    /// Keeps blocks of a group, and drops others if that is too much.
    pub(super) fn put(&mut self, number: u64, blocks: impl Iterator<Item = (usize, Bytes)>, are_wanted: bool) {
        let place = self.place(number);
        for (at, content) in blocks {
            self.drop_block(place, at);
            self.held += 1;
            self.slots[place].enter(at, content, are_wanted);
        }
        // Two rounds at most, since the first one takes all marks off.
        while self.used_bytes() > self.limit_bytes && self.held > 0 {
            self.pass();
        }
    }

    /// The slot of a group, which may be a new one.
    fn place(&mut self, number: u64) -> usize {
        if let Some(place) = self.places.get(&number) {
            return *place;
        }
        // Slots are never given back, so there are no more of them than are needed.
        while self.empty.is_empty() && self.held > 0 && self.used_bytes() + ONE_BLOCK_BYTES > self.limit_bytes {
            self.pass();
        }
        let place = self.empty.pop().unwrap_or(self.slots.len());
        if place == self.slots.len() {
            self.slots.push(Group::default());
        }
        self.slots[place].number = number;
        self.places.insert(number, place);
        place
    }

    pub(super) fn forget(&mut self, block: u64) {
        let (number, at) = group_of(block);
        let Some(place) = self.places.get(&number).copied() else { return };
        self.drop_block(place, at);
        self.vacate(place);
    }

    /// The hand drops of a group what nobody has asked for since it last passed.
    fn pass(&mut self) {
        let place = self.hand;
        self.hand = (place + 1) % self.slots.len();
        let group = &mut self.slots[place];
        let mut unwanted = group.present & !std::mem::take(&mut group.wanted);
        while unwanted != 0 {
            self.drop_block(place, index(unwanted.trailing_zeros().into()));
            unwanted &= unwanted - 1;
        }
        self.vacate(place);
    }

    /// Lets go of a block, if it is here.
    fn drop_block(&mut self, place: usize, at: usize) {
        self.held -= u64::from(self.slots[place].take(at).is_some());
    }

    /// A slot that holds nothing any more is free for another group.
    fn vacate(&mut self, place: usize) {
        let group = &self.slots[place];
        if group.present == 0 && self.places.get(&group.number) == Some(&place) {
            self.places.remove(&group.number);
            self.empty.push(place);
        }
    }

    #[cfg(test)]
    pub(super) fn is_sound(&self) -> bool {
        let held: usize = self.slots.iter().map(|group| group.blocks.iter().flatten().count()).sum();
        let is_at = |(number, place): (&u64, &usize)| {
            let group = &self.slots[*place];
            group.number == *number && group.present != 0
        };
        let is_marked = |group: &Group| {
            let bits = group.blocks.iter().enumerate().map(|(at, block)| if block.is_some() { bit(at) } else { 0 });
            group.present == bits.sum::<u16>() && group.wanted & !group.present == 0
        };
        self.held == u64::try_from(held).unwrap()
            && self.used_bytes() <= self.limit_bytes
            && self.places.len() + self.empty.len() == self.slots.len()
            && self.places.iter().all(is_at)
            && self.empty.iter().all(|place| self.slots[*place].present == 0)
            && self.slots.iter().all(is_marked)
    }
}

impl Group {
    fn enter(&mut self, at: usize, content: Bytes, is_wanted: bool) {
        self.blocks[at] = Some(content);
        self.present |= bit(at);
        self.wanted |= if is_wanted { bit(at) } else { 0 };
    }

    fn take(&mut self, at: usize) -> Option<Bytes> {
        (self.present, self.wanted) = (self.present & !bit(at), self.wanted & !bit(at));
        self.blocks[at].take()
    }

    /// A block, which is wanted from now on.
    pub(super) fn get(&mut self, at: usize) -> Option<&Bytes> {
        let content = self.blocks[at].as_ref()?;
        self.wanted |= bit(at);
        Some(content)
    }
}

fn bit(at: usize) -> u16 {
    1 << at
}
