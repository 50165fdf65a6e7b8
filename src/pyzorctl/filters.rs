//! What mail filters make of a digest's counts, by their default rules.

use std::fmt;

use serde::Serialize;

/// `pyzor_count_min` of SpamAssassin 4: the reports from which a mail is listed.
const LISTED_FROM: u64 = 5;
/// `pyzor_welcomelist_min`: the whitelistings from which SpamAssassin looks at them.
const WHITELISTED_FROM: u64 = 10;
/// `pyzor_welcomelist_factor` is 0.2: one whitelisting for so many reports.
const REPORTS_PER_WHITELISTING: u64 = 5;
/// SpamAssassin ignores an answer with so many reports or whitelistings: an empty mail has such ones.
const IGNORED_FROM: (u64, u64) = (1_000_000, 10_000);
/// `default_score` of rspamd's `pyzor`, of which it takes the part that the reports are ahead.
const RSPAMD_SCORE: f64 = 1.5;

/// The counts of a digest on a server.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub(crate) struct Counts {
    pub(crate) reports: u64,
    pub(crate) whitelistings: u64,
}

/// The counts, and what filters make of them. It is displayed as the rest of a line.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub(crate) struct Standing {
    #[serde(flatten)]
    counts: Counts,
    /// Whether SpamAssassin takes the mail for listed.
    pub(crate) spamassassin: bool,
    /// What rspamd adds to the score.
    rspamd: f64,
    /// Whether `pyzor check` does.
    pyzor: bool,
}

impl Counts {
    pub(crate) const fn new(reports: u64, whitelistings: u64) -> Self {
        Self { reports, whitelistings }
    }

    /// Returns the sum, which SpamAssassin makes of several servers' answers.
    pub(crate) const fn plus(self, other: Self) -> Self {
        Self {
            reports: self.reports.saturating_add(other.reports),
            whitelistings: self.whitelistings.saturating_add(other.whitelistings),
        }
    }

    /// Returns how many whitelistings are missing until SpamAssassin heeds them: ten, and a fifth of the reports.
    pub(crate) fn missing_whitelistings(self) -> u64 {
        if self.reports == 0 {
            return 0;
        }
        let wanted = self.reports.div_ceil(REPORTS_PER_WHITELISTING).max(WHITELISTED_FROM);
        wanted.saturating_sub(self.whitelistings)
    }

    pub(crate) fn standing(self) -> Standing {
        let Self { reports, whitelistings } = self;
        let ignored = reports >= IGNORED_FROM.0 || whitelistings >= IGNORED_FROM.1;
        let heeded = whitelistings >= WHITELISTED_FROM
            && whitelistings.saturating_mul(REPORTS_PER_WHITELISTING) >= reports;
        Standing {
            counts: self,
            spamassassin: reports >= LISTED_FROM && !ignored && !heeded,
            rspamd: rspamd_score(reports as f64, whitelistings as f64),
            pyzor: reports > 0 && whitelistings == 0,
        }
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { counts: Counts { reports, whitelistings }, spamassassin, rspamd, pyzor } = *self;
        let word = |listed| if listed { "listed" } else { "not listed" };
        write!(f, "{reports} reports, {whitelistings} whitelistings: SpamAssassin: {}", word(spamassassin))?;
        write!(f, ", rspamd: +{rspamd:.2}, pyzor check: {}", word(pyzor))
    }
}

fn rspamd_score(reports: f64, whitelistings: f64) -> f64 {
    let weight = RSPAMD_SCORE * (reports - whitelistings) / (reports + whitelistings);
    // Without counts it is not a number, which is not above zero either.
    if weight > 0.0 { (weight * 100.0).round() / 100.0 } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rules of SpamAssassin 4.0.1's `Plugin/Pyzor.pm`, of rspamd 3.4's `lua_scanners/pyzor.lua` and of `pyzor check`.
    #[test]
    fn filters_answer_by_their_default_rules() {
        for (reports, whitelistings, spamassassin, rspamd, pyzor) in [
            (0, 0, false, 0.0, false),
            (1, 0, false, 1.5, true),
            (4, 0, false, 1.5, true),
            (5, 0, true, 1.5, true),
            (5, 1, true, 1.0, false),
            (5, 9, true, 0.0, false),
            (5, 10, false, 0.0, false),
            (50, 10, false, 1.0, false),
            (51, 10, true, 1.01, false),
            (51, 11, false, 0.97, false),
            (0, 10, false, 0.0, false),
            (999_999, 0, true, 1.5, true),
            (1_000_000, 0, false, 1.5, true),
            (900_000, 10_000, false, 1.47, false),
            (u64::MAX, u64::MAX, false, 0.0, false),
        ] {
            let standing = Counts::new(reports, whitelistings).standing();
            let found = (standing.spamassassin, standing.rspamd, standing.pyzor);
            assert_eq!(found, (spamassassin, rspamd, pyzor), "{reports} {whitelistings}");
        }
    }

    #[test]
    fn the_missing_whitelistings_are_just_enough() {
        for reports in [0, 1, 4, 5, 49, 50, 51, 54, 55, 56, 1234, 49_999] {
            for whitelistings in [0, 1, 9, 10, 11, 3000] {
                let before = Counts::new(reports, whitelistings);
                let missing = before.missing_whitelistings();
                let after = before.plus(Counts::new(0, missing));
                assert!(!after.standing().spamassassin, "{before:?} {missing}");
                if missing > 0 && reports >= 5 {
                    let one_less = before.plus(Counts::new(0, missing - 1));
                    assert!(one_less.standing().spamassassin, "{before:?} {missing}");
                }
            }
        }
    }
}
