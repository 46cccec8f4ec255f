//! The arrival of the shadow LUNs on this host: steps 4.11 to 4.14 of section 4(a), matching by section 5.3.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use lunshadow_vss::{
    BusType, DeviceName, DiskSignature, LUN_INFORMATION_VERSION, LunInformation, MatchLevel, Method, ProviderId,
    StorageIdentifier,
};

use crate::creation::serial_of;
use crate::deletion::empty_lun;
use crate::failure::CreationError;
use crate::platform::{DiskExtent, HostDisk, PlatformError, VolumeLun};
use crate::provider_calls::{ProviderFailure, ProviderSeat};
use crate::requester::DraftVolume;
use crate::service::{Service, ShadowLun};
use crate::settings::{LocateArray, MatchMode};
use crate::timeline::{Activity, Ending, Phase};

/// The shadow LUNs of one set, as far as they are known and here.
#[derive(Default)]
pub(crate) struct Import {
    expected: Vec<Expected>,
    /// The shadow LUNs once for each volume that they have a part of.
    per_volume: Vec<(ProviderId, LunInformation)>,
    /// There since LUNs may have been mapped.
    search: Option<Search>,
}

/// A shadow LUN that a provider announced.
pub(crate) struct Target {
    pub(crate) provider: Arc<ProviderSeat>,
    pub(crate) source_device: DeviceName,
    pub(crate) source: LunInformation,
    pub(crate) shadow: LunInformation,
    /// Where the volumes of the set lie on it.
    extents: BTreeSet<DiskExtent>,
}

/// The disk that a target arrived as.
pub(crate) struct Arrival {
    pub(crate) device: DeviceName,
    pub(crate) match_level: MatchLevel,
}

/// Why it cannot be known what has arrived.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ArrivalError {
    #[error(transparent)]
    Rescan(#[from] PlatformError),
    #[error(transparent)]
    Provider(#[from] ProviderFailure),
}

impl From<ArrivalError> for CreationError {
    fn from(error: ArrivalError) -> Self {
        match error {
            ArrivalError::Rescan(error) => Self::Rescan(error),
            ArrivalError::Provider(failure) => Self::Provider(failure),
        }
    }
}

struct Expected {
    target: Target,
    arrival: Option<Arrival>,
    /// A disk that is this LUN, but without the volumes that should be on it.
    incomplete: Option<DeviceName>,
}

/// What is known of the disks of this host.
struct Search {
    /// Disks that were there before, which cannot be ones of the set.
    before: BTreeSet<DeviceName>,
    /// Disks that arrived, with what the provider that recognised one has made of it. Providers are asked once for each disk.
    owners: BTreeMap<DeviceName, Option<(ProviderId, LunInformation)>>,
}

impl Import {
    /// Step 4.11.
    pub(crate) fn get_targets<'a>(
        &mut self,
        volumes: impl Iterator<Item = &'a DraftVolume>,
    ) -> Result<(), CreationError> {
        for volume in volumes {
            let seat = &volume.provider;
            let shadows = seat.get_target_luns(&volume.devices(), &volume.sources(), &volume.volume.0)?;
            for (lun, shadow) in volume.luns.iter().zip(shadows) {
                self.expect(seat, lun, shadow).map_err(|reason| bad_target(seat, reason))?;
            }
        }
        Ok(())
    }

    /// Expects the shadow LUN of one LUN of a volume. Fails with what speaks against it.
    pub(crate) fn expect(
        &mut self,
        seat: &Arc<ProviderSeat>,
        lun: &VolumeLun,
        shadow: LunInformation,
    ) -> Result<(), &'static str> {
        // Such a target would be found on the source itself, which would then get a new signature.
        if shadow.matches_by_page83(&lun.lun) {
            return Err("a target has the identity of its source");
        }
        let known = |it: &&mut Expected| it.target.provider.id() == seat.id() && it.target.source_device == lun.device;
        self.per_volume.push((seat.id(), shadow.clone()));
        if let Some(known) = self.expected.iter_mut().find(known) {
            if known.target.shadow != shadow {
                return Err("a LUN of two volumes has two different targets");
            }
            known.target.extents.extend(&lun.extents);
            return Ok(());
        }
        let target = Target {
            provider: Arc::clone(seat),
            source_device: lun.device.clone(),
            source: lun.lun.clone(),
            shadow,
            extents: lun.extents.iter().copied().collect(),
        };
        self.expected.push(Expected { target, arrival: None, incomplete: None });
        Ok(())
    }

    /// Steps 4.12 to 4.14.
    pub(crate) fn bring_in(
        &mut self,
        service: &Service,
        participants: &[Arc<ProviderSeat>],
    ) -> Result<(), CreationError> {
        let before = rescan(service).map_err(CreationError::Rescan)?.into_iter().map(|disk| disk.device).collect();
        self.locate(service, participants, before)?;
        let timeout = service.settings.arrival_timeout;
        let began = service.recorder.begin();
        let result = self.await_disks(service, participants).map_err(CreationError::from).and_then(|()| {
            let missing = self.expected.iter().find(|expected| expected.arrival.is_none());
            missing.map_or(Ok(()), |missing| Err(missing.error(timeout)))
        });
        let ending = match &result {
            Ok(()) => Ending::answered(self.levels()),
            Err(error) => Ending::failed(error),
        };
        service.recorder.end(began, Activity::Phase { phase: Phase::Arrival }, ending);
        result?;
        // Every arrival is a copy of a disk that is here.
        for (target, arrival) in self.arrived() {
            new_identity(service, target, &arrival.device)
                .map_err(|source| CreationError::Identity { device: arrival.device.clone(), source })?;
        }
        Ok(())
    }

    /// Step 4.12. Disks of `before` are not looked at afterwards.
    pub(crate) fn locate(
        &mut self,
        service: &Service,
        participants: &[Arc<ProviderSeat>],
        before: BTreeSet<DeviceName>,
    ) -> Result<(), ProviderFailure> {
        self.search = Some(Search { before, owners: BTreeMap::new() });
        for seat in participants {
            seat.locate_luns(&self.locate_array(service.settings.locate_array, seat.id()))?;
        }
        Ok(())
    }

    /// The announced LUNs.
    pub(crate) fn targets(&self) -> impl Iterator<Item = &Target> {
        self.expected.iter().map(|expected| &expected.target)
    }

    /// The shadow LUN of a source LUN, as it was announced.
    pub(crate) fn target(&self, provider: ProviderId, source_device: &DeviceName) -> Option<&Target> {
        self.targets().find(|it| it.provider.id() == provider && it.source_device == *source_device)
    }

    /// Where the shadow copy of a volume lies; `None` unless all of it has arrived.
    pub(crate) fn shadow_luns(
        &self,
        service: &Service,
        provider: ProviderId,
        luns: &[VolumeLun],
    ) -> Option<Vec<ShadowLun>> {
        let shadow_lun = |lun: &VolumeLun| {
            let is_it = |it: &&Expected| it.target.provider.id() == provider && it.target.source_device == lun.device;
            let expected = self.expected.iter().find(is_it)?;
            let arrival = expected.arrival.as_ref()?;
            let original_identity = service.state().original_identity(&expected.target.shadow).cloned();
            Some(ShadowLun {
                source_device: lun.device.clone(),
                source: lun.lun.clone(),
                extents: lun.extents.clone(),
                shadow: expected.target.shadow.clone(),
                device: arrival.device.clone(),
                match_level: arrival.match_level,
                original_identity,
            })
        };
        luns.iter().map(shadow_lun).collect()
    }

    /// After a failure: gives back to their providers the LUNs that this host sees, and answers with the others.
    pub(crate) fn give_back(mut self, service: &Service, participants: &[Arc<ProviderSeat>]) -> Vec<LunInformation> {
        // Some providers may have mapped their LUNs, before another failed or without saying so.
        if let Err(error) = self.look(service, participants) {
            tracing::warn!(%error, "the host could not look for the disks of a failed set");
        }
        let mut unreclaimed = Vec::new();
        let mut has_changed = false;
        for Expected { target, arrival, incomplete } in self.expected {
            let device = arrival.map(|arrival| arrival.device).or(incomplete);
            let emptied = device.map(|device| empty_lun(service, &target.provider, &device, &target.shadow));
            if let Some(Err(error)) = &emptied {
                tracing::warn!(%error, lun = serial_of(&target.shadow), "a shadow LUN of a failed set could not be given back");
            }
            if let Some(Ok(())) = emptied {
                has_changed = true;
            } else {
                unreclaimed.push(target.shadow);
            }
        }
        if has_changed && let Err(error) = rescan(service) {
            tracing::warn!(%error, "the host could not look for gone disks");
        }
        unreclaimed
    }

    fn locate_array(&self, array: LocateArray, provider: ProviderId) -> Vec<LunInformation> {
        match array {
            LocateArray::Deduplicated => {
                let of_provider = |target: &&Target| target.provider.id() == provider;
                self.targets().filter(of_provider).map(|target| target.shadow.clone()).collect()
            }
            LocateArray::PerVolume => {
                let of_provider = |it: &&(ProviderId, LunInformation)| it.0 == provider;
                self.per_volume.iter().filter(of_provider).map(|(_, shadow)| shadow.clone()).collect()
            }
        }
    }

    /// Step 4.13: looks again and again until every target is there or the time is up.
    pub(crate) fn await_disks(
        &mut self,
        service: &Service,
        participants: &[Arc<ProviderSeat>],
    ) -> Result<(), ArrivalError> {
        show_foreign_disks(service, participants)?;
        let until = service.clock.now() + service.settings.arrival_timeout;
        loop {
            self.look(service, participants)?;
            let now = service.clock.now();
            if now >= until || self.expected.iter().all(|expected| expected.arrival.is_some()) {
                return Ok(());
            }
            service.platform.wait_for_change(until - now);
        }
    }

    /// Looks once for the targets that are not there yet, if any can be there.
    fn look(&mut self, service: &Service, participants: &[Arc<ProviderSeat>]) -> Result<(), ArrivalError> {
        let Self { expected, search: Some(search), .. } = self else { return Ok(()) };
        if expected.iter().all(|expected| expected.arrival.is_some()) {
            return Ok(());
        }
        for disk in rescan(service)?.iter().filter(|disk| !search.before.contains(&disk.device)) {
            let owner = match search.owners.entry(disk.device.clone()) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(new) => new.insert(recognise(service, disk, participants)?),
            };
            if let Some((provider, filled)) = owner {
                match_disk(service.settings.match_mode, expected, disk, (*provider, filled));
            }
        }
        Ok(())
    }

    pub(crate) fn arrivals(&self) -> impl Iterator<Item = &Arrival> {
        self.arrived().map(|(_, arrival)| arrival)
    }

    /// The announced LUNs that are here, with the disks that they are.
    pub(crate) fn arrived(&self) -> impl Iterator<Item = (&Target, &Arrival)> {
        self.expected.iter().filter_map(|expected| Some((&expected.target, expected.arrival.as_ref()?)))
    }

    /// How sure the matches were, in words.
    pub(crate) fn levels(&self) -> String {
        let levels: BTreeSet<_> = self.arrivals().map(|arrival| arrival.match_level).collect();
        let name = |level: &MatchLevel| match level {
            MatchLevel::Strict => "strict",
            MatchLevel::Page83 => "page 0x83",
            MatchLevel::Page80 => "page 0x80",
        };
        levels.iter().map(name).collect::<Vec<_>>().join(", ")
    }
}

impl Target {
    fn has_its_volumes_on(&self, disk: &HostDisk) -> bool {
        self.extents.iter().all(|extent| {
            let fits = extent.offset_bytes.checked_add(extent.len_bytes).is_some_and(|end| end <= disk.len_bytes);
            fits && disk.volumes.contains(extent)
        })
    }
}

impl Expected {
    fn error(&self, timeout: Duration) -> CreationError {
        let source_device = self.target.source_device.clone();
        match &self.incomplete {
            Some(device) => CreationError::MissingVolume { source_device, device: device.clone() },
            None => CreationError::MissingDisk { source_device, timeout },
        }
    }
}

/// Matches one disk against the targets that are still missing, the surest match first.
fn match_disk(
    mode: MatchMode,
    expected: &mut [Expected],
    disk: &HostDisk,
    (provider, filled): (ProviderId, &LunInformation),
) {
    if expected.iter().filter_map(|it| it.arrival.as_ref()).any(|arrival| arrival.device == disk.device) {
        return;
    }
    let missing = expected.iter_mut().filter(|it| it.arrival.is_none() && it.target.provider.id() == provider);
    let by_level = missing.filter_map(|it| Some((mode.level(&it.target.shadow, filled)?, it)));
    let Some((match_level, expected)) = by_level.min_by_key(|(level, _)| *level) else { return };
    if expected.target.has_its_volumes_on(disk) {
        expected.arrival = Some(Arrival { device: disk.device.clone(), match_level });
    } else {
        expected.incomplete = Some(disk.device.clone());
    }
}

/// Asks every provider of the set, as VSS does for every disk that arrives, whosever it is.
fn recognise(
    service: &Service,
    disk: &HostDisk,
    participants: &[Arc<ProviderSeat>],
) -> Result<Option<(ProviderId, LunInformation)>, ProviderFailure> {
    let (seen, mode) = (service.settings.as_seen(&disk.lun), service.settings.fill_mode);
    let mut owner = None;
    for seat in participants {
        if let Some(filled) = seat.fill_in_lun_info(&disk.device, &seen, mode)? {
            owner = owner.or(Some((seat.id(), filled)));
        }
    }
    Ok(owner)
}

/// Disks of somebody else that arrive at the same time, as many as the settings want. What a provider says of them changes nothing: no
/// target matches them.
fn show_foreign_disks(service: &Service, participants: &[Arc<ProviderSeat>]) -> Result<(), ProviderFailure> {
    for number in 0..service.settings.fill_extra {
        let device = DeviceName(format!(r"\\?\ForeignDrive{number}"));
        for seat in participants {
            seat.fill_in_lun_info(&device, &foreign_lun(number), service.settings.fill_mode)?;
        }
    }
    Ok(())
}

fn foreign_lun(number: usize) -> LunInformation {
    let serial = format!("FOREIGN-{number}");
    LunInformation {
        version: LUN_INFORMATION_VERSION,
        device_type: 0,
        device_type_modifier: 0,
        command_queueing: true,
        bus_type: BusType::SCSI,
        vendor_id: Some("OTHERS".to_owned()),
        product_id: Some("DISK".to_owned()),
        product_revision: Some("1".to_owned()),
        identifiers: vec![StorageIdentifier {
            code_set: 2,
            kind: StorageIdentifier::VENDOR_ID,
            bytes: format!("OTHERS  {serial}").into_bytes(),
        }],
        serial_number: Some(serial),
        disk_signature: DiskSignature::default(),
        descriptor_version: 1,
        interconnects: Vec::new(),
    }
}

pub(crate) fn rescan(service: &Service) -> Result<Vec<HostDisk>, PlatformError> {
    service.recorder.phase(Phase::Rescan, || service.platform.rescan())
}

/// Step 4.14, for one disk. What it came with is remembered, since a break may want it back.
pub(crate) fn new_identity(service: &Service, target: &Target, device: &DeviceName) -> Result<(), PlatformError> {
    let original = service.platform.disk(device)?.identity();
    // Before the attempt: one that fails may have changed something.
    service.state().remember_identity(&target.shadow, original);
    service.recorder.phase(Phase::NewDiskIdentities, || service.platform.assign_new_identity(device))
}

fn bad_target(seat: &ProviderSeat, reason: &'static str) -> CreationError {
    seat.bad_answer(Method::GetTargetLuns, reason).into()
}
