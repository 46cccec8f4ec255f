//! SendTargets (RFC 7143 appendix C): what targets there are and where.

use std::collections::HashSet;

use bytes::Bytes;
use lunshadow_scsi::LunAddress;

use crate::pdu::{CONTINUE, FINAL, Pdu, RESERVED_TAG, Tag, TextRequest, TextResponse};
use crate::text::{TEXT_BYTES_MAX, TextError, TextGather, TextKeys, TextPortions};

/// The key that asks for targets.
pub const SEND_TARGETS: &str = "SendTargets";
const TARGET_NAME: &str = "TargetName";
const TARGET_ADDRESS: &str = "TargetAddress";

/// Which targets a SendTargets asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SendTargets {
    /// All that the initiator may see; only in a discovery session.
    All,
    /// The one that the session is with; only in a normal session.
    Current,
    /// The one of this name.
    Named(String),
}

/// A target and its addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetRecord {
    /// Its iSCSI name.
    pub name: String,
    /// Where it listens; none means the address that was asked.
    pub portals: Vec<Portal>,
}

/// One address of a target (RFC 7143 13.8).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Portal {
    /// `host:port`; IPv6 addresses in brackets.
    pub address: String,
    /// The portal group that the address belongs to.
    pub group_tag: u16,
}

impl SendTargets {
    /// Reads the value of a SendTargets key.
    #[must_use]
    pub fn parse(value: &str) -> Self {
        match value {
            "All" => Self::All,
            "" => Self::Current,
            name => Self::Named(name.to_owned()),
        }
    }

    /// The request's text.
    #[must_use]
    pub fn to_keys(&self) -> TextKeys {
        let value = match self {
            Self::All => "All",
            Self::Current => "",
            Self::Named(name) => name,
        };
        [(SEND_TARGETS, value)].into_iter().collect()
    }
}

/// The text that answers a SendTargets.
#[must_use]
pub fn target_keys(targets: &[TargetRecord]) -> TextKeys {
    let mut keys = TextKeys::default();
    for target in targets {
        keys.push(TARGET_NAME, &target.name);
        for portal in &target.portals {
            // RFC 7143 §13.8 MUST: a TargetAddress that answers SendTargets has its portal group tag.
            keys.push(TARGET_ADDRESS, format!("{},{}", portal.address, portal.group_tag));
        }
    }
    keys
}

/// Reads the text that answers a SendTargets. Addresses before the first name, and keys of other kinds, are passed over; an
/// address without a portal group tag is in group 1, and one without a port has the well-known one.
#[must_use]
pub fn parse_targets(keys: &TextKeys) -> Vec<TargetRecord> {
    let mut targets: Vec<TargetRecord> = Vec::new();
    for (key, value) in keys.iter() {
        match (key, targets.last_mut()) {
            (TARGET_NAME, _) => targets.push(TargetRecord { name: value.to_owned(), portals: Vec::new() }),
            (TARGET_ADDRESS, Some(target)) => target.portals.push(parse_portal(value)),
            _ => {}
        }
    }
    targets
}

fn parse_portal(value: &str) -> Portal {
    let (address, tag) = value.rsplit_once(',').unwrap_or((value, "1"));
    let after_host = address.rsplit_once(']').map_or(address, |(_, after)| after);
    let address = if after_host.contains(':') { address.to_owned() } else { format!("{address}:{}", crate::PORT) };
    Portal { address, group_tag: tag.parse().unwrap_or(1) }
}

/// One text exchange at the target (RFC 7143 11.10, 11.11): gathers the request, then hands out the answer in portions.
#[derive(Clone, Debug)]
pub struct TargetTextExchange {
    gather: TextGather,
    portions: TextPortions,
    /// Keys that the initiator has spoken about.
    settled: HashSet<String>,
    is_over: bool,
    ttt: Tag,
    response_bytes_max: usize,
}

/// What to do with a Text Request.
#[derive(Clone, Debug)]
pub enum TextStep {
    /// Send this (after stamping it with StatSN and the command window); more requests follow if its F bit is not set.
    Respond(Pdu),
    /// The request is complete: [answer](TargetTextExchange::answer) these keys.
    Asked(TextKeys),
}

impl TargetTextExchange {
    /// An exchange whose responses carry at most `response_bytes_max` (the initiator's MaxRecvDataSegmentLength) and, while
    /// they are not the last one, the tag `ttt`.
    #[must_use]
    pub fn new(ttt: Tag, response_bytes_max: usize) -> Self {
        Self {
            gather: TextGather::new(TEXT_BYTES_MAX),
            portions: TextPortions::default(),
            settled: HashSet::new(),
            is_over: false,
            ttt,
            response_bytes_max,
        }
    }

    /// The tag that the exchange's follow-up requests carry.
    #[must_use]
    pub const fn ttt(&self) -> Tag {
        self.ttt
    }

    /// Whether the last response was the last of the exchange. What was declared in it holds from then on.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        self.is_over
    }

    /// Takes a request of this exchange.
    ///
    /// # Errors
    /// [`TextError`]: answer with a Reject (protocol error) and forget the exchange.
    pub fn handle(&mut self, request: &TextRequest, text: &[u8]) -> Result<TextStep, TextError> {
        if !self.portions.is_empty() && text.is_empty() {
            return Ok(TextStep::Respond(self.respond(request)));
        }
        Ok(match self.gather.push(text, request.is_continued())? {
            Some(keys) => {
                // RFC 7143 §6.4 MUST: a key that comes twice in a text exchange is rejected with the reason protocol error.
                if let Some((key, _)) = keys.iter().find(|&(key, _)| !self.settled.insert(key.to_owned())) {
                    return Err(TextError::Duplicate { key: key.to_owned() });
                }
                TextStep::Asked(keys)
            }
            // RFC 7143 §6.2 MUST: a request with the C bit is answered without data.
            None => {
                let header =
                    TextResponse { itt: request.itt, lun: request.lun, ttt: self.ttt, ..TextResponse::default() };
                TextStep::Respond(Pdu::bare(header))
            }
        })
    }

    /// The first response with the answer.
    pub fn answer(&mut self, request: &TextRequest, answer: &TextKeys) -> Pdu {
        self.portions = TextPortions::new(answer.encode());
        self.respond(request)
    }

    fn respond(&mut self, request: &TextRequest) -> Pdu {
        // RFC 7143 §11.11.6 MUST NOT: a Text Response is longer than the MaxRecvDataSegmentLength of the initiator.
        let (text, more) = self.portions.next_portion(self.response_bytes_max);
        // RFC 7143 §11.11.1 MUST: a Text Response has the reserved Target Transfer Tag if it is the last, and another if it is not.
        // RFC 7143 §11.11.2 MUST: a Text Response with the C bit has no F bit.
        // RFC 7143 §6.4 MUST: a Text Response without the F bit has a Target Transfer Tag that is not reserved.
        // RFC 7143 §11.10.4 MUST: a Text Response with a Target Transfer Tag has the LUN that goes with it.
        self.is_over = !more && request.is_final();
        let (flags, ttt, lun) = match (more, self.is_over) {
            (true, _) => (CONTINUE, self.ttt, request.lun),
            (false, true) => (FINAL, RESERVED_TAG, LunAddress::peripheral(0)),
            // The initiator has more to say.
            (false, false) => (0, self.ttt, request.lun),
        };
        let header = TextResponse { flags, lun, itt: request.itt, ttt, ..TextResponse::default() };
        Pdu::new(header, text)
    }
}

/// One text exchange at the initiator.
#[derive(Clone, Debug)]
pub struct InitiatorTextExchange {
    gather: TextGather,
    itt: Tag,
}

impl InitiatorTextExchange {
    /// Begins an exchange; `text` must fit one PDU. The request still wants its CmdSN and ExpStatSN.
    #[must_use]
    pub fn start(itt: Tag, text: Bytes, response_bytes_max: usize) -> (Self, Pdu) {
        let header = TextRequest { flags: FINAL, itt, ttt: RESERVED_TAG, ..TextRequest::default() };
        (Self { gather: TextGather::new(response_bytes_max), itt }, Pdu::new(header, text))
    }

    /// Takes a response: the answer is the whole text, or the request that asks for more of it.
    ///
    /// # Errors
    /// See [`TextError`].
    pub fn handle(&mut self, response: &TextResponse, text: &[u8]) -> Result<Result<TextKeys, Pdu>, TextError> {
        Ok(match self.gather.push(text, response.is_continued() || !response.is_final())? {
            Some(keys) => Ok(keys),
            None => {
                let follow_up = TextRequest {
                    flags: FINAL,
                    itt: self.itt,
                    ttt: response.ttt,
                    lun: response.lun,
                    ..TextRequest::default()
                };
                Err(Pdu::bare(follow_up))
            }
        })
    }
}
