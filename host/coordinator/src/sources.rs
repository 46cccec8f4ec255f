//! What a creation does to the source volumes, and the certainty that all of it is undone: flags cleared, writes released,
//! writers thawed, on every path and in this order: writes, flags, writers.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lunshadow_vss::{DeviceName, SnapshotSetId};

use crate::clock::{Alarm, Clock};
use crate::failure::CreationError;
use crate::platform::{HoldError, VolumeName, WriterEvent};
use crate::service::Service;
use crate::timeline::{Activity, Began, Ending, Phase, Window};

/// The source volumes of one creation. Whatever was done to them and not undone is undone when this is dropped.
pub(crate) struct Sources<'a> {
    service: &'a Service,
    set: SnapshotSetId,
    volumes: Vec<VolumeName>,
    devices: Vec<DeviceName>,
    writers: Writers,
    are_flagged: bool,
    /// How long the writers can be frozen, the least patient one of them.
    freeze_limit: Duration,
    /// Writers are frozen, and the freeze clock runs.
    freeze: Option<(Watch, Began)>,
    /// Writes are held or about to be, and the hold clock runs.
    hold: Option<(Watch, Began)>,
}

/// How the writers stand.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Writers {
    /// The context has none.
    None,
    /// They know nothing of the set, or are done with it.
    Idle,
    /// They expect to be thawed or told of an abort.
    Involved,
}

impl<'a> Sources<'a> {
    pub(crate) fn new(
        service: &'a Service,
        set: SnapshotSetId,
        volumes: Vec<VolumeName>,
        devices: Vec<DeviceName>,
        has_writers: bool,
    ) -> Self {
        let writers = if has_writers { Writers::Idle } else { Writers::None };
        let limit = service.settings.freeze_limit;
        let freeze_limit = service.platform.freeze_at_most().map_or(limit, |of_writer| of_writer.min(limit));
        Self { service, set, volumes, devices, writers, are_flagged: false, freeze_limit, freeze: None, hold: None }
    }

    pub(crate) fn set_flags(&mut self) -> Result<(), CreationError> {
        // Before the attempt: one that fails half-way has flags to clear too.
        self.are_flagged = true;
        let set_flags = || self.service.platform.set_shadow_flags(&self.devices);
        self.service.recorder.phase(Phase::SetSourceFlags, set_flags).map_err(CreationError::Flags)
    }

    pub(crate) fn clear_flags(&mut self) -> Result<(), CreationError> {
        let clear = || self.service.platform.clear_shadow_flags(&self.devices);
        self.service.recorder.phase(Phase::ClearSourceFlags, clear).map_err(CreationError::Flags)?;
        self.are_flagged = false;
        Ok(())
    }

    /// Freezes the writers and starts the freeze clock.
    pub(crate) fn freeze(&mut self) -> Result<(), CreationError> {
        if self.writers != Writers::None {
            self.writers = Writers::Involved;
            self.tell_writers(WriterEvent::PrepareSnapshot, Phase::WritersPrepare)?;
            let (platform, set) = (Arc::clone(&self.service.platform), self.set);
            let abort = move || {
                tracing::warn!(%set, "the freeze limit has passed; the writers go on");
                if let Err(failure) = platform.notify_writers(set, WriterEvent::Abort) {
                    tracing::warn!(%set, %failure, "a writer could not abort");
                }
            };
            let watch = Watch::start(&*self.service.clock, self.freeze_limit, abort);
            self.freeze = Some((watch, self.service.recorder.begin()));
            self.tell_writers(WriterEvent::Freeze, Phase::WritersFreeze)?;
        }
        // What the timeline calls the freeze begins when the writers are frozen; the clock began when they were asked.
        if let Some((_, began)) = &mut self.freeze {
            *began = self.service.recorder.begin();
        }
        Ok(())
    }

    /// Fails once the writers were let go by the freeze clock.
    pub(crate) fn check_frozen(&self) -> Result<(), CreationError> {
        match &self.freeze {
            Some((watch, _)) if watch.has_expired(self.service.clock.now()) => Err(self.freeze_expired()),
            _ => Ok(()),
        }
    }

    /// Flushes and holds, with the hold clock running from before the flush.
    pub(crate) fn hold(&mut self) -> Result<(), CreationError> {
        self.check_frozen()?;
        let (platform, volumes, set) = (Arc::clone(&self.service.platform), self.volumes.clone(), self.set);
        let release = move || {
            platform.release_writes(&volumes);
            tracing::warn!(%set, "the hold limit has passed; writes go on");
        };
        self.service.recorder.hush();
        let watch = Watch::start(&*self.service.clock, self.service.settings.hold_limit, release);
        self.hold = Some((watch, self.service.recorder.begin()));
        let flush = || self.service.platform.flush_and_hold(&self.volumes);
        self.service.recorder.phase(Phase::FlushAndHold, flush).map_err(CreationError::Hold)?;
        match &self.hold {
            Some((watch, _)) if watch.has_expired(self.service.clock.now()) => {
                Err(CreationError::Hold(HoldError::FlushTimeout))
            }
            _ => Ok(()),
        }
    }

    /// Lets writes go on; fails if the hold clock did that before, whatever the providers say.
    pub(crate) fn release(&mut self) -> Result<(), CreationError> {
        if self.let_writes_go() {
            Ok(())
        } else {
            Err(CreationError::HoldExpired { limit: self.service.settings.hold_limit })
        }
    }

    /// Thaws the writers; fails if the freeze clock did that before.
    pub(crate) fn thaw(&mut self) -> Result<(), CreationError> {
        let Some(in_time) = self.end_freeze() else { return Ok(()) };
        if !in_time {
            return Err(self.freeze_expired());
        }
        self.tell_writers(WriterEvent::Thaw, Phase::WritersThaw)?;
        self.writers = Writers::Idle;
        Ok(())
    }

    fn freeze_expired(&self) -> CreationError {
        CreationError::FreezeExpired { limit: self.freeze_limit }
    }

    fn tell_writers(&self, event: WriterEvent, phase: Phase) -> Result<(), CreationError> {
        let tell = || self.service.platform.notify_writers(self.set, event);
        self.service.recorder.phase(phase, tell).map_err(|source| CreationError::Writer { event, source })
    }

    /// Answers whether writes were held up to now.
    fn let_writes_go(&mut self) -> bool {
        let Some((watch, began)) = self.hold.take() else { return true };
        let recorder = &self.service.recorder;
        let in_time = watch.close(self.service.clock.now());
        let Ok(()) = recorder.phase(Phase::ReleaseWrites, || -> Result<(), Infallible> {
            self.service.platform.release_writes(&self.volumes);
            Ok(())
        });
        let ending = if in_time { Ending::ok() } else { Ending::failed("the hold limit passed") };
        recorder.end(began, Activity::Window { window: Window::Hold }, ending);
        recorder.speak();
        in_time
    }

    /// Answers whether writers were frozen up to now, or `None` if they were not frozen.
    fn end_freeze(&mut self) -> Option<bool> {
        let (watch, began) = self.freeze.take()?;
        let in_time = watch.close(self.service.clock.now());
        let ending = if in_time { Ending::ok() } else { Ending::failed("the freeze limit passed") };
        self.service.recorder.end(began, Activity::Window { window: Window::Freeze }, ending);
        Some(in_time)
    }
}

impl Drop for Sources<'_> {
    fn drop(&mut self) {
        self.let_writes_go();
        if self.are_flagged
            && let Err(error) = self.clear_flags()
        {
            tracing::error!(set = %self.set, %error, "source LUNs keep their shadow copy flags");
        }
        self.end_freeze();
        if self.writers == Writers::Involved
            && let Err(error) = self.tell_writers(WriterEvent::Abort, Phase::WritersAbort)
        {
            tracing::warn!(set = %self.set, %error, "a writer could not abort");
        }
    }
}

/// A limit of time with what happens when it passes. Either the limit passes or it is closed in time, never both.
struct Watch {
    state: Arc<Mutex<WatchState>>,
    until: Duration,
    _alarm: Alarm,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum WatchState {
    Open,
    Expired,
    Closed,
}

impl Watch {
    fn start(clock: &dyn Clock, limit: Duration, on_expiry: impl FnOnce() + Send + 'static) -> Self {
        let state = Arc::new(Mutex::new(WatchState::Open));
        let shared = Arc::clone(&state);
        let until = clock.now() + limit;
        let ring = move || {
            // The lock is kept through `on_expiry`, so that an alarm which rings late cannot act on what comes after the watch.
            let mut state = lock(&shared);
            if *state == WatchState::Open {
                *state = WatchState::Expired;
                on_expiry();
            }
        };
        Self { state, until, _alarm: clock.alarm(limit, Box::new(ring)) }
    }

    /// Ends the watch; answers whether its limit had not passed. A late alarm is no excuse, so the clock is asked as well.
    fn close(&self, now: Duration) -> bool {
        let mut state = lock(&self.state);
        let in_time = *state == WatchState::Open && now <= self.until;
        *state = WatchState::Closed;
        in_time
    }

    fn has_expired(&self, now: Duration) -> bool {
        *lock(&self.state) == WatchState::Expired || now > self.until
    }
}

fn lock(state: &Mutex<WatchState>) -> MutexGuard<'_, WatchState> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
