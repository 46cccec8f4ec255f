//! What two ends agree on: the operational keys of RFC 7143 13, their defaults, ranges and result functions.

mod keys;

use std::collections::HashSet;

use crate::pdu::DigestConfig;
use crate::text::{
    IRRELEVANT, InvalidValue, NOT_UNDERSTOOD, REJECT, TextKeys, is_answer_only, parse_boolean, parse_list,
    parse_number, show_boolean,
};
use keys::{Kind, OperationalKey};

/// MaxRecvDataSegmentLength where none is declared, and during every login (RFC 7143 13.12), in bytes.
pub const DEFAULT_MAX_RECV_DATA_SEGMENT_LENGTH: u32 = 8192;

/// A digest algorithm (RFC 7143 13.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Digest {
    /// No digest.
    None,
    /// CRC32C.
    Crc32c,
}

/// Whether a key is one that a login negotiates.
pub(crate) fn is_negotiated(key: &str) -> bool {
    OperationalKey::named(key).is_some()
}

/// What one end would like, before the other one has spoken. Lengths are in bytes, times in seconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preferences {
    /// Header digests that this end can do, the preferred one first.
    pub header_digests: Vec<Digest>,
    /// Data digests that this end can do, the preferred one first.
    pub data_digests: Vec<Digest>,
    /// Whether every write has to wait for an R2T (apart from immediate data). Yes if either end wants it.
    pub initial_r2t: bool,
    /// Whether a write may carry data in the command's PDU. Yes if both ends want it.
    pub immediate_data: bool,
    /// The longest data segment that this end takes, 512 to 2^24 - 1.
    pub max_recv_data_segment_length: u32,
    /// The longest sequence of Data-In, or of Data-Out that answers an R2T; 512 to 2^24 - 1. The lower one counts.
    pub max_burst_length: u32,
    /// The most unsolicited data of one write, 512 to 2^24 - 1. The lower one counts, and never more than MaxBurstLength.
    pub first_burst_length: u32,
    /// Least time to wait before a session that broke is taken up again, up to 3600. The higher one counts.
    pub default_time2wait: u32,
    /// How long a session that broke is kept after that, up to 3600. The lower one counts.
    pub default_time2retain: u32,
    /// R2Ts of one task that may be open at once, 1 to 65535. The lower one counts.
    pub max_outstanding_r2t: u32,
}

/// What both ends agreed on. The default is what RFC 7143 13 says for keys that nobody mentions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionParameters {
    /// The digest over headers.
    pub header_digest: Digest,
    /// The digest over data.
    pub data_digest: Digest,
    /// Connections of the session.
    pub max_connections: u32,
    /// Whether unsolicited Data-Out PDUs are forbidden.
    pub initial_r2t: bool,
    /// Whether commands may carry data.
    pub immediate_data: bool,
    /// The longest data segment that the initiator takes, in bytes.
    pub initiator_max_recv_data_segment_length: u32,
    /// The longest data segment that the target takes, in bytes.
    pub target_max_recv_data_segment_length: u32,
    /// The longest solicited sequence, in bytes.
    pub max_burst_length: u32,
    /// The most unsolicited data of one task, in bytes, immediate data included.
    pub first_burst_length: u32,
    /// Seconds to wait before the session is taken up again.
    pub default_time2wait: u32,
    /// Seconds after that during which it can be.
    pub default_time2retain: u32,
    /// R2Ts of one task that may be open at once.
    pub max_outstanding_r2t: u32,
    /// Whether the PDUs of a sequence come in order of offset.
    pub data_pdu_in_order: bool,
    /// Whether sequences come in order of offset.
    pub data_sequence_in_order: bool,
    /// How much recovery both ends can do; 0 here.
    pub error_recovery_level: u32,
}

/// Which end of the connection this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// The end that opened the connection.
    Initiator,
    /// The end that serves the logical units.
    Target,
}

/// A negotiation that the other end broke off or broke the rules of.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NegotiationError {
    /// A key was offered or answered a second time in one login.
    #[error("the key {key} was negotiated twice")]
    Repeated {
        /// The key.
        key: String,
    },
    /// A word that only answers may have was offered.
    #[error("{value} was offered for {key}, which is an answer only")]
    AnswerOffered {
        /// The key.
        key: String,
        /// The word.
        value: String,
    },
    /// An answer is not a value of its key.
    #[error("the answer to {key} is not valid")]
    InvalidAnswer {
        /// The key.
        key: String,
        /// What is wrong with it.
        source: InvalidValue,
    },
    /// An answer is a value that the offer does not admit.
    #[error("{answer:?} does not answer {key}={offer}")]
    NotOffered {
        /// The key.
        key: String,
        /// What was offered.
        offer: String,
        /// What came back.
        answer: String,
    },
}

/// One end's side of one login's negotiation.
#[derive(Clone, Debug)]
pub struct Negotiation {
    role: Role,
    discovery: bool,
    own: Preferences,
    agreed: SessionParameters,
    /// Keys that the other end has spoken about, by offer, answer or declaration.
    settled: HashSet<String>,
    /// Keys that this end offered and that are not answered yet.
    open_offers: HashSet<&'static str>,
    length_declared: bool,
}

impl Negotiation {
    /// Begins a negotiation. In a discovery session the keys about data transfer have no bearing.
    #[must_use]
    pub fn new(role: Role, discovery: bool, own: Preferences) -> Self {
        Self {
            role,
            discovery,
            own,
            agreed: SessionParameters::default(),
            settled: HashSet::new(),
            open_offers: HashSet::new(),
            length_declared: false,
        }
    }

    /// Everything that this end has to offer and to declare, in one go.
    pub fn offers(&mut self) -> TextKeys {
        let mut offers = TextKeys::default();
        for key in OperationalKey::ALL {
            if self.discovery && !key.in_discovery() {
                continue;
            }
            let Some(offer) = self.own.offer_for(*key) else { continue };
            if matches!(key.kind(), Kind::Declared) {
                self.declare_length();
            } else {
                self.open_offers.insert(key.name());
            }
            offers.push(key.name(), offer);
        }
        offers
    }

    /// This end's MaxRecvDataSegmentLength as a key, once; it binds the other end from then on.
    pub fn length_declaration(&mut self) -> Option<(&'static str, String)> {
        if self.length_declared {
            return None;
        }
        self.declare_length();
        let key = OperationalKey::MaxRecvDataSegmentLength;
        Some((key.name(), self.own.max_recv_data_segment_length.to_string()))
    }

    /// Takes the other end's pairs, which are offers, declarations, or answers to this end's offers; returns the answers to
    /// its offers.
    ///
    /// # Errors
    /// See [`NegotiationError`].
    pub fn take<'a>(&mut self, pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Result<TextKeys, NegotiationError> {
        let mut answers = TextKeys::default();
        // FirstBurstLength may not exceed MaxBurstLength, which may come behind it: it is answered last.
        // RFC 7143 §13.14 MUST NOT: FirstBurstLength is more than MaxBurstLength.
        let first_burst = OperationalKey::FirstBurstLength.name();
        let (last, others): (Vec<_>, Vec<_>) = pairs.partition(|&(key, _)| key == first_burst);
        for (key, value) in others.into_iter().chain(last) {
            // RFC 7143 §6.3 MUST: a key that comes twice ends the login with the status initiator error.
            if !self.settled.insert(key.to_owned()) {
                return Err(NegotiationError::Repeated { key: key.to_owned() });
            }
            match OperationalKey::named(key) {
                Some(known) if self.open_offers.remove(known.name()) => self.settle(known, value)?,
                // RFC 7143 §6.2 MUST NOT: Reject, Irrelevant or NotUnderstood is offered, which ends the negotiation.
                _ if self.role == Role::Target && is_answer_only(value) => {
                    return Err(NegotiationError::AnswerOffered { key: key.to_owned(), value: value.to_owned() });
                }
                None if value == NOT_UNDERSTOOD => {}
                // RFC 7143 §6.2 MUST: a key that is not known is answered with NotUnderstood.
                None => answers.push(key, NOT_UNDERSTOOD),
                Some(known) => {
                    if let Some(answer) = self.answer(known, value) {
                        answers.push(key, answer);
                    }
                }
            }
        }
        Ok(answers)
    }

    /// Whether every offer of this end has been answered.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.open_offers.is_empty()
    }

    /// What stands agreed. Keys that nobody mentioned have their defaults.
    #[must_use]
    pub fn agreed(&self) -> SessionParameters {
        let mut agreed = self.agreed.clone();
        agreed.first_burst_length = agreed.first_burst_length.min(agreed.max_burst_length);
        agreed
    }

    const fn declare_length(&mut self) {
        self.length_declared = true;
        match self.role {
            Role::Initiator => {
                self.agreed.initiator_max_recv_data_segment_length = self.own.max_recv_data_segment_length;
            }
            Role::Target => self.agreed.target_max_recv_data_segment_length = self.own.max_recv_data_segment_length,
        }
    }

    /// The answer to an offer, by the key's result function; nothing for a declaration.
    // RFC 7143 §6.2.2 MUST: a simple value is answered with the value that the key's rule makes of both.
    fn answer(&mut self, key: OperationalKey, offer: &str) -> Option<String> {
        if self.discovery && !key.in_discovery() {
            return Some(IRRELEVANT.to_owned());
        }
        let answer = match key.kind() {
            Kind::Declared => match parse_number(offer) {
                Ok(bytes) if key.range().contains(&bytes) => {
                    self.note_peer_length(bytes);
                    return None;
                }
                _ => None,
            },
            // RFC 7143 §6.2.1 MUST: a value of a list that is not known is passed over.
            // RFC 7143 §6.2.1 MUST: a list of values is answered with the first one that this end supports.
            Kind::Digest => {
                let own = self.own.digests_for(key);
                let chosen = parse_list(offer).ok().and_then(|offered| {
                    offered.into_iter().filter_map(Digest::named).find(|digest| own.contains(digest))
                });
                chosen.map(|digest| {
                    self.agreed.set_digest(key, digest);
                    digest.name().to_owned()
                })
            }
            Kind::Or | Kind::And => parse_boolean(offer).ok().map(|offered| {
                let own = self.own.boolean_for(key);
                let result = if matches!(key.kind(), Kind::Or) { own || offered } else { own && offered };
                self.agreed.set_boolean(key, result);
                show_boolean(result).to_owned()
            }),
            Kind::Lower | Kind::Higher => {
                parse_number(offer).ok().filter(|offered| key.range().contains(offered)).map(|offered| {
                    let own = self.own_number(key);
                    let result = if matches!(key.kind(), Kind::Lower) { own.min(offered) } else { own.max(offered) };
                    self.agreed.set_number(key, result);
                    result.to_string()
                })
            }
            Kind::Fixed(only) => {
                parse_list(offer).ok().filter(|offered| offered.contains(&only)).map(|_| only.to_owned())
            }
            Kind::AtMost(own) => {
                let offered = parse_number(offer).ok().filter(|offered| key.range().contains(offered));
                offered.map(|offered| own.min(offered).to_string())
            }
            Kind::Remark => return None,
        };
        // RFC 7143 §6.2.2 MUST: an offer that is not admissible is answered with Reject.
        Some(answer.unwrap_or_else(|| REJECT.to_owned()))
    }

    /// Takes the answer to an offer of this end, if the key's result function could have given it.
    fn settle(&mut self, key: OperationalKey, answer: &str) -> Result<(), NegotiationError> {
        if is_answer_only(answer) {
            // The key keeps its default (RFC 7143 6.2).
            return Ok(());
        }
        let invalid = |source| NegotiationError::InvalidAnswer { key: key.name().to_owned(), source };
        let admitted = match key.kind() {
            Kind::Digest => {
                Digest::named(answer).filter(|digest| self.own.digests_for(key).contains(digest)).map(|d| {
                    self.agreed.set_digest(key, d);
                })
            }
            Kind::Or | Kind::And => {
                let result = parse_boolean(answer).map_err(invalid)?;
                let own = self.own.boolean_for(key);
                // What decides alone is Yes for OR and No for AND: an end that offered it must get it back.
                let decides = matches!(key.kind(), Kind::Or);
                (own != decides || result == own).then(|| self.agreed.set_boolean(key, result))
            }
            Kind::Lower | Kind::Higher => {
                let result = parse_number(answer).map_err(invalid)?;
                let own = self.own_number(key);
                let possible = if matches!(key.kind(), Kind::Lower) { result <= own } else { result >= own };
                (possible && key.range().contains(&result)).then(|| self.agreed.set_number(key, result))
            }
            Kind::Declared | Kind::Fixed(_) | Kind::AtMost(_) | Kind::Remark => None,
        };
        admitted.ok_or_else(|| NegotiationError::NotOffered {
            key: key.name().to_owned(),
            offer: self.own.offer_for(key).unwrap_or_default(),
            answer: answer.to_owned(),
        })
    }

    fn note_peer_length(&mut self, bytes: u32) {
        match self.role {
            Role::Initiator => self.agreed.target_max_recv_data_segment_length = bytes,
            Role::Target => self.agreed.initiator_max_recv_data_segment_length = bytes,
        }
    }

    fn own_number(&self, key: OperationalKey) -> u32 {
        let own = self.own.number_for(key);
        if key == OperationalKey::FirstBurstLength { own.min(self.agreed.max_burst_length) } else { own }
    }
}

impl Preferences {
    /// What this end offers for `key`; `None` for a key that it never brings up.
    fn offer_for(&self, key: OperationalKey) -> Option<String> {
        match key.kind() {
            Kind::Digest => {
                let names: Vec<_> = self.digests_for(key).iter().map(|digest| digest.name()).collect();
                (!names.is_empty()).then(|| names.join(","))
            }
            Kind::Or | Kind::And => Some(show_boolean(self.boolean_for(key)).to_owned()),
            Kind::Lower | Kind::Higher => Some(self.number_for(key).to_string()),
            Kind::Declared => Some(self.max_recv_data_segment_length.to_string()),
            Kind::Fixed(_) | Kind::AtMost(_) | Kind::Remark => None,
        }
    }
}

impl Digest {
    /// The algorithm's name in a key's value.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "None",
            Self::Crc32c => "CRC32C",
        }
    }

    fn named(name: &str) -> Option<Self> {
        [Self::None, Self::Crc32c].into_iter().find(|digest| digest.name() == name)
    }
}

impl SessionParameters {
    /// The digests of the full feature phase, for encoder and decoder.
    #[must_use]
    pub fn digests(&self) -> DigestConfig {
        DigestConfig { header: self.header_digest == Digest::Crc32c, data: self.data_digest == Digest::Crc32c }
    }
}

impl Default for Preferences {
    /// Both digests if the other end wants them, unsolicited data allowed, and lengths that keep 1 MiB requests to a few PDUs.
    fn default() -> Self {
        Self {
            header_digests: vec![Digest::None, Digest::Crc32c],
            data_digests: vec![Digest::None, Digest::Crc32c],
            initial_r2t: false,
            immediate_data: true,
            max_recv_data_segment_length: 262_144,
            max_burst_length: 1 << 20,
            first_burst_length: 262_144,
            default_time2wait: 2,
            default_time2retain: 0,
            max_outstanding_r2t: 8,
        }
    }
}

impl Default for SessionParameters {
    fn default() -> Self {
        Self {
            header_digest: Digest::None,
            data_digest: Digest::None,
            max_connections: 1,
            initial_r2t: true,
            immediate_data: true,
            initiator_max_recv_data_segment_length: DEFAULT_MAX_RECV_DATA_SEGMENT_LENGTH,
            target_max_recv_data_segment_length: DEFAULT_MAX_RECV_DATA_SEGMENT_LENGTH,
            max_burst_length: 262_144,
            first_burst_length: 65_536,
            default_time2wait: 2,
            default_time2retain: 20,
            max_outstanding_r2t: 1,
            data_pdu_in_order: true,
            data_sequence_in_order: true,
            error_recovery_level: 0,
        }
    }
}
