//! Merges a configuration and works out who owns what afterwards: structured-merge-diff's `merge.Updater`.

use std::collections::BTreeMap;

use serde_json::Value;

use super::error::Conflict;
use super::managed::{Managed, ManagerId, Owned};
use super::reset::ResetFields;
use super::set::Set;
use super::typed::{self, Comparison, TypeErrors};
use super::types::TypeRef;

/// An object kind as one request sees it.
pub(super) struct Updater<'a> {
    pub(super) typ: TypeRef<'a>,
    pub(super) api_version: &'a str,
    /// The types of other versions that are served.
    pub(super) others: BTreeMap<&'a str, TypeRef<'a>>,
    pub(super) reset: &'a ResetFields,
    /// Whether `reset` holds for the fields of other versions, too.
    pub(super) reset_others: bool,
}

/// Why a merge is refused.
pub(super) enum Refusal {
    Conflicts(Vec<Conflict>),
    Types(String),
}

impl From<TypeErrors> for Refusal {
    fn from(errors: TypeErrors) -> Self {
        Self::Types(errors.to_string())
    }
}

impl<'a> Updater<'a> {
    /// The type of the object in a version; `None` if that is not served any more.
    fn type_at(&self, api_version: &str) -> Option<TypeRef<'a>> {
        if api_version == self.api_version {
            return Some(self.typ);
        }
        self.others.get(api_version).copied()
    }

    /// What an update by `manager` makes of the owners.
    pub(super) fn update(
        &self,
        live: &Value,
        new: &Value,
        managed: Managed,
        manager: &ManagerId,
    ) -> Result<Managed, Refusal> {
        let managed = self.reconciled(managed);
        let (mut managed, comparison) = self.take(live, new, managed, manager, true)?;
        let before = managed.remove(manager).map(|owned| owned.set).unwrap_or_default();
        let mut set = before.difference(&comparison.removed);
        set.extend(&comparison.modified);
        set.extend(&comparison.added);
        let set = self.reset.filter(set);
        if !set.is_empty() {
            let owned = Owned { set, api_version: self.api_version.to_owned(), time: None };
            managed.insert(manager.clone(), owned);
        }
        Ok(managed)
    }

    /// The merged object, `None` if it is the live one, and its owners.
    pub(super) fn apply(
        &self,
        live: &Value,
        applied: &Value,
        managed: Managed,
        manager: &ManagerId,
        force: bool,
    ) -> Result<(Option<Value>, Managed), Refusal> {
        let mut managed = self.reconciled(managed);
        let merged = typed::merge(live, applied, self.typ)
            .map_err(|errors| Refusal::Types(format!("failed to merge config: {errors}")))?;
        let last = managed.remove(manager);
        let set = self.reset.filter(typed::field_set(applied, self.typ));
        let time = last.as_ref().and_then(|last| last.time);
        managed
            .insert(manager.clone(), Owned { set, api_version: self.api_version.to_owned(), time });
        let new = self.prune(merged, &managed, last.as_ref());
        let (managed, _) = self.take(live, &new, managed, manager, force)?;
        let changed = !typed::same(live, &new);
        Ok((changed.then_some(new), managed))
    }

    /// Takes the changed fields from their other owners, or reports the conflicts.
    fn take(
        &self,
        live: &Value,
        new: &Value,
        mut managed: Managed,
        manager: &ManagerId,
        force: bool,
    ) -> Result<(Managed, Comparison), Refusal> {
        let failed =
            |errors: TypeErrors| Refusal::Types(format!("failed to compare objects: {errors}"));
        let comparison =
            typed::compare(live, new, self.typ).map_err(failed)?.map(|set| self.reset.filter(set));
        let mut by_version: BTreeMap<String, Comparison> = BTreeMap::new();
        let mut conflicts: Vec<(ManagerId, Set)> = Vec::new();
        let mut removed: Vec<(ManagerId, Set)> = Vec::new();
        let mut gone = Vec::new();
        for (id, owned) in &managed {
            if id == manager {
                continue;
            }
            let Some(typ) = self.type_at(&owned.api_version) else {
                gone.push(id.clone());
                continue;
            };
            let comparison = if owned.api_version == self.api_version {
                &comparison
            } else {
                if !by_version.contains_key(&owned.api_version) {
                    let comparison = typed::compare(live, new, typ)
                        .map_err(failed)?
                        .map(|set| if self.reset_others { self.reset.filter(set) } else { set });
                    by_version.insert(owned.api_version.clone(), comparison);
                }
                match by_version.get(&owned.api_version) {
                    Some(comparison) => comparison,
                    None => continue,
                }
            };
            let mut taken = owned.set.intersection(&comparison.modified);
            taken.extend(&owned.set.intersection(&comparison.added));
            if !taken.is_empty() {
                conflicts.push((id.clone(), taken));
            }
            if !comparison.removed.is_empty() {
                removed.push((id.clone(), comparison.removed.clone()));
            }
        }
        if !force && !conflicts.is_empty() {
            return Err(Refusal::Conflicts(list_conflicts(conflicts)));
        }
        for id in gone {
            managed.remove(&id);
        }
        for (id, set) in conflicts.into_iter().chain(removed) {
            if let Some(owned) = managed.get_mut(&id) {
                owned.set = owned.set.difference(&set);
            }
        }
        managed.retain(|_, owned| !owned.set.is_empty());
        Ok((managed, comparison))
    }

    /// Takes out what the manager applied last time, does not apply now, and nobody else owns.
    fn prune(&self, merged: Value, managed: &Managed, last: Option<&Owned>) -> Value {
        let Some(last) = last.filter(|last| !last.set.is_empty()) else { return merged };
        let Some(typ) = self.type_at(&last.api_version) else { return merged };
        let last_set = last.set.with_named_fields(typ);
        let mut pruned = typed::remove(&merged, &last_set, typ);

        let mut owned_at: BTreeMap<&str, Set> = BTreeMap::new();
        for owned in managed.values() {
            owned_at.entry(&owned.api_version).or_default().extend(&owned.set);
        }
        let first = owned_at.remove_entry(last.api_version.as_str());
        for (version, owned) in first.into_iter().chain(owned_at) {
            let Some(typ) = self.type_at(version) else { continue };
            let mut keep = typed::field_set(&pruned, typ).with_named_fields(typ);
            keep.extend(&owned.with_named_fields(typ));
            let all = typed::field_set(&merged, typ).with_named_fields(typ);
            pruned = typed::remove(&merged, &all.difference(&keep), typ);
        }

        // What nobody owned before must not go with it.
        let kept = typed::field_set(&pruned, typ).with_named_fields(typ);
        let all = typed::field_set(&merged, typ).with_named_fields(typ);
        typed::remove(&merged, &all.difference(&kept).intersection(&last_set), typ)
    }

    fn reconciled(&self, mut managed: Managed) -> Managed {
        for owned in managed.values_mut() {
            if let Some(typ) = self.type_at(&owned.api_version)
                && let Some(set) = typed::reconcile(&owned.set, typ)
            {
                owned.set = set;
            }
        }
        managed.retain(|_, owned| self.type_at(&owned.api_version).is_some());
        managed
    }
}

fn list_conflicts(conflicts: Vec<(ManagerId, Set)>) -> Vec<Conflict> {
    let mut out = Vec::new();
    for (manager, set) in conflicts {
        for path in set.paths() {
            out.push(Conflict { manager: manager.clone(), path });
        }
    }
    out
}
