//! Text requests: SendTargets, and a new MaxRecvDataSegmentLength.

use lunshadow_iscsi::discovery::{
    Portal, SEND_TARGETS, SendTargets, TargetRecord, TargetTextExchange, TextStep, target_keys,
};
use lunshadow_iscsi::pdu::{Pdu, RejectReason, TextRequest};
use lunshadow_iscsi::text::{NOT_UNDERSTOOD, REJECT, TextKeys, parse_number};

use super::full_feature::FullFeature;
use crate::portals::{NetworkPortal, told_of};
use crate::tasks::Slot;

const MAX_RECV_DATA_SEGMENT_LENGTH: &str = "MaxRecvDataSegmentLength";

impl FullFeature<'_> {
    /// Takes a Text Request: the first of an exchange, or one that goes on with it.
    pub(super) fn text(&mut self, request: &TextRequest, pdu: &Pdu, slot: Option<Slot>) {
        drop(slot);
        let bytes_max = self.initiator_bytes_max();
        // A request without a tag begins anew, whatever went on before (RFC 7143 11.10.4).
        let exchange = if request.ttt.is_reserved() {
            Some(TargetTextExchange::new(self.ttts.take(), bytes_max))
        } else {
            self.text.take().filter(|exchange| exchange.ttt() == request.ttt)
        };
        let Some(mut exchange) = exchange else { return self.reject(pdu, RejectReason::INVALID_PDU_FIELD) };
        let response = match exchange.handle(request, &pdu.data) {
            Ok(TextStep::Respond(response)) => response,
            Ok(TextStep::Asked(keys)) => {
                let Some(answer) = self.answer(&keys) else {
                    return self.reject(pdu, RejectReason::PROTOCOL_ERROR);
                };
                exchange.answer(request, &answer)
            }
            Err(_) => return self.reject(pdu, RejectReason::PROTOCOL_ERROR),
        };
        self.text = Some(exchange);
        self.outlet.send(response, None);
    }

    /// The answers to keys; `None` if they break the rules.
    fn answer(&mut self, keys: &TextKeys) -> Option<TextKeys> {
        keys.require_unique().ok()?;
        let mut answers = TextKeys::default();
        for (key, value) in keys.iter() {
            match key {
                SEND_TARGETS => {
                    for (key, value) in self.targets(&SendTargets::parse(value))?.iter() {
                        answers.push(key, value);
                    }
                }
                // Each end declares its own; there is no answer (RFC 7143 13.12).
                MAX_RECV_DATA_SEGMENT_LENGTH => match parse_number(value) {
                    Ok(bytes @ 512..=0x00ff_ffff) => self.parameters.initiator_max_recv_data_segment_length = bytes,
                    _ => answers.push(key, REJECT),
                },
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
