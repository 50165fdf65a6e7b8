//! Requests for records that Python stores in unusual forms.

use super::generator::{Generator, OPERATIONS};
use super::stored::{of_kind, stored};

impl Generator {
    /// A request for one unreadable record, among others that are counted.
    pub(super) fn of_the_unreadable(&mut self) -> Vec<u8> {
        let unreadable: Vec<usize> = of_kind("unreadable").collect();
        let mut digests = vec![stored(self.random.pick(&unreadable)).into_bytes()];
        for _ in 0..self.random.below(3) {
            digests.insert(self.random.below(digests.len() + 1), self.spare_digest());
        }
        self.of_these(&OPERATIONS, digests)
    }

    /// A request for a record in the oldest form.
    pub(super) fn of_the_oldest(&mut self) -> Vec<u8> {
        let digests = of_kind("oldest").map(|number| stored(number).into_bytes()).collect();
        self.of_these(&["check", "info"], digests)
    }

    fn of_these(&mut self, operations: &[&'static str], digests: Vec<Vec<u8>>) -> Vec<u8> {
        let mut headers = vec![("Op", self.random.pick(operations).as_bytes().to_vec())];
        headers.extend(digests.into_iter().map(|digest| ("Op-Digest", digest)));
        headers.extend([("Thread", self.thread()), ("PV", b"2.1".to_vec())]);
        self.written(headers)
    }
}
