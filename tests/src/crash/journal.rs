//! What clients asked for and what they were told, from which follows what the log must hold.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};

use super::chance::Chance;

/// A connection as its clients know it.
#[derive(Debug)]
pub(super) struct Account {
    pub(super) id: String,
    pub(super) reference: String,
    /// The secret that was captured, `None` for an account at the provider.
    pub(super) secret: Option<String>,
    /// Requests that may have been given a credential.
    pub(super) asked: AtomicU64,
    /// Answers that held one.
    pub(super) given: AtomicU64,
    /// Answers that came out of a refresh.
    pub(super) refreshed: AtomicU64,
}

/// Counts of one connection's events, as the log tells them.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) retrieved: u64,
    pub(super) refreshed: u64,
}

/// The journal of one series.
#[derive(Debug, Default)]
pub(super) struct Journal {
    /// Every connection ever acknowledged active, by reference.
    accounts: RwLock<BTreeMap<String, Arc<Account>>>,
    statics: RwLock<Vec<Arc<Account>>>,
    /// Events that an answer acknowledged: reference and stored name.
    events: Mutex<BTreeSet<(String, &'static str)>>,
    /// What no answer should ever be.
    wrong: Mutex<Vec<String>>,
    pub(super) unanswered: AtomicU64,
}

impl Journal {
    pub(super) fn acknowledge(&self, reference: &str, event: &'static str) {
        self.events
            .lock()
            .unwrap()
            .insert((reference.to_owned(), event));
    }

    /// A connection that an answer said is active.
    pub(super) fn add(&self, id: &str, reference: &str, secret: Option<String>) -> Arc<Account> {
        let account = Arc::new(Account {
            id: id.to_owned(),
            reference: reference.to_owned(),
            secret,
            asked: AtomicU64::new(0),
            given: AtomicU64::new(0),
            refreshed: AtomicU64::new(0),
        });
        if account.secret.is_some() {
            self.statics.write().unwrap().push(Arc::clone(&account));
        }
        self.accounts
            .write()
            .unwrap()
            .insert(reference.to_owned(), Arc::clone(&account));
        account
    }

    pub(super) fn any_static(&self, chance: &mut Chance) -> Arc<Account> {
        Arc::clone(chance.pick(&self.statics.read().unwrap()))
    }

    pub(super) fn accounts(&self) -> Vec<Arc<Account>> {
        self.accounts.read().unwrap().values().cloned().collect()
    }

    pub(super) fn events(&self) -> BTreeSet<(String, &'static str)> {
        self.events.lock().unwrap().clone()
    }

    pub(super) fn wrong(&self, what: String) {
        self.wrong.lock().unwrap().push(what);
    }

    pub(super) fn take_wrong(&self) -> Vec<String> {
        std::mem::take(&mut self.wrong.lock().unwrap())
    }

    /// How many appends were acknowledged so far.
    pub(super) fn acknowledged(&self) -> u64 {
        let accounts = self.accounts.read().unwrap();
        let given: u64 = accounts
            .values()
            .map(|account| account.given.load(Ordering::SeqCst))
            .sum();
        let refreshed: u64 = accounts
            .values()
            .map(|account| account.refreshed.load(Ordering::SeqCst))
            .sum();
        // A refresh is a claim and an outcome; its credential's record is counted with those given.
        given + 2 * refreshed + self.events.lock().unwrap().len() as u64
    }
}

impl Account {
    /// What the log must hold at least: taken before the log is read.
    pub(super) fn told(&self) -> Counts {
        Counts {
            retrieved: self.given.load(Ordering::SeqCst),
            refreshed: self.refreshed.load(Ordering::SeqCst),
        }
    }
}
