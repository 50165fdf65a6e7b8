//! What an access file allows each user.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::policy::op_set::OpSet;
use crate::policy::rule::Rule;
use crate::protocol::request::ANONYMOUS;

/// An access file evaluated for every user: a request costs one look-up.
#[derive(Debug)]
pub(super) struct Rights<'a> {
    /// What accounts may do that no line names.
    everyone: OpSet,
    named: BTreeMap<&'a [u8], OpSet>,
}

impl<'a> Rights<'a> {
    /// Evaluates `rules`, of which the first match decides.
    pub(super) fn of(rules: &[&'a Rule]) -> Self {
        // At most 64 lines about everyone decide anything, one for each bit of a set. So the time is proportional to
        // the words of the file, also where there are as many users as lines.
        let mut for_everyone = Vec::new();
        let mut decided = OpSet::NONE;
        let mut named: BTreeMap<&[u8], Vec<usize>> = BTreeMap::new();
        for (index, rule) in rules.iter().enumerate() {
            if rule.everyone && rule.operations.without(decided) != OpSet::NONE {
                decided = decided.with(rule.operations);
                for_everyone.push(index);
            }
            for user in &rule.users {
                named.entry(user).or_default().push(index);
            }
        }
        let allowed =
            |lines: &[usize]| first_match(lines.iter().filter_map(|index| rules.get(*index).copied()));
        let named = named.into_iter().map(|(user, mut lines)| {
            if user != ANONYMOUS {
                lines.extend_from_slice(&for_everyone);
                lines.sort_unstable();
            }
            (user, allowed(&lines))
        });
        Self { named: named.collect(), everyone: allowed(&for_everyone) }
    }

    /// Returns the operations that `user` may ask for.
    pub(super) fn allowed(&self, user: &[u8]) -> OpSet {
        let other = if user == ANONYMOUS { OpSet::NONE } else { self.everyone };
        self.named.get(user).copied().unwrap_or(other)
    }
}

/// Returns the operations that `rules` allow, each by the first rule that has it.
fn first_match<'a>(rules: impl Iterator<Item = &'a Rule>) -> OpSet {
    let (mut decided, mut allowed) = (OpSet::NONE, OpSet::NONE);
    for rule in rules {
        if rule.allow {
            allowed = allowed.with(rule.operations.without(decided));
        }
        decided = decided.with(rule.operations);
    }
    allowed
}
