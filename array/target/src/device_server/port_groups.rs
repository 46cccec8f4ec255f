//! Asymmetric access to units through target port groups (SPC-4 5.15), and SET TARGET PORT GROUPS.
//!
//! Each unit has states of its own. All ports lead to the same process, so that they are active/optimized until an initiator sets something else:
//! which path it prefers, or which one nobody is to use. What it sets is kept over restarts like persistent reservations, and resets do not change it.
//! What an administrator has decided holds for all units, and of the two the worse one counts.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use lunshadow_lun::{LunMap, PortalGroupState, PortalGroupStates, UnitRecord};
use lunshadow_scsi::{
    AccessState, AdditionalSense, FieldPointer, Reach, Sense, SenseKey, SetTargetPortGroup, TargetPortGroup,
};
use parking_lot::Mutex;

use super::medium::{Kind, Operation};
use super::nexus::{Nexus, Nexuses};
use super::ports::{PortalGroup, TargetPorts};
use super::unit::{Disk, Unit};
use super::{illegal_request, invalid_field, invalid_parameter};

/// The states that groups can be in. Transitions take no time, and there are no secondary states.
const STATES: [AccessState; 4] =
    [AccessState::ACTIVE_OPTIMIZED, AccessState::ACTIVE_NON_OPTIMIZED, AccessState::STANDBY, AccessState::UNAVAILABLE];

/// The states of one unit's target port groups.
#[derive(Debug, Default)]
pub(super) struct AccessStates {
    set: Mutex<StatesSet>,
    by_administrator: Arc<PortalGroupStates>,
    /// Whether initiators have set a group that is not active then. Kept beside the states, so that the data path only looks here.
    restricted: AtomicBool,
    /// Held by a SET TARGET PORT GROUPS until what it changes is kept.
    changing: tokio::sync::Mutex<()>,
}

/// The groups that are not active/optimized.
type StatesSet = BTreeMap<PortalGroup, AccessState>;

/// The name that SCSI has for what an administrator has decided.
const fn state_of(decided: PortalGroupState) -> AccessState {
    match decided {
        PortalGroupState::Optimized => AccessState::ACTIVE_OPTIMIZED,
        PortalGroupState::NonOptimized => AccessState::ACTIVE_NON_OPTIMIZED,
        PortalGroupState::Standby => AccessState::STANDBY,
        PortalGroupState::Unavailable => AccessState::UNAVAILABLE,
    }
}

/// The worse of two states. Each of them is among [`STATES`].
const fn worse_of(one: AccessState, other: AccessState) -> AccessState {
    if one.0 > other.0 { one } else { other }
}

impl AccessStates {
    pub(super) fn new(by_administrator: Arc<PortalGroupStates>) -> Self {
        Self { by_administrator, ..Self::default() }
    }

    /// The state of a group.
    pub(super) fn of(&self, group: PortalGroup) -> AccessState {
        let set = self.set.lock().get(&group).copied().unwrap_or(AccessState::ACTIVE_OPTIMIZED);
        worse_of(set, state_of(self.by_administrator.of(group.0)))
    }

    /// Another number after each decision of an administrator.
    pub(super) fn decided(&self) -> u64 {
        self.by_administrator.generation()
    }

    /// Why a command is not answered through the port of a group, if it is not (SPC-4 5.15.2.4).
    pub(super) fn check(&self, group: PortalGroup, reach: Reach) -> Result<(), Sense> {
        if !self.restricted.load(Ordering::Acquire) && !self.by_administrator.are_restricted() {
            return Ok(());
        }
        let code = match (self.of(group), reach) {
            (AccessState::STANDBY, Reach::Active) => AdditionalSense::TARGET_PORT_IN_STANDBY,
            (AccessState::UNAVAILABLE, Reach::Active | Reach::OnStandby) => AdditionalSense::TARGET_PORT_UNAVAILABLE,
            _ => return Ok(()),
        };
        Err(Sense::new(SenseKey::NOT_READY, code))
    }

    /// Whether nothing would be lost if this was forgotten.
    pub(super) fn are_at_rest(&self) -> bool {
        self.set.lock().is_empty()
    }

    /// Takes the states of a record. Whether it could be read.
    pub(super) fn restore(&self, record: &[u8]) -> bool {
        let Some(states) = states_of_record(record) else { return false };
        self.replace(states);
        true
    }

    fn replace(&self, states: StatesSet) {
        let mut set = self.set.lock();
        let is_active =
            |state: &AccessState| matches!(*state, AccessState::ACTIVE_OPTIMIZED | AccessState::ACTIVE_NON_OPTIMIZED);
        self.restricted.store(!states.values().all(is_active), Ordering::Release);
        *set = states;
    }
}

/// A record is the parameter list of SET TARGET PORT GROUPS that would set what is set. Groups that there are no portals of at present stay in it.
fn record_of(states: &StatesSet) -> Option<Bytes> {
    let groups: Vec<_> =
        states.iter().map(|(group, state)| SetTargetPortGroup { group: group.tag(), state: *state }).collect();
    (!groups.is_empty()).then(|| SetTargetPortGroup::list_to_bytes(&groups).into())
}

fn states_of_record(record: &[u8]) -> Option<StatesSet> {
    let groups = SetTargetPortGroup::parse_list(record).ok()?;
    let read = |group: SetTargetPortGroup| {
        let tag = group.group.try_into().ok()?;
        STATES.contains(&group.state).then_some((PortalGroup(tag), group.state))
    };
    groups.into_iter().map(read).collect()
}

/// REPORT TARGET PORT GROUPS: all groups, each of which is one port.
pub(super) fn report(unit: &Unit, ports: &TargetPorts, extended: bool) -> Vec<u8> {
    let state_of = |group| match unit {
        Unit::Disk(disk) => disk.state.access.of(group),
        Unit::Controller | Unit::Absent => AccessState::ACTIVE_OPTIMIZED,
    };
    let can_be_set = matches!(unit, Unit::Disk(_)) && ports.are_several();
    let supported = if can_be_set { &STATES[..] } else { &STATES[..1] };
    let describe = |group: &PortalGroup| TargetPortGroup {
        group: group.tag(),
        preferred: false,
        state: state_of(*group),
        supported_states: supported.iter().fold(0, |bits, state| bits | state.support_bit()),
        ports: vec![group.tag()],
    };
    let groups: Vec<_> = ports.groups.iter().map(describe).collect();
    TargetPortGroup::list_to_bytes(&groups, extended)
}

/// A SET TARGET PORT GROUPS that waits for its parameters.
pub(super) struct SetPortGroups {
    pub(super) parameter_len: u32,
    pub(super) nexus: Arc<Nexus>,
    pub(super) nexuses: Arc<Nexuses>,
    pub(super) ports: Arc<TargetPorts>,
    pub(super) map: Arc<dyn LunMap>,
}

impl fmt::Debug for SetPortGroups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SetPortGroups").field("parameter_len", &self.parameter_len).finish_non_exhaustive()
    }
}

impl Operation {
    pub(super) fn set_port_groups(disk: Disk, set: SetPortGroups) -> Result<Self, Sense> {
        // SPC-4 6.45: without parameters nothing changes, and that is no error.
        if set.parameter_len == 0 {
            return Ok(Self { disk, kind: Kind::Nothing });
        }
        let len = usize::try_from(set.parameter_len).unwrap_or(usize::MAX);
        let is_len = |groups| SetTargetPortGroup::list_len(groups) == len;
        if !(1..=set.ports.groups.len()).any(is_len) {
            return Err(invalid_field(6));
        }
        Ok(Self { disk, kind: Kind::SetPortGroups(Box::new(set)) })
    }
}

impl SetPortGroups {
    /// Sets all states of the list or none.
    pub(super) async fn run(self, disk: &Disk, list: &[u8]) -> Result<(), Sense> {
        let wanted = self.wanted(list)?;
        let access = &disk.state.access;
        // SPC-4 6.45: a state that cannot be reached is an error, and here nothing changes then.
        let is_reached = |(group, state): (&PortalGroup, &AccessState)| {
            worse_of(*state, state_of(access.by_administrator.of(group.0))) == *state
        };
        if !wanted.iter().all(is_reached) {
            tracing::info!(lun = %disk.lun.id(), initiator = %self.nexus.initiator(), "an administrator has a target port group be worse");
            return Err(not_set());
        }
        let _changing = access.changing.lock().await;
        let before = access.set.lock().clone();
        let mut after = before.clone();
        after.extend(wanted);
        after.retain(|_, state| *state != AccessState::ACTIVE_OPTIMIZED);
        if after == before {
            return Ok(());
        }
        self.keep(disk, &after).await?;
        tracing::info!(lun = %disk.lun.id(), initiator = %self.nexus.initiator(), states = ?after, "target port groups are set");
        access.replace(after);
        // SPC-4 5.15.2: whoever has set them knows.
        let (code, except) = (AdditionalSense::ASYMMETRIC_ACCESS_STATE_CHANGED, self.nexus.id());
        self.nexuses.post(Some(disk.id()), code, Some(except));
        Ok(())
    }

    fn wanted(&self, list: &[u8]) -> Result<StatesSet, Sense> {
        let length_error = || illegal_request(AdditionalSense::PARAMETER_LIST_LENGTH_ERROR);
        if u32::try_from(list.len()) != Ok(self.parameter_len) {
            return Err(length_error());
        }
        let groups = SetTargetPortGroup::parse_list(list);
        let groups = groups.map_err(|field| field.map_or_else(length_error, invalid_parameter))?;
        let mut wanted = StatesSet::new();
        for (index, SetTargetPortGroup { group, state }) in groups.into_iter().enumerate() {
            let place = SetTargetPortGroup::list_len(index);
            if !STATES.contains(&state) {
                return Err(invalid_parameter(FieldPointer::bit(place, 3)));
            }
            let known = self.ports.with_tag(group);
            let is_new = known.is_some_and(|group| wanted.insert(group, state).is_none());
            if !is_new {
                return Err(invalid_parameter(FieldPointer::byte(place + 2)));
            }
        }
        Ok(wanted)
    }

    /// What cannot be kept is not set.
    async fn keep(&self, disk: &Disk, states: &StatesSet) -> Result<(), Sense> {
        let Some(store) = self.map.unit_store() else { return Ok(()) };
        let kept = store.keep(disk.lun.id(), UnitRecord::PortGroups, record_of(states)).await;
        kept.map_err(|error| {
            tracing::error!(error = &error as &dyn std::error::Error, "the states of target port groups are not set");
            not_set()
        })
    }
}

const fn not_set() -> Sense {
    Sense::new(SenseKey::HARDWARE_ERROR, AdditionalSense::SET_TARGET_PORT_GROUPS_FAILED)
}
