//! Below the methods: which slot is which method, places after a failure, and pointers that may be NULL.

use lunshadow_vss::{Argument, HResult, LunInformation, Method, Slot};

use super::Group;
use crate::by_slots::{Life, TRUE, announced, context, devices, last_place, life};
use crate::finding::{Checked, Finding, Setback, demand, held};
use crate::lab::{Lab, foreign};

pub(super) const CHECKS: Group = &[
    (4, every_slot_is_its_method),
    (36, a_failure_is_a_no),
    (110, the_reserved_parameter_may_be_null),
    (121, no_callback_is_needed),
];

/// `winerror.h`: a NULL where the interface's description allows none. Stubs answer it before the provider is asked.
const RPC_X_NULL_REF_POINTER: HResult = HResult::from_bits(0x8007_06f4);

fn every_slot_is_its_method(lab: &mut Lab<'_>) -> Checked {
    let life = life(lab)?;
    demand!(life.cut_short.is_none(), "{}", life.cut_short.unwrap_or_default());
    let has_resynced = life.calls.iter().any(|call| call.method == Method::ResyncLuns);
    let resyncs = if has_resynced { ", with the three slots of its resync" } else { "" };
    held(format!("a set was created, imported and deleted by {} calls of slots{resyncs}", life.calls.len()))
}

fn a_failure_is_a_no(lab: &mut Lab<'_>) -> Checked {
    let slots = lab.slots()?;
    let source = lab.sources(1)?.remove(0);
    let blank = LunInformation { serial_number: None, vendor_id: None, identifiers: Vec::new(), ..foreign(0) };
    let cases: [(&str, Argument, Vec<LunInformation>); 4] = [
        ("65 LUNs", context(), vec![source.clone(); 65]),
        ("a LUN of which nothing is known", context(), vec![blank]),
        ("a context of all bits", Argument::Number(u32::MAX), vec![source]),
        ("65 foreign LUNs", context(), (0..65).map(foreign).collect()),
    ];
    let mut failures = Vec::new();
    for (what, context, luns) in cases {
        let count = u32::try_from(luns.len()).unwrap_or(u32::MAX);
        let devices = devices(luns.len());
        let passed = [Argument::Number(count), context, devices, Argument::LunsInOut(luns), Argument::Place(TRUE)];
        let answer = slots.call(Method::AreLunsSupported.slot(), &passed);
        let answer = answer.map_err(|code| Setback(format!("AreLunsSupported cannot be called: {code}")))?;
        if answer.code != HResult::S_OK {
            let left = last_place(&answer);
            demand!(left == Some(0), "{what} were answered with {} and {left:?} in the place of FALSE", answer.code);
            failures.push(format!("{what}: {}", answer.code));
        }
    }
    if failures.is_empty() {
        return Ok(Finding::NotApplicable(
            "AreLunsSupported failed with none of the LUNs and contexts tried".to_owned(),
        ));
    }
    held(format!("FALSE with every failure: {}", failures.join("; ")))
}

fn the_reserved_parameter_may_be_null(lab: &mut Lab<'_>) -> Checked {
    let slots = lab.slots()?;
    let source = lab.sources(1)?.remove(0);
    let mut life = Life::default();
    let target = announced(&mut life, &*slots, &source).map_err(Setback)?;
    let passed =
        vec![Argument::Luns(vec![target]), Argument::Luns(vec![source]), Argument::Number(1), Argument::ObjectPlace];
    let answer = life.call(&*slots, Method::ResyncLuns, passed).map_err(Setback)?;
    let Some(resync) = answer.object else {
        return Ok(Finding::NotApplicable(format!("the provider has no resync: {}", answer.code)));
    };
    let ask = |result: Argument| {
        let answer = resync.call(Slot::QUERY_STATUS, &[result, Argument::Null]);
        answer.map_err(|code| Setback(format!("QueryStatus cannot be called: {code}")))
    };
    let answer = ask(Argument::Place(0))?;
    demand!(answer.code == HResult::S_OK, "QueryStatus with a NULL for pReserved was answered with {}", answer.code);
    let state = last_place(&answer).map(HResult::from_bits);
    let states = [HResult::VSS_S_ASYNC_PENDING, HResult::VSS_S_ASYNC_FINISHED];
    demand!(
        state.is_some_and(|state| states.contains(&state)),
        "QueryStatus with a NULL for pReserved left {state:?} for the state of a resync"
    );
    let without = ask(Argument::Null)?.code;
    let by_whom =
        if without == RPC_X_NULL_REF_POINTER { "by the stub, before the provider" } else { "by the provider" };
    demand!(
        [HResult::E_INVALIDARG, RPC_X_NULL_REF_POINTER].contains(&without),
        "QueryStatus with a NULL for pHrResult was answered with {without}"
    );
    // Whoever waits for nothing leaves a resync behind that the next check would meet.
    let _ = resync.call(Slot::WAIT, &[Argument::Number(u32::MAX)]);
    held(format!("a NULL for pReserved was taken; one for pHrResult was answered with {without} {by_whom}"))
}

fn no_callback_is_needed(lab: &mut Lab<'_>) -> Checked {
    let slots = lab.slots()?;
    for time in ["first", "second"] {
        let answer = match slots.call(Method::OnLoad.slot(), &[Argument::Null]) {
            Err(HResult::E_NOINTERFACE) => {
                return Ok(Finding::NotApplicable("the provider has no IVssProviderNotifications".to_owned()));
            }
            answer => answer.map_err(|code| Setback(format!("OnLoad cannot be called: {code}")))?,
        };
        demand!(answer.code == HResult::S_OK, "OnLoad with a NULL callback, the {time} time: {}", answer.code);
    }
    // Whatever it would do with a callback, it does it while it works.
    let mut life = Life::default();
    let source = lab.sources(1)?.remove(0);
    let lived = announced(&mut life, &*slots, &source);
    demand!(!life.ended_with_the_process(), "after OnLoad with a NULL callback the process ended: {lived:?}");
    lived.map_err(Setback)?;
    held("loaded with a NULL callback twice, and a set was created after it")
}
