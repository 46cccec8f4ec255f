//! What hosts do with shadow LUNs, as far as they tell; and shadow LUNs that become LUNs of their own.

use std::sync::Arc;

use lunshadow_control::{HostId, LunId, LunRole, Outcome, ShadowSetId, ShadowUse};
use lunshadow_lun::{BlockCount, LunHandle, Pool};

use crate::catalog::Inner;
use crate::records::{Change, LunDoc, LunPhase};
use crate::state::State;
use crate::{Catalog, CatalogError, Name};

impl<P: Pool> Catalog<P> {
    /// Notes what a host does with shadow LUNs. One that is [`ShadowUse::ReadWrite`] leaves its set: it is a source LUN from then on, with a
    /// name that begins with `shadow-`, mapped as before, and only an administrator deletes it.
    ///
    /// # Errors
    /// `UnknownHost`, `UnknownLun`, `NotAShadow`, `WrongState`, `Database`. LUNs before the one that it is about have been noted.
    pub async fn note_use(
        &self,
        host: HostId,
        shadows: &[LunId],
        used: ShadowUse,
    ) -> Result<Vec<Outcome>, CatalogError> {
        let (inner, shadows) = (Arc::clone(&self.inner), shadows.to_vec());
        self.complete(async move {
            let mut outcomes = Vec::with_capacity(shadows.len());
            for shadow in shadows {
                outcomes.push(match used {
                    ShadowUse::ReadWrite => inner.break_off(Some(host), shadow, None).await?,
                    ShadowUse::Recovering | ShadowUse::Recovered => inner.note(host, shadow, used).await?,
                });
            }
            Ok(outcomes)
        })
        .await
    }

    /// Makes a shadow LUN a LUN of its own at an administrator's word, when the host could not tell that it uses it as one.
    ///
    /// # Errors
    /// `UnknownLun`, `WrongState`, `Database`.
    pub async fn detach(&self, shadow: LunId) -> Result<Outcome, CatalogError> {
        let inner = Arc::clone(&self.inner);
        self.complete(async move { inner.break_off(None, shadow, None).await }).await
    }
}

impl<P: Pool> Inner<P> {
    async fn note(&self, host: HostId, shadow: LunId, used: ShadowUse) -> Result<Outcome, CatalogError> {
        let _changes = self.changes.lock().await;
        let (set, doc) = {
            let state = self.state.lock();
            let set = set_of_visible_shadow(&state, Some(host), shadow)?.ok_or(CatalogError::NotAShadow(shadow))?;
            let found = state.sets.get(&set).ok_or(CatalogError::UnknownSet(set))?;
            if found.uses.get(&shadow) == Some(&used) {
                return Ok(Outcome::AlreadySo);
            }
            let mut doc = found.to_doc();
            doc.uses.insert(shadow, used);
            (set, doc)
        };
        self.write(vec![Change::PutSet(set, doc)]).await?;
        if let Some(found) = self.state.lock().sets.get_mut(&set) {
            found.uses.insert(shadow, used);
        }
        Ok(Outcome::Done)
    }

    /// Makes a shadow LUN one of its own, of that name or of one that begins with `shadow-`.
    pub(crate) async fn break_off(
        &self,
        host: Option<HostId>,
        shadow: LunId,
        name: Option<Name>,
    ) -> Result<Outcome, CatalogError> {
        let _source_luns = self.source_luns.lock().await;
        let _changes = self.changes.lock().await;
        // A LUN of its own was broken off before.
        let Some(set) = set_of_visible_shadow(&self.state.lock(), host, shadow)? else {
            return Ok(Outcome::AlreadySo);
        };
        let handle = self.pool.open(shadow).map_err(|error| self.pool_failed(error))?;
        let (set_doc, lun_doc) = {
            let state = self.state.lock();
            let found = state.sets.get(&set).ok_or(CatalogError::UnknownSet(set))?;
            found.check_breakable()?;
            let mut set_doc = found.to_doc();
            set_doc.members.retain(|member| member.shadow != shadow);
            set_doc.uses.remove(&shadow);
            if set_doc.members.is_empty() {
                set_doc.ended.get_or_insert(state.next_ended);
            }
            let lun_doc = match name {
                Some(name) => {
                    state.check_name_free(&name)?;
                    LunDoc::new(name, handle.block_count()).in_phase(LunPhase::Live)
                }
                None => lun_doc(&state, shadow, handle.block_count()),
            };
            let lun_doc = LunDoc { broken_off_by: host, ..lun_doc };
            (set_doc, lun_doc)
        };
        self.write(vec![Change::PutLun(shadow, lun_doc.clone()), Change::PutSet(set, set_doc)]).await?;
        self.make_own(&mut self.state.lock(), set, shadow, lun_doc, handle);
        tracing::info!(%set, %shadow, "a shadow LUN became a LUN of its own");
        Ok(Outcome::Done)
    }

    fn make_own(&self, state: &mut State, set: ShadowSetId, shadow: LunId, doc: LunDoc, handle: LunHandle) {
        let ended = state.next_ended;
        if let Some(found) = state.sets.get_mut(&set) {
            found.members.retain(|member| member.shadow != shadow);
            found.uses.remove(&shadow);
            if found.members.is_empty() && found.ended.is_none() {
                found.ended = Some(ended);
                state.next_ended += 1;
            }
        }
        state.set_of_shadow.remove(&shadow);
        state.luns.insert(shadow, doc);
        state.handles.insert(shadow, handle);
    }
}

/// The set of a shadow LUN that the host may see, or an administrator, who may see all; `None` for a LUN of its own.
fn set_of_visible_shadow(state: &State, host: Option<HostId>, lun: LunId) -> Result<Option<ShadowSetId>, CatalogError> {
    host.map(|host| state.host(host)).transpose()?;
    let visible =
        |role: &LunRole| !state.releasing.contains(&lun) && host.is_none_or(|host| state.may_see(host, lun, *role));
    match state.role_of(lun).filter(visible) {
        None => Err(CatalogError::UnknownLun(lun)),
        Some(LunRole::Source) => Ok(None),
        Some(LunRole::Shadow { set, .. }) => Ok(Some(set)),
    }
}

/// The record of a shadow LUN as a LUN of its own, with a name that no other LUN has.
fn lun_doc(state: &State, shadow: LunId, block_count: BlockCount) -> LunDoc {
    let digits = shadow.to_string();
    let names = [8, 16, 32].map(|count| format!("shadow-{}", &digits[..count]));
    let is_free = |name: &Name| state.luns.values().all(|doc| doc.name != *name);
    let name = names.iter().filter_map(|name| name.parse().ok()).find(is_free);
    // The last of them holds the whole id, which is unique; an administrator who has given it to another LUN gets a twin.
    let name = name.unwrap_or_else(|| names[2].parse().expect("letters, digits and a hyphen"));
    LunDoc::new(name, block_count).in_phase(LunPhase::Live)
}
