//! Text requests: SendTargets, and a new MaxRecvDataSegmentLength.

use lunshadow_iscsi::discovery::{
    Portal, SEND_TARGETS, SendTargets, TargetRecord, TargetTextExchange, TextStep, target_keys,
};
use lunshadow_iscsi::login::is_login_key;
use lunshadow_iscsi::pdu::{RejectReason, TextRequest};
use lunshadow_iscsi::text::{NOT_UNDERSTOOD, REJECT, TextKeys, is_answer_only, parse_number};

use super::full_feature::FullFeature;
use crate::portals::{NetworkPortal, told_of};
use crate::tasks::Slot;

const INITIATOR_ALIAS: &str = "InitiatorAlias";
const MAX_RECV_DATA_SEGMENT_LENGTH: &str = "MaxRecvDataSegmentLength";

/// A negotiation by text that is under way.
pub(super) struct TextNegotiation {
    exchange: TargetTextExchange,
    /// The length of data segments that the initiator takes from the end of it on.
    declared_length: Option<u32>,
}

impl FullFeature<'_> {
    /// Takes a Text Request: the first of an exchange, or one that goes on with it.
    pub(super) fn text(&mut self, request: &TextRequest, text: &[u8], slot: Option<Slot>) -> Result<(), RejectReason> {
        drop(slot);
        let bytes_max = self.initiator_bytes_max();
        let begun = self.text.take();
        // A request without a tag begins anew, whatever went on before (RFC 7143 11.10.4).
        let negotiation = if request.ttt.is_reserved() {
            Some(TextNegotiation {
                exchange: TargetTextExchange::new(self.ttts.take(), bytes_max),
                declared_length: None,
            })
        } else {
            begun.filter(|begun| begun.exchange.ttt() == request.ttt)
        };
        let mut negotiation = negotiation.ok_or(RejectReason::INVALID_PDU_FIELD)?;
        let response = match negotiation.exchange.handle(request, text).map_err(|_| RejectReason::PROTOCOL_ERROR)? {
            TextStep::Respond(response) => response,
            TextStep::Asked(keys) => {
                let answer = self.answer(&keys, &mut negotiation.declared_length);
                negotiation.exchange.answer(request, &answer.ok_or(RejectReason::PROTOCOL_ERROR)?)
            }
        };
        self.outlet.send(response, None);
        if !negotiation.exchange.is_over() {
            self.text = Some(negotiation);
        } else if let Some(bytes) = negotiation.declared_length {
            // RFC 7143 §6.2 MUST: what is negotiated holds all together once a text exchange is over, or not at all if it fails.
            // RFC 7143 §7.12 MUST NOT: a part of a negotiation that fails takes effect.
            self.parameters.initiator_max_recv_data_segment_length = bytes;
        }
        Ok(())
    }

    /// The answers to keys; `None` if they break the rules.
    fn answer(&self, keys: &TextKeys, declared_length: &mut Option<u32>) -> Option<TextKeys> {
        let mut answers = TextKeys::default();
        // RFC 7143 §4.3 MUST: what is neither SendTargets nor a logout that closes the session is rejected in a discovery session.
        if self.session.is_none() && !keys.is_empty() && keys.get(SEND_TARGETS).is_none() {
            return None;
        }
        for (key, value) in keys.iter() {
            match key {
                SEND_TARGETS => {
                    for (key, value) in self.targets(&SendTargets::parse(value))?.iter() {
                        answers.push(key, value);
                    }
                }
                // RFC 7143 §6.2 MUST NOT: Reject, Irrelevant or NotUnderstood is offered, which ends the negotiation.
                _ if is_answer_only(value) => return None,
                // Each end declares its own; there is no answer (RFC 7143 13.12).
                MAX_RECV_DATA_SEGMENT_LENGTH => match parse_number(value) {
                    Ok(bytes @ 512..=0x00ff_ffff) => *declared_length = Some(bytes),
                    _ => answers.push(key, REJECT),
                },
                // The initiator may call itself something else at any time (RFC 7143 13.7).
                INITIATOR_ALIAS => {}
                // RFC 7143 §6.2 MUST NOT: a key of the RFC is answered with NotUnderstood.
                _ if is_login_key(key) => answers.push(key, REJECT),
                // RFC 7143 §6.2 MUST: a key that is not known is answered with NotUnderstood.
                _ => answers.push(key, NOT_UNDERSTOOD),
            }
        }
        Some(answers)
    }

    /// RFC 7143 appendix C: all targets in a discovery session only, the session's own in a normal one.
    fn targets(&self, asked: &SendTargets) -> Option<TextKeys> {
        let name = &self.shared.name;
        let found = match asked {
            // RFC 7143 §C MUST: SendTargets=All is answered in a discovery session.
            SendTargets::All if self.session.is_none() => true,
            // RFC 7143 §C MUST: SendTargets for the session's own target is answered in a normal session.
            SendTargets::Current if self.session.is_some() => true,
            // RFC 7143 §C MUST NOT: SendTargets=All is answered in a normal session.
            SendTargets::All | SendTargets::Current => return None,
            SendTargets::Named(asked) => asked.eq_ignore_ascii_case(name),
        };
        // Whoever was removed since it logged in is told of nothing.
        let found = found && self.shared.device_server.admits(&self.initiator);
        let told = told_of(&self.shared.portals, self.reached).into_iter();
        let portal =
            |portal: NetworkPortal| Portal { address: portal.address.to_string(), group_tag: portal.group.tag() };
        let record = TargetRecord { name: name.clone(), portals: told.map(portal).collect() };
        Some(target_keys(if found { std::slice::from_ref(&record) } else { &[] }))
    }
}
