//! A crowd of agents that wait, measured where nothing else runs beside it.

use std::fs;
use std::time::Duration;

use futures::future::join_all;
use nexus_tests::{Database, Nexus, ScriptedProvider};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How many agents wait at once.
const CROWD: usize = 10_000;
/// What they may take together, kB.
const CROWD_KB: u64 = 100_000;
/// Far less than they would wait: who is answered in this time was woken.
const WOKEN: Duration = Duration::from_secs(30);

/// Until a server has taken up polls that wait, which nothing else tells.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(300)).await;
}

/// A figure of a process in `/proc/<pid>/status`.
fn of_process(pid: u32, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find(|line| line.starts_with(name));
    let value = line.and_then(|line| line.split_whitespace().nth(1));
    value.expect("a figure").parse().expect("a number")
}

/// Sends a request and reads its answer, of which there is no more than fits here.
async fn ask(agent: &mut TcpStream, question: &str) -> String {
    agent.write_all(question.as_bytes()).await.expect("sent");
    let mut answer = vec![0; 4_096];
    let length = agent.read(&mut answer).await.expect("an answer");
    answer.truncate(length);
    String::from_utf8(answer).expect("text")
}

/// Ten thousand connections that are kept open cost what they cost; that something waits on each costs little more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_agents_wait_without_threads_and_in_little_memory() {
    let provider = ScriptedProvider::start().await;
    let nexus = Nexus::new(Database::Sqlite)
        .set("RUST_LOG", "info")
        .start()
        .await;
    nexus.register(provider.profile("google")).await;
    let requested = nexus.request("google").await;
    let gateway = nexus.gateway();
    let address = gateway.base().socket_addrs(|| None).expect("an address")[0];
    let mut agents = Vec::new();
    for _ in 0..CROWD {
        let mut agent = TcpStream::connect(address).await.expect("a connection");
        let answer = ask(&mut agent, "GET /livez HTTP/1.1\r\nHost: nexus\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        agents.push(agent);
    }
    let (threads, memory) = (
        of_process(nexus.pid(), "Threads:"),
        of_process(nexus.pid(), "VmRSS:"),
    );
    let question = format!(
        "GET {} HTTP/1.1\r\nHost: nexus\r\n\r\n",
        format_args!("/v1/check-connection/{}?wait=60", requested.id)
    );
    for agent in &mut agents {
        agent.write_all(question.as_bytes()).await.expect("sent");
    }
    settle().await;
    let taken = of_process(nexus.pid(), "VmRSS:").saturating_sub(memory);
    println!("{CROWD} connections take {memory} kB, that they wait {taken} kB more");
    assert!(taken < CROWD_KB, "{taken} kB");
    assert!(of_process(nexus.pid(), "Threads:") <= threads);
    let callback = provider.consent(&requested.auth_url).await;
    nexus.gateway().visit(&callback).await.location();
    let answers = agents.iter_mut().map(|agent| ask(agent, ""));
    let woken = tokio::time::timeout(WOKEN, join_all(answers)).await;
    for answer in woken.expect("all are woken") {
        assert!(answer.contains("\"status\":\"active\""), "{answer}");
    }
}
