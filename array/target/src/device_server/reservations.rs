//! Who has reserved a LUN: persistent reservations (SPC-4 5.9) and RESERVE (SPC-2 5.5.1), as a state machine without I/O.

use lunshadow_scsi::{
    Access, AdditionalSense, FieldPointer, FullStatus, IscsiTransportId, RegistrationStatus, ReservationKeys,
    ReservationKind, ReservationReport, Sense,
};

use super::nexus::{InitiatorPort, Nexus, NexusId, NexusPorts};
use super::ports::PortalGroup;
use super::{illegal_request, invalid_field, invalid_parameter};

/// How many registrations a LUN takes. A cluster of 64 nodes with 8 paths each has half as many.
const REGISTRATIONS_MAX: usize = 1024;

/// The registrations and reservations of one LUN.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Reservations {
    /// PRGENERATION.
    generation: u32,
    /// INVARIANT: each nexus is there once, and no key is 0.
    registrations: Vec<Registration>,
    /// INVARIANT: a holder is registered; all registrants are at least one.
    held: Option<Reservation>,
    /// APTPL of the last registration: all this outlives the target.
    persist: bool,
    /// A change of this is being kept.
    changing: bool,
    /// The holder of RESERVE. INVARIANT: there are no registrations at the same time.
    exclusive: Option<NexusId>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Registration {
    ports: NexusPorts,
    key: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Reservation {
    kind: ReservationKind,
    /// `None`: all registrants.
    holder: Option<NexusPorts>,
}

/// What a change means for others.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Effects {
    /// Who finds which unit attention.
    pub(super) attentions: Vec<(NexusPorts, AdditionalSense)>,
    /// Whose commands a PREEMPT AND ABORT ends.
    pub(super) preempted: Vec<NexusPorts>,
}

/// Why reservations stay as they are.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// RESERVATION CONFLICT.
    Conflict,
    /// CHECK CONDITION.
    Sense(Sense),
}

type Outcome = Result<Effects, Refusal>;

impl Reservations {
    pub(super) const fn is_reserved(&self) -> bool {
        self.held.is_some() || self.exclusive.is_some()
    }

    /// Whether a nexus may use the unit like this.
    pub(super) fn admits(&self, nexus: &Nexus, access: Access, exempt: bool) -> bool {
        if access == Access::Reserving {
            return true;
        }
        if self.exclusive.is_some_and(|holder| holder != nexus.id()) && !exempt {
            return false;
        }
        let Some(Reservation { kind, holder }) = &self.held else { return true };
        let ports = nexus.ports();
        if holder.as_ref() == Some(ports) || kind.admits_registrants() && self.key_of(ports).is_some() {
            return true;
        }
        match access {
            Access::Harmless | Access::Reserving => true,
            Access::Reading => kind.admits_reading(),
            Access::Changing => false,
        }
    }

    /// RESERVE. The two kinds of reservations exclude each other (SPC-4 5.9.3, CRH=0).
    pub(super) fn reserve_unit(&mut self, nexus: NexusId) -> Outcome {
        if self.changing || !self.registrations.is_empty() || self.exclusive.is_some_and(|holder| holder != nexus) {
            return Err(Refusal::Conflict);
        }
        self.exclusive = Some(nexus);
        Ok(Effects::default())
    }

    /// RELEASE, which does nothing for whoever has not reserved.
    pub(super) fn release_unit(&mut self, nexus: NexusId) -> Outcome {
        if !self.registrations.is_empty() {
            return Err(Refusal::Conflict);
        }
        self.nexus_lost(nexus);
        Ok(Effects::default())
    }

    /// A nexus is gone: with it goes its RESERVE.
    pub(super) fn nexus_lost(&mut self, nexus: NexusId) {
        self.exclusive = self.exclusive.filter(|holder| *holder != nexus);
    }

    /// A reset ends RESERVE, and no persistent reservation.
    pub(super) const fn reset(&mut self) {
        self.exclusive = None;
    }

    /// PERSISTENT RESERVE IN and OUT conflict with every RESERVE (SPC-2 5.5.1).
    pub(super) const fn check_persistent(&self) -> Result<(), Refusal> {
        if self.exclusive.is_some() { Err(Refusal::Conflict) } else { Ok(()) }
    }

    /// REGISTER, and REGISTER AND IGNORE EXISTING KEY, which has no `expected` key (SPC-4 5.9.7). With ALL_TG_PT it is as if each nexus of the
    /// initiator port had asked for it, so that `all` has one for each target port, and otherwise one alone.
    pub(super) fn register(&mut self, all: &[NexusPorts], expected: Option<u64>, key: u64, persist: bool) -> Outcome {
        let is_other = |ports: &NexusPorts| expected.is_some_and(|key| key != self.key_of(ports).unwrap_or(0));
        if all.iter().any(is_other) {
            return Err(Refusal::Conflict);
        }
        if key == 0 && all.iter().all(|ports| self.key_of(ports).is_none()) {
            return Ok(Effects::default());
        }
        let mut effects = Effects::default();
        for ports in all {
            let registered = self.registrations.iter_mut().find(|registration| registration.ports == *ports);
            match (registered, key) {
                (None, 0) => {}
                (Some(_), 0) => effects.attentions.extend(self.unregister(ports).attentions),
                (Some(registration), key) => registration.key = key,
                (None, key) => self.add(Registration { ports: ports.clone(), key })?,
            }
        }
        // Whoever is not registered any more hears nothing.
        effects.attentions.retain(|(ports, _)| !all.contains(ports));
        self.persist = persist;
        self.count();
        Ok(effects)
    }

    /// RESERVE (SPC-4 5.9.9).
    pub(super) fn reserve(&mut self, ports: &NexusPorts, key: u64, kind: ReservationKind) -> Outcome {
        self.check_key(ports, key)?;
        match &self.held {
            None => self.held = Some(Reservation::by(ports, kind)),
            Some(held) if held.kind == kind && self.holds(ports) => {}
            Some(_) => return Err(Refusal::Conflict),
        }
        Ok(Effects::default())
    }

    /// RELEASE (SPC-4 5.9.11.2).
    pub(super) fn release(&mut self, ports: &NexusPorts, key: u64, kind: ReservationKind) -> Outcome {
        self.check_key(ports, key)?;
        if !self.holds(ports) {
            return Ok(Effects::default());
        }
        if self.held.as_ref().is_some_and(|held| held.kind != kind) {
            let code = AdditionalSense::INVALID_RELEASE_OF_PERSISTENT_RESERVATION;
            return Err(Refusal::Sense(illegal_request(code)));
        }
        Ok(self.end_reservation(ports))
    }

    /// CLEAR (SPC-4 5.9.11.6).
    pub(super) fn clear(&mut self, ports: &NexusPorts, key: u64) -> Outcome {
        self.check_key(ports, key)?;
        let attentions = self.others(ports).map(|other| (other, AdditionalSense::RESERVATIONS_PREEMPTED)).collect();
        self.registrations.clear();
        self.held = None;
        self.count();
        Ok(Effects { attentions, preempted: Vec::new() })
    }

    /// PREEMPT and PREEMPT AND ABORT (SPC-4 5.9.11.4, 5.9.11.5).
    pub(super) fn preempt(&mut self, ports: &NexusPorts, key: u64, victims: u64, kind: ReservationKind) -> Outcome {
        self.check_key(ports, key)?;
        let takes_over = match &self.held {
            Some(Reservation { holder: None, .. }) => victims == 0,
            Some(Reservation { holder: Some(holder), .. }) => self.key_of(holder) == Some(victims),
            None => false,
        };
        if victims == 0 && !takes_over {
            // SERVICE ACTION RESERVATION KEY.
            return Err(Refusal::Sense(invalid_parameter(FieldPointer::byte(8))));
        }
        let is_victim = |registration: &Registration| registration.key == victims || victims == 0;
        if !self.registrations.iter().any(is_victim) {
            return Err(Refusal::Conflict);
        }
        if takes_over && !ReservationKind::ALL.contains(&kind) {
            return Err(Refusal::Sense(invalid_field(2)));
        }
        let removed = self.registrations.extract_if(.., |other| other.ports != *ports && is_victim(other));
        let preempted: Vec<_> = removed.map(|registration| registration.ports).collect();
        let mut attentions: Vec<_> =
            preempted.iter().map(|victim| (victim.clone(), AdditionalSense::REGISTRATIONS_PREEMPTED)).collect();
        if takes_over {
            let before = self.held.replace(Reservation::by(ports, kind));
            if before.is_some_and(|before| before.kind != kind) {
                attentions.extend(self.others(ports).map(|other| (other, AdditionalSense::RESERVATIONS_RELEASED)));
            }
        }
        self.count();
        Ok(Effects { attentions, preempted })
    }

    /// REGISTER AND MOVE (SPC-4 5.9.8).
    pub(super) fn register_and_move(
        &mut self,
        ports: &NexusPorts,
        key: u64,
        to: (NexusPorts, u64),
        (unregister, persist): (bool, bool),
    ) -> Outcome {
        self.check_key(ports, key)?;
        let kind = match &self.held {
            Some(Reservation { holder: Some(holder), kind }) if holder == ports => *kind,
            Some(Reservation { holder: Some(_), .. }) => return Err(Refusal::Conflict),
            // Nobody holds it, or everybody does: there is nothing to move. SERVICE ACTION.
            Some(Reservation { holder: None, .. }) | None => return Err(Refusal::Sense(invalid_field(1))),
        };
        let (to, to_key) = to;
        if to_key == 0 {
            return Err(Refusal::Sense(invalid_parameter(FieldPointer::byte(8))));
        }
        if to == *ports {
            return Err(Refusal::Sense(invalid_parameter(FieldPointer::byte(24))));
        }
        match self.registrations.iter_mut().find(|registration| registration.ports == to) {
            Some(registration) => registration.key = to_key,
            None => self.add(Registration { ports: to.clone(), key: to_key })?,
        }
        self.held = Some(Reservation { kind, holder: Some(to) });
        let effects = if unregister { self.unregister(ports) } else { Effects::default() };
        self.persist = persist;
        self.count();
        Ok(effects)
    }

    pub(super) fn keys(&self) -> ReservationKeys {
        let keys = self.registrations.iter().map(|registration| registration.key).collect();
        ReservationKeys { generation: self.generation, keys }
    }

    pub(super) fn report(&self) -> ReservationReport {
        let reservation = self.held.as_ref().map(|held| {
            let key = held.holder.as_ref().and_then(|holder| self.key_of(holder));
            (key.unwrap_or(0), held.kind)
        });
        ReservationReport { generation: self.generation, reservation }
    }

    pub(super) fn full_status(&self) -> FullStatus {
        let registrations = self.registrations.iter().map(|registration| {
            let NexusPorts { initiator, group } = &registration.ports;
            RegistrationStatus {
                key: registration.key,
                // One made for all ports is there once for each.
                all_target_ports: false,
                holds: self.held.as_ref().filter(|_| self.holds(&registration.ports)).map(|held| held.kind),
                relative_port: group.tag(),
                initiator: IscsiTransportId { name: initiator.name.as_str().to_owned(), isid: Some(initiator.isid) },
            }
        });
        FullStatus { generation: self.generation, registrations: registrations.collect() }
    }

    /// What is to be kept over restarts, if APTPL asks for that: the parameter data of READ FULL STATUS, which says it all.
    pub(super) fn record(&self) -> Option<Vec<u8>> {
        let keeps = self.persist && !self.registrations.is_empty();
        // PRGENERATION begins anew after a loss of power (SPC-4 6.15.2).
        keeps.then(|| FullStatus { generation: 0, ..self.full_status() }.to_bytes())
    }

    /// What a record says; `None` if it is damaged.
    pub(super) fn restore(record: &[u8]) -> Option<Self> {
        let mut status = FullStatus::parse(record).ok()?;
        if status.registrations.is_empty() || status.to_bytes() != record {
            return None;
        }
        let mut restored = Self { persist: true, ..Self::default() };
        for registration in &mut status.registrations {
            // While there was but one port, records said 0 of it, or that a registration was for all.
            registration.all_target_ports = false;
            let group = registration.relative_port.try_into().map_or(PortalGroup::FIRST, PortalGroup);
            registration.relative_port = group.tag();
            let IscsiTransportId { name, isid } = &registration.initiator;
            let initiator = InitiatorPort { name: name.parse().ok()?, isid: (*isid)? };
            let ports = NexusPorts { initiator, group };
            if let Some(kind) = registration.holds {
                restored.held = Some(Reservation::by(&ports, kind));
            }
            restored.add(Registration { ports, key: registration.key }).ok()?;
        }
        (restored.full_status() == status).then_some(restored)
    }

    pub(super) const fn persists(&self) -> bool {
        self.persist
    }

    /// A change is on its way to where it is kept: RESERVE has to wait for what comes of it.
    pub(super) const fn hold(&mut self, held: bool) {
        self.changing = held;
    }

    fn key_of(&self, ports: &NexusPorts) -> Option<u64> {
        self.registrations.iter().find(|registration| registration.ports == *ports).map(|registration| registration.key)
    }

    fn check_key(&self, ports: &NexusPorts, key: u64) -> Result<(), Refusal> {
        if self.key_of(ports) == Some(key) { Ok(()) } else { Err(Refusal::Conflict) }
    }

    fn holds(&self, ports: &NexusPorts) -> bool {
        self.held.as_ref().is_some_and(|held| held.holder.as_ref().is_none_or(|holder| holder == ports))
            && self.key_of(ports).is_some()
    }

    fn add(&mut self, registration: Registration) -> Result<(), Refusal> {
        if self.registrations.len() >= REGISTRATIONS_MAX {
            return Err(Refusal::Sense(illegal_request(AdditionalSense::INSUFFICIENT_REGISTRATION_RESOURCES)));
        }
        self.registrations.push(registration);
        Ok(())
    }

    /// Removes a registration, and the reservation if nobody holds it then (SPC-4 5.9.11.3).
    fn unregister(&mut self, ports: &NexusPorts) -> Effects {
        let held_alone = match &self.held {
            Some(Reservation { holder: Some(holder), .. }) => holder == ports,
            Some(Reservation { holder: None, .. }) => self.registrations.len() == 1,
            None => false,
        };
        let effects = if held_alone { self.end_reservation(ports) } else { Effects::default() };
        self.registrations.retain(|registration| registration.ports != *ports);
        effects
    }

    /// The others who were let in by the reservation hear of its end.
    fn end_reservation(&mut self, ports: &NexusPorts) -> Effects {
        let concerned = self.held.take().is_some_and(|held| held.kind.admits_registrants());
        let attentions = self.others(ports).filter(|_| concerned);
        let attentions = attentions.map(|other| (other, AdditionalSense::RESERVATIONS_RELEASED)).collect();
        Effects { attentions, preempted: Vec::new() }
    }

    fn others(&self, ports: &NexusPorts) -> impl Iterator<Item = NexusPorts> {
        self.registrations.iter().map(|registration| &registration.ports).filter(move |other| *other != ports).cloned()
    }

    const fn count(&mut self) {
        self.generation = self.generation.wrapping_add(1);
    }
}

impl Reservation {
    fn by(ports: &NexusPorts, kind: ReservationKind) -> Self {
        Self { kind, holder: (!kind.is_all_registrants()).then(|| ports.clone()) }
    }
}
