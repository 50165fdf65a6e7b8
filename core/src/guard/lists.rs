//! Entries of a fixed number, in lists by which each is found from its neighbours.

use alloc::vec::Vec;

use super::signed_count::SignedCount;
use crate::protocol::digest::Digest;
use crate::time::Tick;

/// What is remembered of a signed count. Entries are named by their number from 1; 0 is none.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) signature: Digest,
    pub(super) next_in_chain: u32,
    /// The chain of the signature's hash, and the group of its account.
    pub(super) chain: u32,
    pub(super) group: u16,
    /// Whether the store has answered, so that it is in its account's list.
    pub(super) settled: bool,
    pub(super) forget_at: Tick,
    pub(super) count: SignedCount,
}

/// The two lists that an entry may be in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Order {
    Age,
    Account,
}

/// The ends of a list.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct List {
    first: u32,
    last: u32,
    len: u32,
}

impl List {
    /// Returns the entry that was added first; 0 if there is none.
    pub(super) const fn first(&self) -> u32 {
        self.first
    }

    pub(super) const fn len(&self) -> u32 {
        self.len
    }
}

#[derive(Clone, Copy, Default, Debug)]
struct Link {
    previous: u32,
    next: u32,
}

#[derive(Clone, Debug)]
struct Node {
    entry: Entry,
    age: Link,
    account: Link,
}

impl Node {
    const fn link(&mut self, order: Order) -> &mut Link {
        match order {
            Order::Age => &mut self.age,
            Order::Account => &mut self.account,
        }
    }
}

/// All entries. Their memory is reserved at once; no page of it is touched before its use.
#[derive(Clone, Debug)]
pub(super) struct Lists {
    nodes: Vec<Node>,
    room: usize,
    /// The first of the nodes that were used before and are free, chained by age.
    free: u32,
}

impl Lists {
    pub(super) fn with_room(room: usize) -> Self {
        // Numbers of entries have 32 bits.
        let room = room.min(u32::MAX as usize);
        Self { nodes: Vec::with_capacity(room), room, free: 0 }
    }

    #[cfg(test)]
    pub(super) fn reserved(&self) -> usize {
        self.nodes.capacity()
    }

    pub(super) fn is_full(&self) -> bool {
        self.free == 0 && self.nodes.len() >= self.room
    }

    pub(super) fn entry(&self, which: u32) -> Option<&Entry> {
        self.nodes.get(index(which)?).map(|node| &node.entry)
    }

    pub(super) fn entry_mut(&mut self, which: u32) -> Option<&mut Entry> {
        self.node(which).map(|node| &mut node.entry)
    }

    /// Stores an entry, in no list yet. `None` if there is no room.
    pub(super) fn insert(&mut self, entry: Entry) -> Option<u32> {
        let which = self.free;
        if let Some(node) = self.node(which) {
            let next = node.age.next;
            *node = Node { entry, age: Link::default(), account: Link::default() };
            self.free = next;
            return Some(which);
        }
        if self.is_full() {
            return None;
        }
        self.nodes.push(Node { entry, age: Link::default(), account: Link::default() });
        u32::try_from(self.nodes.len()).ok()
    }

    /// Gives the room of an entry back, which is in no list.
    pub(super) fn free(&mut self, which: u32) {
        let free = self.free;
        if let Some(node) = self.node(which) {
            node.age = Link { previous: 0, next: free };
            self.free = which;
        }
    }

    /// Appends an entry to a list.
    pub(super) fn push(&mut self, list: &mut List, order: Order, which: u32) {
        let previous = list.last;
        match self.node(previous) {
            Some(last) => last.link(order).next = which,
            None => list.first = which,
        }
        list.last = which;
        list.len += 1;
        if let Some(node) = self.node(which) {
            *node.link(order) = Link { previous, next: 0 };
        }
    }

    /// Removes an entry from the list that it is in.
    pub(super) fn unlink(&mut self, list: &mut List, order: Order, which: u32) {
        let Some(node) = self.node(which) else { return };
        let Link { previous, next } = *node.link(order);
        match self.node(previous) {
            Some(node) => node.link(order).next = next,
            None => list.first = next,
        }
        match self.node(next) {
            Some(node) => node.link(order).previous = previous,
            None => list.last = previous,
        }
        list.len -= 1;
    }

    fn node(&mut self, which: u32) -> Option<&mut Node> {
        self.nodes.get_mut(index(which)?)
    }
}

fn index(which: u32) -> Option<usize> {
    usize::try_from(which).ok()?.checked_sub(1)
}
