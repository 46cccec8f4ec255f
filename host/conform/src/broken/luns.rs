//! The faults of the calls about LUNs.

use std::collections::BTreeSet;

use lunshadow_vss::{Context, DeviceName, DiskSignature, HResult, LunInformation, LunStateChange, StorageIdentifier};
use uuid::Uuid;

use super::memory::{Announced, Step};
use super::{BrokenProvider, Fault};
use crate::bed::{EventSink as _, Gravity};
use crate::lab::serial;

impl BrokenProvider {
    /// LUNs as the sound provider knows them, where the fault has announced them as something else.
    pub(super) fn genuine(&self, luns: &[LunInformation]) -> Vec<LunInformation> {
        let memory = self.memory.lock();
        luns.iter().map(|lun| memory.genuine(lun)).collect()
    }

    fn is_announced(&self, lun: &LunInformation) -> bool {
        self.memory.lock().find(lun).is_some()
    }

    pub(super) fn supports(
        &self,
        context: Context,
        devices: &[DeviceName],
        luns: &mut [LunInformation],
    ) -> Result<bool, HResult> {
        let answer = self.inner().are_luns_supported(context, devices, &mut self.genuine(luns));
        let is_own_shadow = luns.iter().any(|lun| self.is_announced(lun));
        match self.fault {
            Fault::AgreesToPlex if context.contains(Context::PLEX) => Ok(true),
            Fault::ServesClients if context.contains(Context::CLIENT_ACCESSIBLE) => Ok(true),
            Fault::NeedsAHint if !is_own_shadow && !context.intersects(Context::DIFFERENTIAL | Context::PLEX) => {
                answer.map(|_| false)
            }
            Fault::DisownsShadows if is_own_shadow => Ok(false),
            Fault::AskingBegins => {
                let (set, snapshot) = (crate::lab::new_set(), lunshadow_vss::SnapshotId(Uuid::new_v4()));
                let _ = self.quietly(|inner| inner.begin_prepare_snapshot(set, snapshot, context, devices, luns));
                answer
            }
            _ if answer == Ok(false) => self.supports_after_a_no(luns),
            _ => answer,
        }
    }

    fn supports_after_a_no(&self, luns: &[LunInformation]) -> Result<bool, HResult> {
        let known: Vec<_> = luns.iter().map(|lun| self.knows(lun)).collect();
        let (is_foreign, is_unreachable) = (known == [Ok(false)], known.iter().any(Result::is_err));
        match self.fault {
            Fault::ClaimsForeign if is_foreign => Ok(true),
            Fault::VetoesForeign if is_foreign => self.veto(),
            Fault::OneOfOursIsEnough if known.len() > 1 && known.contains(&Ok(true)) => Ok(true),
            Fault::VetoesWhenUnreachable if is_unreachable => self.veto(),
            Fault::HopesWhenUnreachable if is_unreachable => Ok(true),
            _ => Ok(false),
        }
    }

    #[expect(clippy::panic, reason = "the fault is to crash")]
    pub(super) fn fill_in(&self, device: &DeviceName, lun: &mut LunInformation) -> (HResult, bool) {
        let before = lun.clone();
        let is_long = before.identifiers.iter().any(|identifier| identifier.bytes.len() >= 64 << 10);
        match self.fault {
            Fault::PanicsOnAbsence if before.vendor_id.is_none() => panic!("a fault was planted here"),
            Fault::PanicsOnLength if is_long => panic!("a fault was planted here"),
            _ => {}
        }
        let mut filled = self.memory.lock().genuine(lun);
        let (code, is_ours) = self.inner().fill_in_lun_info(device, &mut filled);
        if is_ours {
            *lun = filled;
        }
        match self.fault {
            Fault::ClearsInterconnects => lun.interconnects.clear(),
            Fault::FailureClaims if code != HResult::S_OK => return (code, true),
            _ if code == HResult::S_OK && is_ours => return self.filled_in(&before, lun),
            _ if code == HResult::S_OK => return self.not_filled_in(lun),
            _ => {}
        }
        (code, is_ours)
    }

    fn filled_in(&self, before: &LunInformation, lun: &mut LunInformation) -> (HResult, bool) {
        let altered = self.memory.lock().find(lun).map(|announced| announced.altered.identifiers.clone());
        match self.fault {
            Fault::FillsInWrongly => lun.product_revision = Some("9999".to_owned()),
            Fault::ExactSpellingOnly if !before.matches_strictly(lun) => {
                lun.clone_from(before);
                return (HResult::S_OK, false);
            }
            Fault::KeepsSignatures => lun.disk_signature = before.disk_signature,
            Fault::IdentityOfTheProcess if altered.is_some() => lun.product_revision = Some(self.revision()),
            Fault::NoIdentifiers | Fault::IdentifierOfTheSource | Fault::NewIdentityEachTime => {
                if let Some(identifiers) = altered {
                    lun.identifiers = identifiers;
                }
            }
            _ => {}
        }
        (HResult::S_OK, true)
    }

    fn not_filled_in(&self, lun: &mut LunInformation) -> (HResult, bool) {
        match self.fault {
            Fault::ClaimsForeignDisks => return (HResult::S_OK, true),
            Fault::RewritesForeignDisks => lun.product_revision = Some("9999".to_owned()),
            Fault::VetoesForeignDisks => {
                let code = self.veto::<()>().err().unwrap_or(HResult::S_OK);
                return (code, false);
            }
            Fault::ArrivalsEndTheSet => {
                let current = self.memory.lock().current;
                if let Some(current) = current {
                    let _ = self.quietly(|inner| inner.abort_snapshots(current));
                }
            }
            _ => {}
        }
        (HResult::S_OK, false)
    }

    fn revision(&self) -> String {
        format!("{:04}", self.process)
    }

    pub(super) fn targets(
        &self,
        devices: &[DeviceName],
        sources: &[LunInformation],
    ) -> Result<Vec<LunInformation>, HResult> {
        let current = self.memory.lock().current;
        let step = current.and_then(|set| self.memory.lock().step(set));
        match self.fault {
            Fault::IllegalCode if sources.is_empty() => return Err(HResult::E_POINTER),
            Fault::PlainFailure if sources.is_empty() => return Err(HResult::E_FAIL),
            Fault::NeedsTargetsEarly if step == Some(Step::Created) => return self.veto(),
            Fault::AnswersForStrangers if step >= Some(Step::PostCommitted) => {
                let answer = self.quietly(|inner| inner.get_target_luns(devices, sources));
                return Ok(answer.unwrap_or_else(|_| sources.to_vec()));
            }
            _ => {}
        }
        let mut targets = self.inner().get_target_luns(devices, sources)?;
        if self.is(Fault::MapsEarly) {
            let _ = self.quietly(|inner| inner.locate_luns(&targets));
        }
        for (source, target) in sources.iter().zip(&mut targets) {
            let genuine = target.clone();
            self.alter(source, target);
            let (set, process, source, altered) = (current, self.process, source.clone(), target.clone());
            self.memory.lock().announced.push(Announced { set, process, source, genuine, altered });
        }
        match self.fault {
            Fault::TargetsReversed => targets.reverse(),
            Fault::LastTargetMissing if targets.len() > 1 => drop(targets.pop()),
            _ => {}
        }
        Ok(targets)
    }

    fn alter(&self, source: &LunInformation, target: &mut LunInformation) {
        match self.fault {
            Fault::TargetsHaveSignatures => target.disk_signature = DiskSignature(Uuid::from_u128(0x0815)),
            Fault::NoIdentifiers => target.identifiers.clear(),
            Fault::IdentifierOfTheSource => target.identifiers.extend(source.identifiers.first().cloned()),
            Fault::NewIdentityEachTime => target.identifiers.push(StorageIdentifier {
                code_set: 1,
                kind: StorageIdentifier::VENDOR_ID,
                bytes: Uuid::new_v4().as_bytes().to_vec(),
            }),
            Fault::IdentityOfTheProcess => target.product_revision = Some(self.revision()),
            _ => {}
        }
    }

    /// The LUNs of a call, for this process.
    fn keys(&self, luns: &[LunInformation]) -> BTreeSet<(u32, String)> {
        luns.iter().map(|lun| (self.process, serial(lun).to_owned())).collect()
    }

    pub(super) fn locate(&self, shadows: &[LunInformation]) -> Result<(), HResult> {
        let keys = self.keys(shadows);
        let own = |lun: &LunInformation| self.memory.lock().find(lun).is_none_or(|it| it.process == self.process);
        let is_creating = {
            let memory = self.memory.lock();
            let step = memory.current.and_then(|set| memory.step(set));
            step.is_some_and(|step| step < Step::PostCommitted)
        };
        let (is_located, is_masked) = {
            let memory = self.memory.lock();
            (!memory.located.is_disjoint(&keys), !memory.masked.is_disjoint(&keys))
        };
        match self.fault {
            Fault::LocatesOwnOnly if !shadows.iter().all(own) => return self.veto(),
            Fault::RefusesDuplicates if keys.len() < shadows.len() => return self.veto(),
            Fault::RefusesLocated if is_located => return self.veto(),
            Fault::OneImportOnly if is_masked => return self.veto(),
            Fault::BusyWhileCreating if is_creating => return self.veto(),
            Fault::LeavesHalfLocated => {
                return shadows.iter().try_for_each(|lun| self.inner().locate_luns(std::slice::from_ref(lun)));
            }
            Fault::SkipsUnknown => {
                for lun in shadows {
                    let _ = self.quietly(|inner| inner.locate_luns(std::slice::from_ref(lun)));
                }
                return Ok(());
            }
            _ => {}
        }
        self.inner().locate_luns(shadows)?;
        self.memory.lock().located.extend(keys);
        if self.is(Fault::LocatesNothing) {
            self.mask(shadows);
        }
        Ok(())
    }

    pub(super) fn empty(&self, device: Option<&DeviceName>, lun: Option<&LunInformation>) -> Result<(), HResult> {
        let Some(lun) = lun else { return self.inner().on_lun_empty(device, None) };
        let announced = self.memory.lock().find(lun).cloned();
        let (is_gone, was_begun) = {
            let mut memory = self.memory.lock();
            let beginner = *memory.begun.entry(serial(lun).to_owned()).or_insert(self.process);
            (memory.deleted.contains(serial(lun)), beginner != self.process)
        };
        match self.fault {
            Fault::ForgetsTheBegun if was_begun => return Ok(()),
            Fault::DeniesTheBegun if was_begun => return self.veto(),
            Fault::NeedsDeviceNames if device.is_none() => return Err(HResult::E_INVALIDARG),
            Fault::SecondDeletionFails if announced.is_some() && is_gone => return self.veto(),
            Fault::DeletionOnlyUnmaps if announced.is_some() => {
                self.mask(std::slice::from_ref(lun));
                return Ok(());
            }
            Fault::SilentVeto => return self.quietly(|inner| inner.on_lun_empty(device, Some(lun))),
            Fault::DeletesAnything => {
                let _ = self.quietly(|inner| inner.on_lun_empty(device, Some(lun)));
                return Ok(());
            }
            _ => {}
        }
        let answer = self.inner().on_lun_empty(device, Some(lun));
        if answer.is_ok() {
            self.memory.lock().deleted.insert(serial(lun).to_owned());
        }
        match (self.fault, announced) {
            (Fault::VetoToldTwice, _) if answer.is_err() => {
                self.events.event(Gravity::Error, "A fault was planted here. Choose another provider.");
            }
            (Fault::DeletesTheSet, Some(Announced { set: Some(set), .. })) => {
                self.delete(&self.memory.lock().shadows_of(set));
            }
            (Fault::DeletesTheYounger, Some(older)) => {
                let of_source: Vec<_> = {
                    let memory = self.memory.lock();
                    let same = memory.announced.iter().filter(|it| serial(&it.source) == serial(&older.source));
                    same.map(|announced| announced.genuine.clone()).collect()
                };
                self.delete(&of_source);
            }
            _ => {}
        }
        answer
    }

    pub(super) fn change_state(
        &self,
        shadows: &[LunInformation],
        originals: &[LunInformation],
        change: LunStateChange,
    ) -> Result<(), HResult> {
        const KNOWN: LunStateChange = LunStateChange::NOTIFY_READ_WRITE
            .union(LunStateChange::NOTIFY_LUN_PRE_RECOVERY)
            .union(LunStateChange::NOTIFY_LUN_POST_RECOVERY)
            .union(LunStateChange::DO_MASK_LUNS);
        let masks = change.contains(LunStateChange::DO_MASK_LUNS);
        let mut change = change;
        match self.fault {
            Fault::RefusesUnknownBits if !KNOWN.contains(change) => return Err(HResult::E_INVALIDARG),
            Fault::NeedsOriginals if originals.is_empty() => return Err(HResult::E_INVALIDARG),
            Fault::MasksNothing => change.remove(LunStateChange::DO_MASK_LUNS),
            Fault::MaskDeletes if masks => self.delete(shadows),
            Fault::NotificationsMask if !masks && KNOWN.intersects(change) => self.mask(shadows),
            _ => {}
        }
        self.inner().on_lun_state_change(shadows, originals, change)?;
        if masks {
            let keys = self.keys(shadows);
            let mut memory = self.memory.lock();
            memory.located.retain(|key| !keys.contains(key));
            memory.masked.extend(keys);
        }
        Ok(())
    }
}
