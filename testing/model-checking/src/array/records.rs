//! The records in memory. A transaction can be held back, so that the array can end before it is durable.

use std::collections::BTreeMap;

use lunshadow_catalog::{DatabaseError, Record, RecordChange, RecordKey, RecordStore, Storing, Table};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::planted::Fault;

pub(crate) type Content = BTreeMap<RecordKey, Vec<u8>>;

#[derive(Debug)]
struct Standing {
    changes: Vec<RecordChange>,
    landed: oneshot::Sender<()>,
}

#[derive(Debug)]
pub(crate) struct ModelRecords {
    content: Mutex<Content>,
    standing: Mutex<Option<Standing>>,
    holds_back: Mutex<bool>,
    /// Answers that are kept from those who wait for them.
    swallowed: Mutex<Vec<oneshot::Sender<()>>>,
    fault: Option<Fault>,
}

impl ModelRecords {
    pub(crate) fn new(content: Content, fault: Option<Fault>) -> Self {
        Self {
            content: Mutex::new(content),
            standing: Mutex::default(),
            holds_back: Mutex::new(false),
            swallowed: Mutex::default(),
            fault,
        }
    }

    pub(crate) fn content(&self) -> Content {
        self.content.lock().clone()
    }

    pub(crate) fn hold_back(&self, holds_back: bool) {
        *self.holds_back.lock() = holds_back;
    }

    /// The transaction that stands still, if one does.
    pub(crate) fn standing(&self) -> Option<Vec<RecordChange>> {
        self.standing.lock().as_ref().map(|standing| standing.changes.clone())
    }

    /// Makes the transaction durable that stands still.
    pub(crate) fn land(&self) {
        if let Some(Standing { changes, landed }) = self.standing.lock().take() {
            self.apply(changes);
            if self.fault == Some(Fault::SwallowsAnswers) {
                self.swallowed.lock().push(landed);
                return;
            }
            // The array may have ended in between.
            let _ = landed.send(());
        }
    }

    /// What was not durable is lost.
    pub(crate) fn restart(&self) {
        *self.standing.lock() = None;
    }

    fn apply(&self, changes: Vec<RecordChange>) {
        let mut content = self.content.lock();
        for change in changes {
            match change {
                RecordChange::Put(Record { key, value }) => {
                    let text = String::from_utf8_lossy(&value);
                    let loses = match self.fault {
                        Some(Fault::LosesAborts) => key.table == Table::Sets && text.contains(r#""state":"aborted""#),
                        Some(Fault::LosesKeeps) => key.table == Table::Sets && text.contains(r#""state":"kept""#),
                        _ => false,
                    };
                    if !loses {
                        content.insert(key, value);
                    }
                }
                RecordChange::Drop(key) => drop(content.remove(&key)),
            }
        }
    }

    async fn write_when_let(&self, changes: Vec<RecordChange>) -> Result<(), DatabaseError> {
        if !*self.holds_back.lock() {
            self.apply(changes);
            return Ok(());
        }
        let (landed, wait) = oneshot::channel();
        *self.standing.lock() = Some(Standing { changes, landed });
        wait.await.map_err(|_| DatabaseError::Stopped)
    }
}

impl RecordStore for ModelRecords {
    fn load(&self) -> Storing<'_, Vec<Record>> {
        let records = self.content().into_iter().map(|(key, value)| Record { key, value }).collect();
        Box::pin(std::future::ready(Ok(records)))
    }

    fn write(&self, changes: Vec<RecordChange>) -> Storing<'_, ()> {
        Box::pin(self.write_when_let(changes))
    }
}
