//! The tokens that were made and are still good (SPC-4 5.17.6).
//!
//! A token is a pin of its LUN: what was there at the time, whatever is written since. It ends when nobody has used it for a while, when its user
//! says so, and when its initiator makes more tokens than one may have; then the one that was used longest ago goes, as SPC-4
//! lets a copy manager end tokens at any time. Tokens are in memory only, and end with the process.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use lunshadow_lun::{InitiatorName, LOGICAL_BLOCK_BYTES, LunHandle, LunId, identity_of};
use lunshadow_scsi::{AdditionalSense, RodToken, TokenRange};
use parking_lot::Mutex;
use tokio::time::Instant;

/// MAXIMUM INACTIVITY TIMEOUT.
pub(super) const INACTIVITY_MAX: Duration = Duration::from_mins(10);
/// DEFAULT INACTIVITY TIMEOUT.
pub(super) const INACTIVITY_DEFAULT: Duration = Duration::from_mins(1);
/// How many tokens of one initiator there are at a time. Each holds what its LUN has lost since.
const TOKENS_PER_INITIATOR_MAX: usize = 64;

/// What a token stands for.
#[derive(Debug)]
pub(super) struct Token {
    bytes: RodToken,
    /// The content of the LUN when the token was made.
    pub(super) pin: LunHandle,
    pub(super) ranges: Vec<TokenRange>,
    pub(super) block_count: u64,
    inactivity: Duration,
}

/// See the module.
#[derive(Default)]
pub(super) struct Tokens(Mutex<HashMap<u64, Entry>>);

struct Entry {
    token: Arc<Token>,
    initiator: InitiatorName,
    /// When it ends if nobody uses it until then.
    ends: Instant,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tokens").field(&self.0.lock().len()).finish()
    }
}

impl Tokens {
    /// Makes a token for ranges of what is pinned.
    pub(super) fn make(
        self: &Arc<Self>,
        initiator: &InitiatorName,
        pin: LunHandle,
        ranges: Vec<TokenRange>,
        inactivity: Duration,
    ) -> RodToken {
        let block_count = ranges.iter().map(|range| u64::from(range.block_count)).sum();
        let creator = &identity_of(pin.id()).designators[0];
        let mut table = self.0.lock();
        let id = std::iter::repeat_with(rand::random).find(|id| !table.contains_key(id)).expect("there are few tokens");
        let represented = block_count * u64::from(LOGICAL_BLOCK_BYTES);
        let bytes = RodToken::point_in_time(id, creator, represented, LOGICAL_BLOCK_BYTES, rand::random());
        let mine = || table.iter().filter(|(_, entry)| entry.initiator == *initiator);
        if mine().count() >= TOKENS_PER_INITIATOR_MAX
            && let Some(oldest) = mine().min_by_key(|(_, entry)| entry.ends - entry.token.inactivity).map(|(id, _)| *id)
        {
            table.remove(&oldest);
        }
        let ends = Instant::now() + inactivity;
        let token = Arc::new(Token { bytes: bytes.clone(), pin, ranges, block_count, inactivity });
        table.insert(id, Entry { token, initiator: initiator.clone(), ends });
        drop(table);
        self.end_later(id, ends);
        bytes
    }

    /// Uses a token.
    pub(super) fn redeem(&self, token: &RodToken) -> Result<Arc<Token>, AdditionalSense> {
        let mut table = self.0.lock();
        let entry = table.get_mut(&token.id()).ok_or(AdditionalSense::TOKEN_UNKNOWN)?;
        if entry.token.bytes != *token {
            return Err(AdditionalSense::TOKEN_CORRUPT);
        }
        entry.ends = Instant::now() + entry.token.inactivity;
        Ok(entry.token.clone())
    }

    /// Ends a token that was redeemed.
    pub(super) fn delete(&self, token: &Token) {
        self.0.lock().remove(&token.bytes.id());
    }

    /// Ends all tokens of a LUN.
    pub(super) fn delete_of(&self, lun: LunId) {
        self.0.lock().retain(|_, entry| entry.token.pin.id() != lun);
    }

    fn end_later(self: &Arc<Self>, id: u64, mut at: Instant) {
        let tokens = Arc::downgrade(self);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep_until(at).await;
                let Some(tokens) = tokens.upgrade() else { return };
                match tokens.end_unless_used(id, Instant::now()) {
                    Some(later) => at = later,
                    None => return,
                }
            }
        });
    }

    /// When to look again, if the token was used meanwhile.
    fn end_unless_used(&self, id: u64, now: Instant) -> Option<Instant> {
        let mut table = self.0.lock();
        let ends = table.get(&id)?.ends;
        if ends > now {
            return Some(ends);
        }
        table.remove(&id);
        None
    }
}
