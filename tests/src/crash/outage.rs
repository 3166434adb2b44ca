//! What every door that needs the database answers while that is away, and how soon.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::task::JoinSet;
use url::Url;

use super::wire::Wire;
use crate::flow::RETURN_URL;

/// A door, as it is knocked at.
#[derive(Debug, Clone)]
pub(super) struct Door {
    pub(super) base: Url,
    pub(super) method: &'static str,
    pub(super) path: String,
    pub(super) key: Option<String>,
    pub(super) body: String,
}

/// What was answered during one outage.
#[derive(Debug, Default)]
pub(super) struct Answers {
    /// How long each 503 took.
    pub(super) unavailable: Vec<Duration>,
    /// What was answered instead of it.
    pub(super) other: Vec<String>,
}

/// Knocks at every door until told to stop.
#[derive(Debug)]
pub(super) struct Probe {
    over: Arc<AtomicBool>,
    knocking: JoinSet<Answers>,
}

impl Probe {
    pub(super) fn start(doors: &[Door]) -> Probe {
        let over = Arc::new(AtomicBool::new(false));
        let mut knocking = JoinSet::new();
        for door in doors {
            knocking.spawn(knock(door.clone(), Arc::clone(&over)));
        }
        Probe { over, knocking }
    }

    /// Lets the knocks under way be answered.
    pub(super) async fn stop(self) -> Answers {
        self.over.store(true, Ordering::SeqCst);
        let all = self.knocking.join_all().await;
        all.into_iter()
            .fold(Answers::default(), |mut sum, answers| {
                sum.unavailable.extend(answers.unavailable);
                sum.other.extend(answers.other);
                sum
            })
    }
}

async fn knock(door: Door, over: Arc<AtomicBool>) -> Answers {
    let mut answers = Answers::default();
    while !over.load(Ordering::SeqCst) {
        let began = Instant::now();
        let answer = match Wire::connect(&door.base).await {
            Ok(mut wire) => {
                wire.ask(door.method, &door.path, door.key.as_deref(), &door.body)
                    .await
            }
            Err(error) => Err(error),
        };
        match answer {
            Ok(answer) if answer.status == 503 => answers.unavailable.push(began.elapsed()),
            Ok(answer) => answers.other.push(format!(
                "{} {} was answered {}",
                door.method, door.path, answer.status
            )),
            Err(error) => answers.other.push(format!(
                "{} {} was not answered: {error}",
                door.method, door.path
            )),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    answers
}

/// Every kind of door that needs the database.
pub(super) fn doors(
    gateway: &Url,
    broker: &Url,
    key: &str,
    fixed: &str,
    refreshable: &str,
) -> Vec<Door> {
    let door = |base: &Url, method, path: String, key: Option<&str>, body: String| Door {
        base: base.clone(),
        method,
        path,
        key: key.map(str::to_owned),
        body,
    };
    let request =
        json!({"workspace_id": "user-1", "provider_name": "weather", "return_url": RETURN_URL})
            .to_string();
    let profile = json!({"name": "another", "auth_type": "api_key"}).to_string();
    vec![
        door(
            gateway,
            "GET",
            format!("/v1/token/{fixed}"),
            None,
            String::new(),
        ),
        door(
            gateway,
            "GET",
            format!("/v1/check-connection/{fixed}"),
            None,
            String::new(),
        ),
        door(
            gateway,
            "POST",
            "/v1/request-connection".to_owned(),
            None,
            request,
        ),
        door(
            gateway,
            "POST",
            format!("/v1/refresh/{refreshable}"),
            None,
            String::new(),
        ),
        door(
            gateway,
            "POST",
            "/v1/providers".to_owned(),
            Some(key),
            profile,
        ),
        door(
            broker,
            "GET",
            "/audit?limit=1".to_owned(),
            Some(key),
            String::new(),
        ),
    ]
}
