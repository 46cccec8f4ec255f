//! The whole life of a set, each call by the number of its slot, and with all that was passed kept to be looked at.

use std::sync::Arc;

use lunshadow_vss::{
    Argument, AsyncStatus, BusType, Context, DiskSignature, HResult, LunInformation, LunStateChange, Method, Slot,
    SlotAnswer, Slots,
};
use uuid::Uuid;

use crate::finding::Setback;
use crate::lab::{Lab, need};

/// `TRUE`.
pub(crate) const TRUE: u32 = 1;

/// `INFINITE`.
const FOR_EVER_MS: u32 = u32::MAX;

/// What COM answers for a process that is gone (`winerror.h`): it was there when the call began, and it was not.
pub(crate) const GONE: [HResult; 2] = [HResult::from_bits(0x8007_06be), HResult::from_bits(0x8007_06ba)];

/// A call, with what was passed.
pub(crate) struct Called {
    pub(crate) method: Method,
    pub(crate) passed: Vec<Argument>,
    pub(crate) answer: SlotAnswer,
}

/// The calls of a life.
#[derive(Default)]
pub(crate) struct Life {
    pub(crate) calls: Vec<Called>,
    /// What ended it before its end.
    pub(crate) cut_short: Option<String>,
}

/// What the methods, called as methods, answer where more than one answer is right.
struct Known {
    source: LunInformation,
    capabilities: HResult,
    reuse: HResult,
    resyncs: bool,
}

/// Lives the life of a set by its methods first: what does not work there is not about slots. Then by the numbers of slots.
pub(crate) fn life(lab: &Lab<'_>) -> Result<Life, Setback> {
    let known = by_methods(lab)?;
    let slots = lab.slots()?;
    let mut life = Life::default();
    life.cut_short = life.live(&*slots, &known).err();
    Ok(life)
}

/// A life that came to its end, for whoever asks about something else than its calls.
pub(crate) fn whole_life(lab: &Lab<'_>) -> Result<Life, Setback> {
    let life = life(lab)?;
    match &life.cut_short {
        Some(why) if !life.ended_with_the_process() => Err(Setback(why.clone())),
        _ => Ok(life),
    }
}

fn by_methods(lab: &Lab<'_>) -> Result<Known, Setback> {
    let code = |answer: Result<(), HResult>| answer.err().unwrap_or(HResult::S_OK);
    let sources = lab.sources(1)?;
    if !need("AreLunsSupported", lab.supports(Context::CTX_BACKUP, &sources))? {
        return Err(Setback("the provider declines its LUN".to_owned()));
    }
    let made = lab.created(1)?;
    let seen = lab.fill_in(&mut made.targets[0].clone());
    if seen != (HResult::S_OK, true) {
        return Err(Setback(format!("FillInLunInfo answered {seen:?} for a shadow LUN")));
    }
    lab.mask(&made.targets)?;
    let capabilities = code(lab.provider.get_provider_capabilities().map(drop));
    let reuse = code(lab.provider.on_reuse_luns(&made.targets, &made.sources));
    let resync = lab.provider.resync_luns(&made.targets, &made.sources);
    let resyncs = resync.is_ok_and(|resync| resync.wait(None) == AsyncStatus::Finished);
    need("OnLunEmpty", lab.delete(&made.targets[0]))?;
    let source = made.sources[0].clone();
    Ok(Known { source, capabilities, reuse, resyncs })
}

/// A structure of which nothing is filled in, as VSS passes destinations.
pub(crate) fn empty() -> LunInformation {
    LunInformation {
        version: 0,
        device_type: 0,
        device_type_modifier: 0,
        command_queueing: false,
        bus_type: BusType(0),
        vendor_id: None,
        product_id: None,
        product_revision: None,
        serial_number: None,
        disk_signature: DiskSignature::default(),
        descriptor_version: 0,
        identifiers: Vec::new(),
        interconnects: Vec::new(),
    }
}

pub(crate) fn context() -> Argument {
    Argument::Number(Context::CTX_BACKUP.bits())
}

pub(crate) fn device() -> Argument {
    Argument::Device(r"\\?\PhysicalDrive7".to_owned())
}

pub(crate) fn devices(count: usize) -> Argument {
    Argument::Devices(crate::lab::names(count).into_iter().map(|name| name.0).collect())
}

/// The number that stands in the last place of a call.
pub(crate) fn last_place(answer: &SlotAnswer) -> Option<u32> {
    answer.arguments.iter().rev().find_map(|argument| match argument {
        Argument::Place(number) => Some(*number),
        _ => None,
    })
}

/// A set of one LUN, taken by the numbers of slots to where its shadow LUN is announced. The last call is the announcement.
pub(crate) fn announced(life: &mut Life, slots: &dyn Slots, source: &LunInformation) -> Result<LunInformation, String> {
    let one = || Argument::Number(1);
    let set = life.begin(slots, source)?;
    for method in [Method::EndPrepareSnapshots, Method::PreCommitSnapshots, Method::CommitSnapshots] {
        life.succeed(slots, method, vec![Argument::Id(set)])?;
    }
    life.succeed(slots, Method::PostCommitSnapshots, vec![Argument::Id(set), one()])?;
    let passed = vec![one(), devices(1), Argument::Luns(vec![source.clone()]), Argument::LunsInOut(vec![empty()])];
    let answer = life.succeed(slots, Method::GetTargetLuns, passed)?;
    let target = match answer.arguments.last() {
        Some(Argument::LunsInOut(luns)) => luns.first().filter(|lun| **lun != empty()).cloned(),
        _ => None,
    };
    let target = target.ok_or_else(|| format!("{} left the destination empty", placed(Method::GetTargetLuns)))?;
    life.succeed(slots, Method::LocateLuns, vec![one(), Argument::Luns(vec![target.clone()])])?;
    for method in [Method::PreFinalCommitSnapshots, Method::PostFinalCommitSnapshots] {
        life.succeed(slots, method, vec![Argument::Id(set)])?;
    }
    Ok(target)
}

/// For evidence: a method and its slot.
pub(crate) fn placed(method: Method) -> String {
    let slot = method.slot();
    format!("slot {} of {:?}, which is {method},", slot.number, slot.interface)
}

impl Life {
    /// Whether the provider's process was gone at the end.
    pub(crate) fn ended_with_the_process(&self) -> bool {
        self.calls.last().is_some_and(|call| GONE.contains(&call.answer.code))
    }

    /// Calls a method by its slot, and keeps what came of it.
    pub(crate) fn call(
        &mut self,
        slots: &dyn Slots,
        method: Method,
        passed: Vec<Argument>,
    ) -> Result<SlotAnswer, String> {
        let answer = slots.call(method.slot(), &passed);
        let answer = answer.map_err(|code| format!("{} cannot be called: {code}", placed(method)))?;
        self.calls.push(Called { method, passed, answer: answer.clone() });
        Ok(answer)
    }

    /// As [`call`](Self::call), for a call that has to be answered with a code.
    fn answer(
        &mut self,
        slots: &dyn Slots,
        method: Method,
        passed: Vec<Argument>,
        code: HResult,
    ) -> Result<SlotAnswer, String> {
        let answer = self.call(slots, method, passed)?;
        if answer.code == code { Ok(answer) } else { Err(format!("{} answered {}", placed(method), answer.code)) }
    }

    fn succeed(&mut self, slots: &dyn Slots, method: Method, passed: Vec<Argument>) -> Result<SlotAnswer, String> {
        self.answer(slots, method, passed, HResult::S_OK)
    }

    /// As [`succeed`](Self::succeed), for a method that agrees by `TRUE`.
    fn agree(&mut self, slots: &dyn Slots, method: Method, passed: Vec<Argument>) -> Result<(), String> {
        let answer = self.succeed(slots, method, passed)?;
        if last_place(&answer) == Some(TRUE) { Ok(()) } else { Err(format!("{} left no TRUE", placed(method))) }
    }

    fn begin(&mut self, slots: &dyn Slots, source: &LunInformation) -> Result<Uuid, String> {
        let set = Uuid::new_v4();
        let luns = Argument::LunsInOut(vec![source.clone()]);
        let ids = [set, Uuid::new_v4()].map(Argument::Id);
        let passed = ids.into_iter().chain([context(), Argument::Number(1), devices(1), luns]).collect();
        self.succeed(slots, Method::BeginPrepareSnapshot, passed)?;
        Ok(set)
    }

    fn live(&mut self, slots: &dyn Slots, known: &Known) -> Result<(), String> {
        let (one, source) = (|| Argument::Number(1), || vec![known.source.clone()]);
        let asked = vec![one(), context(), devices(1), Argument::LunsInOut(source()), Argument::Place(0)];
        self.agree(slots, Method::AreLunsSupported, asked)?;
        let target = announced(self, slots, &known.source)?;
        let shadow = || Argument::Luns(vec![target.clone()]);
        // What a host may not know is filled in; how much of it, other statements are about.
        let bare = LunInformation { vendor_id: None, product_id: None, product_revision: None, ..target.clone() };
        let passed = |lun| vec![device(), Argument::LunsInOut(vec![lun]), Argument::Place(0)];
        self.call(slots, Method::FillInLunInfo, passed(bare))?;
        self.agree(slots, Method::FillInLunInfo, passed(target.clone()))?;
        let mask = Argument::Number(LunStateChange::DO_MASK_LUNS.bits());
        self.succeed(slots, Method::OnLunStateChange, vec![shadow(), Argument::Null, one(), mask])?;
        let mask = vec![Argument::LongPlace(u64::MAX)];
        self.answer(slots, Method::GetProviderCapabilities, mask, known.capabilities)?;
        let pairs = || vec![shadow(), Argument::Luns(source()), one()];
        self.answer(slots, Method::OnReuseLuns, pairs(), known.reuse)?;
        if known.resyncs {
            let passed = pairs().into_iter().chain([Argument::ObjectPlace]).collect();
            let answer = self.succeed(slots, Method::ResyncLuns, passed)?;
            resynced(answer.object)?;
        }
        self.succeed(slots, Method::OnLunEmpty, vec![device(), shadow()])?;
        let set = self.begin(slots, &known.source)?;
        self.succeed(slots, Method::AbortSnapshots, vec![Argument::Id(set)])?;
        let answer = self.call(slots, Method::EndPrepareSnapshots, vec![Argument::Id(set)])?;
        if !answer.code.is_failure() {
            return Err(format!("{} did not end the set", placed(Method::AbortSnapshots)));
        }
        Ok(())
    }
}

/// Waits for a resync, and asks it for its state, by the numbers of its slots.
fn resynced(resync: Option<Arc<dyn Slots>>) -> Result<(), String> {
    let resync = resync.ok_or_else(|| format!("{} left no object", placed(Method::ResyncLuns)))?;
    let call = |what: &str, slot: Slot, passed: &[Argument]| {
        let answer = resync.call(slot, passed);
        let answer =
            answer.map_err(|code| format!("slot {}, which is {what}, cannot be called: {code}", slot.number))?;
        let is_failure = answer.code.is_failure();
        let failed = || format!("slot {}, which is {what}, answered {}", slot.number, answer.code);
        if is_failure { Err(failed()) } else { Ok(last_place(&answer)) }
    };
    call("Wait", Slot::WAIT, &[Argument::Number(FOR_EVER_MS)])?;
    // Its second parameter is reserved. That it may be NULL is a statement of its own.
    let state = resync.call(Slot::QUERY_STATUS, &[Argument::Place(0), Argument::Place(0)]);
    let state = state.map(|answer| (answer.code, answer.arguments.first().cloned()));
    if state != Ok((HResult::S_OK, Some(Argument::Place(HResult::VSS_S_ASYNC_FINISHED.bits())))) {
        return Err(format!(
            "after Wait, slot {}, which is QueryStatus, answered {state:?}",
            Slot::QUERY_STATUS.number
        ));
    }
    call("Cancel", Slot::CANCEL, &[])?;
    Ok(())
}
