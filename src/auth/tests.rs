//! Keys and accounts over the real store, which refuses writes on demand: what was taken away stays away.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::config::{ApiAuth, Auth, Registration};
use crate::store::Store;
use crate::store::keys::KeyRow;
use crate::system::clock::SystemClock;

/// A gateway's accounts over a data directory.
struct Fixture {
    dir: tempfile::TempDir,
    folder: &'static str,
    store: Store,
    accounts: Arc<Accounts>,
    refuses: bool,
}

async fn accounts(dir: &tempfile::TempDir, folder: &str, store: &Store) -> Result<Accounts, AuthFault> {
    let config = Auth {
        api: ApiAuth::Required,
        registration: Registration::Approval,
        session_days: 7,
        audit_days: 365,
        environment_key: None,
    };
    let (tokens, revocations) = (Tokens::open(dir.path())?, Revocations::open(&dir.path().join(folder))?);
    Accounts::open(&config, store.clone(), tokens, revocations, Arc::new(SystemClock)).await
}

impl Fixture {
    async fn open() -> Fixture {
        Fixture::open_with("").await
    }

    /// The file of revocations is in that folder below the data directory.
    async fn open_with(folder: &'static str) -> Fixture {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("store.db")).unwrap();
        let accounts = Arc::new(accounts(&dir, folder, &store).await.unwrap());
        Fixture { dir, folder, store, accounts, refuses: false }
    }

    async fn refuse_writes(&mut self, refuse: bool) {
        self.store.refuse_writes(refuse).await;
        self.refuses = refuse;
    }

    /// Begins anew on what the data directory holds; the disk takes or refuses writes as before.
    async fn restart(&mut self) {
        self.store.close().await;
        self.store = Store::open(&self.dir.path().join("store.db")).unwrap();
        self.store.refuse_writes(self.refuses).await;
        self.accounts = Arc::new(accounts(&self.dir, self.folder, &self.store).await.unwrap());
    }

    fn admits(&self, secret: &str) -> bool {
        let credentials = Credentials { bearer: Some(secret), ..Credentials::default() };
        self.accounts.gate.admit(credentials, Transport::Network).is_ok()
    }

    async fn key(&self, row: KeyRow) -> (String, String) {
        let (key, secret) = self.accounts.create_key(KeyRow { name: "k".into(), ..row }).await.unwrap();
        (key.id.to_string(), secret)
    }

    async fn first_account(&self) -> (String, Opened) {
        let origin = Origin::default();
        let registered = self.accounts.register("a@b.c", "password 1".into(), Proof::Link, &origin);
        match registered.await.unwrap() {
            Registered::First { account, opened, .. } => (account.id.to_string(), *opened),
            Registered::Pending(_) => panic!("it is the first"),
        }
    }

    /// Another administrator, so that the first may lose its role.
    async fn second_administrator(&self) {
        let origin = Origin::default();
        let registered =
            self.accounts.register("d@e.f", "password 2".into(), Proof::Missing("none"), &origin);
        let Registered::Pending(account) = registered.await.unwrap() else { panic!("it is the second") };
        self.accounts.change(&account.id, Change::Approve).await.unwrap();
        self.accounts.change(&account.id, Change::Role(Role::Admin)).await.unwrap();
    }
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Create,
    Rotate(usize),
    Revoke(usize),
    RotateAndRevoke(usize),
    Restart,
    RefuseWrites(bool),
    Flush,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => Just(Step::Create),
        4 => (0..8_usize).prop_map(Step::Rotate),
        3 => (0..8_usize).prop_map(Step::Revoke),
        3 => (0..8_usize).prop_map(Step::RotateAndRevoke),
        2 => Just(Step::Restart),
        3 => any::<bool>().prop_map(Step::RefuseWrites),
        1 => Just(Step::Flush),
    ]
}

/// What is known of the keys that were made.
#[derive(Default)]
struct Known {
    /// Ids in the order of their making.
    ids: Vec<String>,
    /// Secrets with the key's id.
    secrets: Vec<(String, String)>,
    revoked: HashMap<String, ()>,
}

impl Known {
    fn pick(&self, at: usize) -> Option<String> {
        self.ids.get(at % self.ids.len().max(1)).cloned()
    }
}

async fn run(fixture: &mut Fixture, known: &mut Known, step: Step) {
    match step {
        Step::Create => {
            let row = KeyRow { name: "k".into(), ..KeyRow::default() };
            if let Ok((key, secret)) = fixture.accounts.create_key(row).await {
                known.ids.push(key.id.to_string());
                known.secrets.push((key.id.to_string(), secret));
            }
        }
        Step::Rotate(at) => {
            let Some(id) = known.pick(at) else { return };
            if let Ok((_, secret)) = fixture.accounts.rotate(&id, Duration::from_secs(3600)).await {
                assert!(!known.revoked.contains_key(&id), "a revoked key was rotated");
                known.secrets.push((id, secret));
            }
        }
        Step::Revoke(at) => {
            let Some(id) = known.pick(at) else { return };
            fixture.accounts.revoke(&id).await.unwrap();
            known.revoked.insert(id, ());
        }
        Step::RotateAndRevoke(at) => {
            let Some(id) = known.pick(at) else { return };
            let (rotated, revoked) = tokio::join!(
                fixture.accounts.rotate(&id, Duration::from_secs(3600)),
                fixture.accounts.revoke(&id)
            );
            revoked.unwrap();
            known.revoked.insert(id.clone(), ());
            known.secrets.extend(rotated.map(|(_, secret)| (id, secret)));
        }
        Step::Restart => fixture.restart().await,
        Step::RefuseWrites(refuse) => fixture.refuse_writes(refuse).await,
        Step::Flush => drop(fixture.accounts.revocations.flush(&fixture.store).await),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn keys_that_were_revoked_never_come_back(steps in proptest::collection::vec(step(), 1..24)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (mut fixture, mut known) = (Fixture::open().await, Known::default());
            for step in steps.into_iter().chain([Step::RefuseWrites(false), Step::Flush, Step::Restart]) {
                run(&mut fixture, &mut known, step).await;
                for (id, secret) in &known.secrets {
                    let revoked = known.revoked.contains_key(id);
                    assert!(!(revoked && fixture.admits(secret)), "after {step:?} a revoked key is valid");
                }
            }
            // The others still are: the newest secret of each.
            for (id, secret) in known.secrets.iter().rev().filter(|(id, _)| !known.revoked.contains_key(id)).take(1) {
                assert!(fixture.admits(secret), "{id}");
            }
        });
    }
}

#[tokio::test]
async fn withdrawals_that_the_store_refuses_hold_after_a_restart_and_are_written_later() {
    let mut fixture = Fixture::open().await;
    let (id, opened) = fixture.first_account().await;
    fixture.second_administrator().await;
    let (key, secret) = fixture.key(KeyRow::default()).await;
    let (_, owned) = fixture.key(KeyRow { user: Some(id.clone()), ..KeyRow::default() }).await;
    let origin = Origin::default();
    let other = fixture.accounts.log_in("a@b.c", "password 1".into(), &origin).await.unwrap();

    fixture.refuse_writes(true).await;
    fixture.accounts.revoke(&key).await.unwrap();
    let session = opened.caller.session.clone().unwrap();
    fixture.accounts.end_sessions(|one| one.id == *session).await.unwrap();
    assert!(!fixture.admits(&secret) && !fixture.admits(&opened.token) && fixture.admits(&other.token));
    assert_eq!(fixture.accounts.unwritten_revocations(), Unwritten { waiting: 2, unrecorded: 0 });
    fixture.restart().await;
    assert!(!fixture.admits(&secret) && !fixture.admits(&opened.token) && fixture.admits(&other.token));

    fixture.accounts.set_password(&id, "password 3".into()).await.unwrap();
    fixture.accounts.change(&id, Change::Role(Role::User)).await.unwrap();
    fixture.accounts.change(&id, Change::Disable).await.unwrap();
    assert_eq!(fixture.accounts.unwritten_revocations().waiting, 3, "the account's newest state alone");
    for _ in 0..2 {
        assert!(!fixture.admits(&other.token) && !fixture.admits(&owned));
        let account = fixture.accounts.index().account(&id).unwrap();
        assert_eq!((account.role, account.status), (Role::User, Status::Disabled));
        fixture.restart().await;
    }
    let enabled = fixture.accounts.change(&id, Change::Enable).await;
    assert!(matches!(enabled, Err(AuthFault::Store(_))), "{enabled:?}");

    fixture.refuse_writes(false).await;
    fixture.accounts.change(&id, Change::Enable).await.unwrap();
    assert_eq!(fixture.accounts.unwritten_revocations(), Unwritten::default());
    for _ in 0..2 {
        assert!(!fixture.admits(&other.token) && fixture.admits(&owned) && !fixture.admits(&secret));
        let wrong = fixture.accounts.log_in("a@b.c", "password 1".into(), &origin).await;
        assert_eq!(wrong.map(drop).unwrap_err(), AuthFault::WrongPassword);
        fixture.accounts.log_in("a@b.c", "password 3".into(), &origin).await.unwrap();
        fixture.restart().await;
    }

    fixture.refuse_writes(true).await;
    assert!(fixture.accounts.change(&id, Change::Delete).await.unwrap().is_none());
    fixture.restart().await;
    assert!(!fixture.admits(&owned) && fixture.accounts.index().account(&id).is_none());
    fixture.refuse_writes(false).await;
    fixture.restart().await;
    assert!(!fixture.admits(&owned) && fixture.accounts.index().account(&id).is_none());
    assert_eq!(fixture.accounts.unwritten_revocations(), Unwritten::default());
}

#[tokio::test]
async fn the_last_administrator_stays_while_another_ones_demotion_waits() {
    let mut fixture = Fixture::open().await;
    let (id, _) = fixture.first_account().await;
    fixture.second_administrator().await;
    fixture.refuse_writes(true).await;
    fixture.accounts.change(&id, Change::Role(Role::User)).await.unwrap();
    let second = fixture.accounts.index().accounts().into_iter().find(|one| *one.id != *id).unwrap();
    let refused = fixture.accounts.change(&second.id, Change::Disable).await;
    assert!(matches!(refused, Err(AuthFault::Conflict(_))), "{refused:?}");
}

#[tokio::test]
async fn revoke_says_so_when_neither_store_nor_file_takes_it() {
    // Without its folder the file cannot be allocated.
    let mut fixture = Fixture::open_with("none").await;
    let (id, _) = fixture.first_account().await;
    fixture.second_administrator().await;
    let (key, secret) = fixture.key(KeyRow::default()).await;
    fixture.refuse_writes(true).await;
    let refused = fixture.accounts.revoke(&key).await;
    assert!(matches!(refused, Err(AuthFault::UntilRestart(_))), "{refused:?}");
    assert!(!fixture.admits(&secret), "it holds in memory");
    assert_eq!(fixture.accounts.unwritten_revocations(), Unwritten { waiting: 1, unrecorded: 1 });
    for _ in 0..2 {
        let refused = fixture.accounts.change(&id, Change::Disable).await;
        assert!(matches!(refused, Err(AuthFault::UntilRestart(_))), "{refused:?}");
    }
    std::fs::create_dir(fixture.dir.path().join("none")).unwrap();
    fixture.accounts.change(&id, Change::Disable).await.unwrap();
    assert_eq!(fixture.accounts.unwritten_revocations(), Unwritten { waiting: 2, unrecorded: 0 });
    fixture.restart().await;
    assert!(!fixture.admits(&secret));
    fixture.refuse_writes(false).await;
    fixture.accounts.revocations.flush(&fixture.store).await.unwrap();
    assert_eq!(fixture.accounts.unwritten_revocations(), Unwritten::default());
}
